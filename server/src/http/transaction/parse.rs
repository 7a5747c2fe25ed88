//! From the body of `/v1/txn` to a transaction. What is wrong is told with its place:
//! `then[2].put.key`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kvcore::{
    Compare, CompareOperator, CompareTarget, Delete, KEY_BYTES_MAX, Keys, LeaseId, OPERATIONS_MAX,
    OPERATIONS_TOTAL_MAX, Operation, Order, Put, PutLease, PutValue, Range, Revision, SortBy,
    Transaction,
};

use super::super::call::kind;
use super::super::error::{ApiError, ErrorName};
use super::super::lease;
use super::body::{
    ConditionBody, DeleteBody, Encoding, GetBody, Numbers, Object, OperationBody, OrderWord,
    PutBody, SortWord, TransactionBody, Values,
};

/// The most keys of a read when it does not say.
const LIMIT_DEFAULT: u64 = 1000;
/// The most keys of a read.
const LIMIT_MAX: u64 = 10_000;
/// A comparison or an operation is an object with a few objects in it. A body with more objects has too many
/// of them, and is not read: in memory they are many times as large.
const OBJECTS_MAX: usize = 8 * OPERATIONS_TOTAL_MAX;

/// Reads a body. Whether all of it may be done together is not known by then
/// ([`kvcore::Command::check`]).
pub(in crate::http) fn parse(body: &[u8], value_bytes_max: usize) -> Result<Transaction, ApiError> {
    if objects(body) > OBJECTS_MAX {
        return Err(ApiError::new(
            ErrorName::TooManyOperations,
            format!(
                "the transaction is too large: it may have at most {OPERATIONS_MAX} comparisons and as \
                 many operations in each branch, and {OPERATIONS_TOTAL_MAX} with all transactions within"
            ),
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let invalid = |place: &dyn fmt::Display, cause: &dyn fmt::Display| {
        ApiError::new(
            ErrorName::InvalidBody,
            format!(
                "the body is not {{\"if\": [CONDITION…], \"then\": [OPERATION…], \"else\": \
                 [OPERATION…]}}: {place}{cause}"
            ),
        )
    };
    let parsed: Result<Object<TransactionBody>, _> = serde_path_to_error::deserialize(&mut json);
    let Object(parsed) = parsed.map_err(|error| match error.path().iter().next() {
        Some(_) => invalid(&format_args!("`{}`: ", error.path()), error.inner()),
        None => invalid(&"", error.inner()),
    })?;
    json.end().map_err(|error| invalid(&"", &error))?;
    Parser { value_bytes_max }.transaction(parsed, &Place::ROOT)
}

/// How many objects there are in a text, if it is JSON.
fn objects(body: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

/// Where something is in a body.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Root,
    Member(&'static str),
    Element(usize),
}

impl<'a> Place<'a> {
    const ROOT: Place<'static> = Place { parent: None, step: Step::Root };

    fn member(&'a self, name: &'static str) -> Self {
        Self { parent: Some(self), step: Step::Member(name) }
    }

    fn element(&'a self, number: usize) -> Self {
        Self { parent: Some(self), step: Step::Element(number) }
    }

    /// What is wrong here.
    fn problem(&self, what: impl fmt::Display) -> ApiError {
        self.error(ErrorName::InvalidBody, what)
    }

    fn error(&self, name: ErrorName, what: impl fmt::Display) -> ApiError {
        ApiError::new(name, format!("`{self}` {what}"))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) if parent.parent.is_none() => f.write_str(name),
            Step::Member(name) => write!(f, ".{name}"),
            Step::Element(number) => write!(f, "[{number}]"),
        }
    }
}

/// The members that say which keys.
struct Selection {
    key: Option<String>,
    encoding: Option<Encoding>,
    prefix: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

struct Parser {
    value_bytes_max: usize,
}

impl Parser {
    fn transaction(
        &self,
        body: TransactionBody,
        place: &Place<'_>,
    ) -> Result<Transaction, ApiError> {
        let mut transaction = Transaction::default();
        let conditions = place.member("if");
        for (number, Object(condition)) in body.conditions.into_iter().enumerate() {
            let place = conditions.element(number);
            self.condition(condition, &place, &mut transaction.compares)?;
        }
        transaction.success = self.operations(body.then, &place.member("then"))?;
        transaction.failure = self.operations(body.otherwise, &place.member("else"))?;
        Ok(transaction)
    }

    /// Appends the comparisons of a condition, one for each operator.
    fn condition(
        &self,
        body: ConditionBody,
        place: &Place<'_>,
        compares: &mut Vec<Compare>,
    ) -> Result<(), ApiError> {
        let ConditionBody { key, key_encoding: encoding, prefix, from, to, .. } = body;
        let keys = keys(Selection { key, encoding, prefix, from, to }, place)?;
        let before = compares.len();
        let mut push = |operator, target| {
            compares.push(Compare { keys: keys.clone(), operator, target });
        };
        match body.exists {
            Some(true) => push(CompareOperator::Greater, CompareTarget::Version(0)),
            Some(false) => push(CompareOperator::Equal, CompareTarget::Version(0)),
            None => {}
        }
        let version: fn(i64) -> CompareTarget = CompareTarget::Version;
        let targets = [
            ("version", body.version, version),
            ("create_revision", body.create_revision, CompareTarget::CreateRevision),
            ("mod_revision", body.mod_revision, CompareTarget::ModRevision),
            ("lease", body.lease, CompareTarget::Lease),
        ];
        for (name, numbers, target) in targets {
            let Some(Object(Numbers { eq, ne, lt, gt })) = numbers else { continue };
            for (operator, number) in given([eq, ne, lt, gt], &place.member(name))? {
                push(operator, target(number));
            }
        }
        if let Some(Object(Values { eq, ne, lt, gt })) = body.value {
            let place = place.member("value");
            for (operator, value) in given([eq, ne, lt, gt], &place)? {
                let value = self.value(value, body.value_encoding, &place)?;
                push(operator, CompareTarget::Value(value));
            }
        } else if body.value_encoding.is_some() {
            return Err(place.problem("has a `value_encoding`, but no `value`"));
        }
        if compares.len() == before {
            return Err(place.problem(
                "compares nothing; give `exists`, `version`, `create_revision`, `mod_revision`, `lease` \
                 or `value`",
            ));
        }
        Ok(())
    }

    fn operations(
        &self,
        bodies: Vec<Object<OperationBody>>,
        place: &Place<'_>,
    ) -> Result<Vec<Operation>, ApiError> {
        let bodies = bodies.into_iter().enumerate();
        bodies.map(|(number, Object(body))| self.operation(body, &place.element(number))).collect()
    }

    fn operation(&self, body: OperationBody, place: &Place<'_>) -> Result<Operation, ApiError> {
        match body {
            OperationBody { put: Some(Object(put)), get: None, delete: None, txn: None } => {
                self.put(put, &place.member("put")).map(Operation::Put)
            }
            OperationBody { put: None, get: Some(Object(get)), delete: None, txn: None } => {
                let range = range(get, &place.member("get"))?;
                Ok(Operation::Read(Box::new(range)))
            }
            OperationBody { put: None, get: None, delete: Some(Object(delete)), txn: None } => {
                let place = place.member("delete");
                let DeleteBody { key, key_encoding: encoding, prefix, from, to, prev } = delete;
                let target = keys(Selection { key, encoding, prefix, from, to }, &place)?;
                Ok(Operation::Delete(Delete { target, return_previous: prev }))
            }
            OperationBody { put: None, get: None, delete: None, txn: Some(within) } => {
                let Object(within) = *within;
                let within = self.transaction(within, &place.member("txn"))?;
                Ok(Operation::Transaction(Box::new(within)))
            }
            _ => {
                Err(place
                    .problem("is not one thing to do; give one of `put`, `get`, `delete`, `txn`"))
            }
        }
    }

    fn put(&self, body: PutBody, place: &Place<'_>) -> Result<Put, ApiError> {
        let key = body.key.ok_or_else(|| place.problem("has no `key`"))?;
        let key = self::key(key, body.key_encoding, &place.member("key"))?;
        let value = match (body.value, body.keep_value) {
            (Some(value), false) => {
                let value = self.value(value, body.value_encoding, &place.member("value"))?;
                PutValue::New(value)
            }
            (None, true) if body.value_encoding.is_none() => PutValue::Keep,
            (None, false) => {
                return Err(place.problem(
                    "has no `value`; give it, or `\"keep_value\": true` to keep the one that is there",
                ));
            }
            (_, true) => {
                return Err(place.problem("has a value and `keep_value`; give one of them"));
            }
        };
        let lease = match (body.lease, body.ttl, body.keep_lease) {
            (None, None, false) => PutLease::None,
            (Some(number), None, false) => PutLease::Attach(lease(number, &place.member("lease"))?),
            (None, Some(ttl), false) => {
                let name = place.member("ttl").to_string();
                PutLease::Grant { ttl_millis: lease::parse_ttl(&name, &ttl)? }
            }
            (None, None, true) => PutLease::Keep,
            _ => {
                return Err(place.problem("has more than one of `lease`, `ttl` and `keep_lease`"));
            }
        };
        Ok(Put { key, value, lease, sequential: false, return_previous: body.prev })
    }

    fn value(
        &self,
        text: String,
        encoding: Option<Encoding>,
        place: &Place<'_>,
    ) -> Result<Bytes, ApiError> {
        let value = decoded(text, encoding, place)?;
        if value.len() > self.value_bytes_max {
            let what = format_args!(
                "has {} bytes; at most {} are allowed",
                value.len(),
                self.value_bytes_max
            );
            return Err(place.error(ErrorName::ValueTooLarge, what));
        }
        Ok(value)
    }
}

/// The operators that were given, one at least.
fn given<T>(
    [eq, ne, lt, gt]: [Option<T>; 4],
    place: &Place<'_>,
) -> Result<impl Iterator<Item = (CompareOperator, T)>, ApiError> {
    if [&eq, &ne, &lt, &gt].into_iter().all(Option::is_none) {
        return Err(place.problem("has nothing to compare with; give `eq`, `ne`, `lt` or `gt`"));
    }
    let all = [
        (CompareOperator::Equal, eq),
        (CompareOperator::NotEqual, ne),
        (CompareOperator::Less, lt),
        (CompareOperator::Greater, gt),
    ];
    Ok(all.into_iter().filter_map(|(operator, operand)| Some((operator, operand?))))
}

fn range(body: GetBody, place: &Place<'_>) -> Result<Range, ApiError> {
    let GetBody { key, key_encoding: encoding, prefix, from, to, .. } = body;
    let keys = keys(Selection { key, encoding, prefix, from, to }, place)?;
    let of_many = body.limit.is_some() || body.order.is_some() || body.sort.is_some();
    if matches!(keys, Keys::One(_)) && (of_many || body.count_only) {
        return Err(place.problem(
            "reads one key; `limit`, `order`, `sort` and `count_only` go with `prefix`, or `from` and \
             `to`",
        ));
    }
    let limit = body.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let what = format_args!("is {limit}; allowed: a number from 1 to {LIMIT_MAX}");
        return Err(place.member("limit").problem(what));
    }
    if body.revision == Some(0) {
        return Err(place.member("revision").problem("is 0; allowed: a number from 1 up"));
    }
    Ok(Range {
        at: body.revision.map(Revision),
        limit: Some(usize::try_from(limit).expect("within its bounds")),
        order: match body.order {
            None | Some(OrderWord::Asc) => Order::Ascending,
            Some(OrderWord::Desc) => Order::Descending,
        },
        sort: match body.sort {
            None | Some(SortWord::Key) => SortBy::Key,
            Some(SortWord::Version) => SortBy::Version,
            Some(SortWord::CreateRevision) => SortBy::CreateRevision,
            Some(SortWord::ModRevision) => SortBy::ModRevision,
            Some(SortWord::Value) => SortBy::Value,
        },
        keys_only: body.keys_only,
        count_only: body.count_only,
        ..Range::of(keys)
    })
}

fn keys(selection: Selection, place: &Place<'_>) -> Result<Keys, ApiError> {
    let Selection { key, encoding, prefix, from, to } = selection;
    let part = |text: String, name| -> Result<Bytes, ApiError> {
        let place = place.member(name);
        let bytes = decoded(text, encoding, &place)?;
        check_length(bytes, &place)
    };
    match (key, prefix, from, to) {
        (Some(key), None, None, None) => {
            Ok(Keys::One(self::key(key, encoding, &place.member("key"))?))
        }
        (None, Some(prefix), None, None) => Ok(Keys::Prefix(part(prefix, "prefix")?)),
        (None, None, None, None) => Err(place.problem(
            "does not say which keys; give `key`, or `prefix`, or `from` and `to`; an empty `prefix` means \
             all keys",
        )),
        (None, None, from, to) => {
            let from = from.map_or(Ok(Bytes::new()), |from| part(from, "from"))?;
            // An empty `to` is no key; it means the end of all keys, as if it were not given.
            let to = to.filter(|to| !to.is_empty()).map(|to| part(to, "to")).transpose()?;
            Ok(Keys::Between { from, to })
        }
        _ => Err(place.problem("says twice which keys; give `key`, or `prefix`, or `from` and `to`")),
    }
}

fn key(text: String, encoding: Option<Encoding>, place: &Place<'_>) -> Result<Bytes, ApiError> {
    let key = decoded(text, encoding, place)?;
    if key.is_empty() {
        let what = format_args!("is empty; a key has 1 to {KEY_BYTES_MAX} bytes");
        return Err(place.error(ErrorName::KeyEmpty, what));
    }
    check_length(key, place)
}

fn check_length(key: Bytes, place: &Place<'_>) -> Result<Bytes, ApiError> {
    if key.len() > KEY_BYTES_MAX {
        let what = format_args!("has {} bytes; a key has at most {KEY_BYTES_MAX}", key.len());
        return Err(place.error(ErrorName::KeyTooLarge, what));
    }
    Ok(key)
}

fn lease(number: i64, place: &Place<'_>) -> Result<LeaseId, ApiError> {
    LeaseId::new(number)
        .ok_or_else(|| place.problem(format_args!("is 0; allowed: {}", kind::LEASE_ALLOWED)))
}

fn decoded(text: String, encoding: Option<Encoding>, place: &Place<'_>) -> Result<Bytes, ApiError> {
    match encoding {
        None => Ok(text.into_bytes().into()),
        Some(Encoding::Base64) => BASE64.decode(text).map(Bytes::from).map_err(|error| {
            place.problem(format_args!(
                "is not base64 of the standard alphabet with its padding: {error}"
            ))
        }),
    }
}

#[cfg(test)]
mod tests;
