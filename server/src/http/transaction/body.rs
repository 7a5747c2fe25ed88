//! The body of `/v1/txn`, as it is read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A JSON object. Of itself serde also takes a list of the right length for a struct.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What must hold, what is done if it does, and what if not; all of it at once.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Transaction")]
pub(in crate::http) struct TransactionBody {
    /// What must hold for `then` to be done, all of it. When there is nothing, it holds.
    #[serde(default, rename = "if")]
    pub(super) conditions: Vec<Object<ConditionBody>>,
    /// What is done if all of it holds, in this order.
    #[serde(default)]
    pub(super) then: Vec<Object<OperationBody>>,
    /// What is done otherwise.
    #[serde(default, rename = "else")]
    pub(super) otherwise: Vec<Object<OperationBody>>,
}

/// How a text stands for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RequestEncoding")]
pub(super) enum Encoding {
    /// The standard alphabet, with padding.
    Base64,
}

/// Which keys: `key`, or `prefix`, or `from` and `to`; and what must hold of each of them. An absent key has
/// 0 for every number, and no value.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionCondition")]
pub(super) struct ConditionBody {
    pub(super) key: Option<String>,
    /// How `key`, `prefix`, `from` and `to` are written, when they are no text.
    pub(super) key_encoding: Option<Encoding>,
    pub(super) prefix: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// Whether the key exists; of many keys, whether any does.
    pub(super) exists: Option<bool>,
    pub(super) version: Option<Object<Numbers>>,
    pub(super) create_revision: Option<Object<Numbers>>,
    pub(super) mod_revision: Option<Object<Numbers>>,
    /// The number of its lease; 0 is none.
    pub(super) lease: Option<Object<Numbers>>,
    pub(super) value: Option<Object<Values>>,
    /// How `value` is written, when it is no text.
    pub(super) value_encoding: Option<Encoding>,
}

/// How a number must stand to others: equal, not equal, less, greater. All that is given must hold.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionNumber")]
pub(super) struct Numbers {
    pub(super) eq: Option<i64>,
    pub(super) ne: Option<i64>,
    pub(super) lt: Option<i64>,
    pub(super) gt: Option<i64>,
}

/// How a value must stand to others, in the order of bytes.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionValue")]
pub(super) struct Values {
    pub(super) eq: Option<String>,
    pub(super) ne: Option<String>,
    pub(super) lt: Option<String>,
    pub(super) gt: Option<String>,
}

/// One thing to do: exactly one of these.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionOperation", extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct OperationBody {
    pub(super) put: Option<Object<PutBody>>,
    pub(super) get: Option<Object<GetBody>>,
    pub(super) delete: Option<Object<DeleteBody>>,
    /// Another transaction. Which of its branches is taken, the state before all of it decides.
    pub(super) txn: Option<Box<Object<TransactionBody>>>,
}

/// Stores a value.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionPut")]
pub(super) struct PutBody {
    pub(super) key: Option<String>,
    pub(super) key_encoding: Option<Encoding>,
    pub(super) value: Option<String>,
    pub(super) value_encoding: Option<Encoding>,
    /// Keep the value that is there, in place of `value`. The key must exist.
    #[serde(default)]
    pub(super) keep_value: bool,
    /// The lease that the key hangs on from now on; on none when it is left out.
    pub(super) lease: Option<i64>,
    /// Grants a lease of this time for the key, as 10s.
    pub(super) ttl: Option<String>,
    /// Keep the lease that it hangs on. The key must exist.
    #[serde(default)]
    pub(super) keep_lease: bool,
    /// Whether the result tells what was replaced.
    #[serde(default)]
    pub(super) prev: bool,
}

/// Reads a key, or many; what was done before it in the transaction is seen.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionGet")]
pub(super) struct GetBody {
    pub(super) key: Option<String>,
    pub(super) key_encoding: Option<Encoding>,
    pub(super) prefix: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// What was there at this revision; what is there now when it is left out.
    #[schemars(range(min = 1))]
    pub(super) revision: Option<u64>,
    /// Whether to leave the values out.
    #[serde(default)]
    pub(super) keys_only: bool,
    /// Of many keys: the most to tell; 1000 when it is left out.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) limit: Option<u64>,
    /// Of many keys: ascending, the default, or descending.
    pub(super) order: Option<OrderWord>,
    /// Of many keys: what to sort by; `key` when it is left out.
    pub(super) sort: Option<SortWord>,
    /// Of many keys: whether to tell only how many there are.
    #[serde(default)]
    pub(super) count_only: bool,
}

/// An order.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TransactionOrder")]
pub(super) enum OrderWord {
    Asc,
    Desc,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TransactionSort")]
pub(super) enum SortWord {
    Key,
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

/// Deletes a key, or many.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TransactionDelete")]
pub(super) struct DeleteBody {
    pub(super) key: Option<String>,
    pub(super) key_encoding: Option<Encoding>,
    pub(super) prefix: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// Whether the result tells what was deleted.
    #[serde(default)]
    pub(super) prev: bool,
}
