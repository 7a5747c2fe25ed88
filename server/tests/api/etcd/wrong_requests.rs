//! A large number of wrong requests of all kinds, to every call that answers once. Each is fulfilled, or
//! refused with an error of the table: its code, its status, and its message, which goes on only where the
//! table's own ends and is not etcd's.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Instant;

use consensus::Protocol;
use serde_json::{Value, json};

use self::Takes::{
    Bytes, End, Flag, Lease, Lists, Member, Message, Number, OneOf, Revision, Seconds, Transaction,
    Word,
};
use super::super::client::{Answer, Http, PATIENCE};
use super::super::wrong_requests::Draw;
use super::Fixture;

/// Requests to one node; a cluster gets half of them.
const REQUESTS: usize = 4000;
/// How deep transactions are drawn within transactions.
const DEPTH_MAX: usize = 3;

/// A field of a message: its name, and what it takes.
type Field = (&'static str, Takes);

/// What a field takes.
#[derive(Clone, Copy)]
enum Takes {
    Bytes,
    /// The end of a range.
    End,
    Number,
    Revision,
    Lease,
    Seconds,
    Member,
    Flag,
    Word(&'static [&'static str]),
    Message(&'static [Field]),
    Lists(&'static [Field]),
    /// One of these fields, in place of this one.
    OneOf(&'static [Field]),
    Transaction,
}

const RANGE: &[Field] = &[
    ("key", Bytes),
    ("range_end", End),
    ("limit", Number),
    ("revision", Revision),
    ("sort_order", Word(&["NONE", "ASCEND", "DESCEND"])),
    ("sort_target", Word(&["KEY", "VERSION", "CREATE", "MOD", "VALUE"])),
    ("serializable", Flag),
    ("keys_only", Flag),
    ("count_only", Flag),
    ("max_mod_revision", Number),
    ("min_create_revision", Number),
];
const PUT: &[Field] = &[
    ("key", Bytes),
    ("value", Bytes),
    ("lease", Lease),
    ("prev_kv", Flag),
    ("ignore_value", Flag),
    ("ignore_lease", Flag),
];
const DELETE: &[Field] = &[("key", Bytes), ("range_end", End), ("prev_kv", Flag)];
const COMPARE: &[Field] = &[
    ("result", Word(&["EQUAL", "GREATER", "LESS", "NOT_EQUAL"])),
    ("target", Word(&["VERSION", "CREATE", "MOD", "VALUE", "LEASE"])),
    ("key", Bytes),
    ("range_end", End),
    (
        "",
        OneOf(&[
            ("version", Number),
            ("create_revision", Number),
            ("mod_revision", Number),
            ("value", Bytes),
            ("lease", Lease),
        ]),
    ),
];
const OPERATION: &[Field] = &[(
    "",
    OneOf(&[
        ("request_range", Message(RANGE)),
        ("request_put", Message(PUT)),
        ("request_put", Message(PUT)),
        ("request_delete_range", Message(DELETE)),
        ("request_txn", Transaction),
    ]),
)];
const TRANSACTION: &[Field] =
    &[("compare", Lists(COMPARE)), ("success", Lists(OPERATION)), ("failure", Lists(OPERATION))];
const OF_LEASE: &[Field] = &[("ID", Lease)];
const TIME_TO_LIVE: &[Field] = &[("ID", Lease), ("keys", Flag)];
const LEADER: &[Field] = &[("name", Bytes), ("key", Bytes), ("rev", Revision), ("lease", Lease)];
const ALARM: &[Field] = &[
    ("action", Word(&["GET", "ACTIVATE", "DEACTIVATE"])),
    ("memberID", Member),
    ("alarm", Word(&["NONE", "NOSPACE", "CORRUPT"])),
];

/// A call, below the version, and the fields of what it takes.
type Call = (&'static str, &'static [Field]);

const OF_KEYS: &[Call] =
    &[("kv/range", RANGE), ("kv/put", PUT), ("kv/deleterange", DELETE), ("kv/txn", TRANSACTION)];

const OTHERS: &[Call] = &[
    ("kv/compaction", &[("revision", Revision), ("physical", Flag)]),
    ("lease/grant", &[("TTL", Seconds), ("ID", Lease)]),
    ("lease/revoke", OF_LEASE),
    ("kv/lease/revoke", OF_LEASE),
    ("lease/timetolive", TIME_TO_LIVE),
    ("kv/lease/timetolive", TIME_TO_LIVE),
    ("lease/leases", &[]),
    ("kv/lease/leases", &[]),
    ("lock/lock", &[("name", Bytes), ("lease", Lease)]),
    ("lock/unlock", &[("key", Bytes)]),
    ("election/campaign", &[("name", Bytes), ("lease", Lease), ("value", Bytes)]),
    ("election/proclaim", &[("leader", Message(LEADER)), ("value", Bytes)]),
    ("election/leader", &[("name", Bytes)]),
    ("election/resign", &[("leader", Message(LEADER))]),
    ("cluster/member/list", &[("linearizable", Flag)]),
    ("maintenance/alarm", ALARM),
    ("maintenance/status", &[]),
    ("maintenance/defragment", &[]),
    ("maintenance/hash", &[]),
    ("maintenance/hashkv", &[("revision", Revision)]),
    ("maintenance/transfer-leadership", &[("targetID", Member)]),
    ("auth/status", &[]),
];

/// Calls that are refused whatever they are asked, and what is no call.
const REFUSED: &[&str] = &[
    "auth/enable",
    "auth/disable",
    "auth/authenticate",
    "auth/user/add",
    "auth/user/get",
    "auth/user/list",
    "auth/user/delete",
    "auth/user/changepw",
    "auth/user/grant",
    "auth/user/revoke",
    "auth/role/add",
    "auth/role/get",
    "auth/role/list",
    "auth/role/delete",
    "auth/role/grant",
    "auth/role/revoke",
    "cluster/member/add",
    "cluster/member/remove",
    "cluster/member/update",
    "cluster/member/promote",
    "maintenance/downgrade",
    "kv/lease/grant",
    "kv/rang",
    "kv/range/",
    "kv",
    "",
];

/// Calls whose answer is empty, as in etcd.
const EMPTY: [&str; 2] = ["maintenance/defragment", "maintenance/transfer-leadership"];

/// What is no value of the field, or a strange one.
const WRONG: &[&str] = &[
    "null",
    "true",
    "7",
    "-1",
    "-0",
    "01",
    "+1",
    "1.5",
    "1e400",
    "18446744073709551616",
    "-9223372036854775809",
    "\"9223372036854775808\"",
    "99999999999999999999999999999999999999999999",
    "\"0x10\"",
    "\"seven\"",
    "\"\"",
    "\"Y\"",
    "\"YQ===\"",
    "\"Y Q\"",
    "\"!\"",
    "\"\\u0059\\u0051==\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"\u{1f600}\"",
    "[]",
    "[null]",
    "[7,\"YQ==\"]",
    "[{},null]",
    "[[[[]]]]",
    "{}",
    "{\"key\":null}",
    "{\"a\":{\"b\":[null]}}",
    "nul",
    "'YQ=='",
    "NaN",
    "\u{1f600}",
    "",
];

/// Fields that nobody knows, some of them broken.
const UNKNOWN: &[&str] = &[
    "\"x\":1",
    "\"Key\":\"YQ==\"",
    "\"\":null",
    "\"what\":{\"is\":[\"this\",[{}]]}",
    "\"\u{e9}\":1e9",
    "\"x\":}",
    "x:1",
];

/// Whole bodies.
const BODIES: &[&str] = &[
    "",
    " ",
    "null",
    "nullx",
    "{",
    "}",
    "[]",
    "[{}]",
    "7",
    "\"x\"",
    "{}{}",
    "{,}",
    "{\"key\"",
    "{\"key\":}",
    "{\"key\":\"YQ==\",}",
    "{\"key\":\"YQ==\"} x",
    "{\"key\":\"YQ==\n",
    "{'key':'YQ=='}",
    "{\"\\ud800\":1}",
    "\u{feff}{}",
    "not json",
    "a=b&c=d",
    "<xml/>",
];

/// Whole transactions, which come farther than those that are drawn.
const TRANSACTIONS: &[&str] = &[
    "{\"compare\":[{\"key\":\"YQ==\"}]}",
    "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"VALUE\",\"result\":\"LESS\",\"value\":\"Yg==\"}],\
      \"success\":[{\"requestPut\":{\"key\":\"YQ==\",\"prevKv\":true}}],\
      \"failure\":[{\"requestDeleteRange\":{\"key\":\"YQ==\",\"rangeEnd\":\"eg==\"}}]}",
    "{\"compare\":[{\"key\":\"YQ==\",\"version\":1,\"lease\":\"1\"}]}",
    "{\"success\":[{\"requestPut\":{\"key\":\"YQ==\"}},{\"requestPut\":{\"key\":\"YQ==\"}}]}",
    "{\"failure\":[{\"requestPut\":{\"key\":\"Yg==\"}},\
      {\"requestDeleteRange\":{\"key\":\"AA==\",\"range_end\":\"AA==\"}}]}",
    "{\"success\":[{\"requestDeleteRange\":{\"key\":\"YQ==\"}},\
      {\"requestDeleteRange\":{\"key\":\"YQ==\",\"prev_kv\":true}}]}",
    "{\"success\":[{\"requestPut\":{\"key\":\"none\",\"ignoreValue\":true}}]}",
    "{\"success\":[{\"requestPut\":{\"key\":\"YQ==\",\"lease\":\"99\"}}]}",
    "{\"success\":[{\"requestRange\":{\"key\":\"YQ==\",\"revision\":99999}},\
      {\"requestPut\":{\"key\":\"Yg==\"}}]}",
    "{\"success\":[{\"requestTxn\":{\"failure\":[{\"requestTxn\":{}}],\"success\":\
      [{\"requestTxn\":{\"success\":[{\"requestPut\":{\"key\":\"Yw==\"}}]}}]}}]}",
    "{\"success\":[{\"requestPut\":{\"key\":\"YQ==\"}},\
      {\"requestTxn\":{\"failure\":[{\"requestPut\":{\"key\":\"YQ==\"}}]}}]}",
    "{\"success\":[{\"requestPut\":{\"key\":\"YQ==\"},\"requestRange\":{\"key\":\"YQ==\"}}]}",
    "{\"success\":[{\"requestGet\":{\"key\":\"YQ==\"}}]}",
];

/// The table of errors: the message, the code, the status.
static ERRORS: LazyLock<Vec<(String, u64, u64)>> = LazyLock::new(|| {
    let table = server::http::v3::error::documentation();
    let row = |row: &str| {
        let cells = row.strip_prefix("| `").and_then(|cells| cells.split_once("` | "));
        let (message, rest) = cells.unwrap_or_else(|| panic!("no message in {row}"));
        let mut numbers = rest.split(" | ").map(|cell| cell.parse::<u64>().expect("a number"));
        let mut number = || numbers.next().expect("a code and a status");
        (message.to_owned(), number(), number())
    };
    table.lines().skip(2).map(row).collect()
});

/// The value of a field, as JSON has it. Most are right, so that they come far.
fn value(draw: &mut Draw, takes: Takes, depth: usize) -> String {
    if draw.one_in(40) {
        return draw.of(WRONG).to_owned();
    }
    let text = match takes {
        // Longer than a key may be.
        Bytes if draw.one_in(150) => return format!("\"{}\"", "YWFh".repeat(25_000)),
        Bytes => draw.of(&[
            "\"YQ==\"", "\"YQ==\"", "\"Yg==\"", "\"Yw\"", "\"YS94\"", "\"_-8\"", "\"+/8=\"", "\"\"",
        ]),
        End => draw.of(&["\"\"", "\"AA==\"", "\"Yg==\"", "\"eg\""]),
        Number => draw.of(&["0", "1", "2", "\"3\"", "-1", "1.0", "2e0", "\"9223372036854775807\""]),
        Revision => draw.of(&["0", "0", "1", "2", "\"3\"", "\"40\"", "-1", "9223372036854775807"]),
        Lease => draw.of(&["0", "0", "1", "2", "\"3\"", "-4", "99"]),
        Seconds => draw.of(&["600", "\"60\"", "0", "-5", "9000000001", "9223372036854775807"]),
        Member => draw.of(&["0", "1", "\"2\"", "3", "9", "18446744073709551615"]),
        Flag => draw.of(&["true", "false"]),
        Word(words) => {
            return match draw.below(14) {
                0 => "\"UP\"".to_owned(),
                1 => "9".to_owned(),
                2 => "1".to_owned(),
                _ => format!("\"{}\"", draw.of(words)),
            };
        }
        Message(fields) | OneOf(fields) => return message(draw, fields, depth),
        Transaction if depth < DEPTH_MAX => return message(draw, TRANSACTION, depth + 1),
        Transaction => "{}",
        Lists(fields) => {
            let elements: Vec<_> =
                (0..draw.below(4)).map(|_| message(draw, fields, depth)).collect();
            return format!("[{}]", elements.join(","));
        }
    };
    text.to_owned()
}

/// A message with most of its fields.
fn message(draw: &mut Draw, fields: &[Field], depth: usize) -> String {
    let mut members = Vec::new();
    for (name, takes) in fields {
        if let OneOf(choices) = takes {
            // One is right, none may be, and two are not.
            let count = [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 2][draw.below(12)];
            for _ in 0..count {
                let (name, takes) = choices[draw.below(choices.len())];
                members.push(member(draw, name, takes, depth));
            }
        } else if !draw.one_in(8) {
            members.push(member(draw, name, *takes, depth));
        }
    }
    if draw.one_in(20) {
        members.push(draw.of(UNKNOWN).to_owned());
    }
    if draw.one_in(80) {
        members.extend(members.first().cloned());
    }
    format!("{{{}}}", members.join(","))
}

fn member(draw: &mut Draw, name: &str, takes: Takes, depth: usize) -> String {
    let name = if draw.one_in(2) { name.to_owned() } else { camel(name) };
    format!("\"{name}\":{}", value(draw, takes, depth))
}

/// The other name of a field.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (letter, rest) = word.split_at(1);
        camel + &letter.to_ascii_uppercase() + rest
    })
}

/// A body that has too much of something.
fn excessive(draw: &mut Draw) -> String {
    let read = "{\"requestRange\":{\"key\":\"YQ==\"}}";
    match draw.below(6) {
        0 => " ".repeat((3 << 20) + 1),
        1 => "[".repeat(100_000),
        2 => format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64)),
        3 => format!("{{\"success\":[{}{{}}]}}", "{},".repeat(10_000)),
        4 => format!("{{\"failure\":[{}{read}]}}", format!("{read},").repeat(128)),
        _ => format!("{{\"key\":\"{}\"}}", "YWFh".repeat(25_000)),
    }
}

/// A request.
struct Request {
    call: &'static str,
    path: String,
    /// Its time, in gRPC's words.
    timeout: Option<&'static str>,
    body: Vec<u8>,
}

fn request(draw: &mut Draw) -> Request {
    let (call, fields) = match draw.below(8) {
        0..3 => OF_KEYS[draw.below(OF_KEYS.len())],
        3..7 => OTHERS[draw.below(OTHERS.len())],
        _ => (draw.of(REFUSED), PUT),
    };
    let version = draw.of(&["v3", "v3", "v3", "v3beta"]);
    let timeout = match call {
        // What waits without end is to give up soon.
        "lock/lock" | "election/campaign" => Some(draw.of(&["1m", "5m", "20m", "900u", "1n"])),
        _ if draw.one_in(10) => Some(draw.of(&["5S", "1m", "x", "", "-1S", "1.5S", "99999999H"])),
        _ => None,
    };
    let body = match draw.below(100) {
        0 => excessive(draw),
        1..10 => draw.of(BODIES).to_owned(),
        _ if call == "kv/txn" && draw.one_in(4) => draw.of(TRANSACTIONS).to_owned(),
        _ => message(draw, fields, 0),
    };
    let mut body = body.into_bytes();
    if draw.one_in(12) && !body.is_empty() {
        let place = draw.below(body.len());
        if draw.one_in(2) {
            body.truncate(place);
        } else {
            body[place] = u8::try_from(draw.below(256)).expect("a byte");
        }
    }
    Request { call, path: format!("/{version}/{call}"), timeout, body }
}

/// What an answer says: the code and the message of the table, if it is an error.
fn check(request: &Request, answer: &Answer) -> Option<(u64, &'static str)> {
    let body = String::from_utf8_lossy(&request.body[..request.body.len().min(300)]);
    let shown = format!("{} {:?} {body}: {}", request.path, request.timeout, answer.status);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{shown}");
    let (json, node) = (answer.json(), answer.header("duorum-node"));
    assert!(node.is_some(), "{shown}: {json}");
    if answer.status == 200 {
        let header = &json["header"];
        if EMPTY.contains(&request.call) {
            assert_eq!(json, json!({}), "{shown}");
        } else {
            assert_eq!(header["member_id"].as_str(), node, "{shown}: {json}");
            assert!(header["cluster_id"].is_string(), "{shown}: {json}");
        }
        return None;
    }
    let message = json["message"].as_str().unwrap_or_else(|| panic!("{shown}: {json}"));
    assert_eq!(json["error"], json["message"], "{shown}: {json}");
    let said = (json["code"].as_u64(), u64::from(answer.status));
    let in_table = ERRORS.iter().find(|(text, code, status)| {
        let is_of_etcd = ["etcdserver: ", "mutex: ", "election: ", "\"leader\" "];
        let is_of_etcd = is_of_etcd.iter().any(|beginning| text.starts_with(beginning));
        let is_text = message.strip_prefix(text.as_str()).is_some_and(|rest| {
            rest.is_empty() || !is_of_etcd && rest.starts_with(": ") && rest.len() > 2
        });
        is_text && said == (Some(*code), *status)
    });
    let (text, code, _) = in_table.unwrap_or_else(|| panic!("{shown} is not in the table: {json}"));
    assert_ne!(text, "this node failed", "{shown}: {json}");
    let known = ["error", "code", "message", "hint"];
    let members: Vec<_> = json.as_object().expect("an object").keys().collect();
    assert!(members.iter().all(|name| known.contains(&name.as_str())), "{shown}: {json}");
    assert!(json.get("hint").is_none_or(Value::is_string), "{shown}: {json}");
    Some((*code, text.as_str()))
}

/// Ends the alarms that a request may have raised: while one stands nothing else is found out.
async fn end_alarms(http: &Http) {
    let end = json!({"action": "DEACTIVATE", "alarm": "CORRUPT"});
    // A node that has not heard of the alarm ends nothing, and is asked again when it has.
    let _ = http.v3("maintenance/alarm", &end).await;
}

async fn every_answer_is_in_the_table(fixture: Fixture, seed: u64, requests: usize) {
    let mut draw = Draw(seed);
    let (mut refused, mut fulfilled) = (BTreeSet::new(), BTreeSet::new());
    let all = fixture.all();
    for _ in 0..requests {
        let http = &all[draw.below(all.len())];
        let request = request(&mut draw);
        let timeout = request.timeout.map(|timeout| ("grpc-timeout", timeout));
        let headers: Vec<_> = timeout.into_iter().collect();
        let answer = http.send("POST", &request.path, &headers, &request.body).await;
        match check(&request, &answer) {
            Some(error) => {
                refused.insert(error);
                if error.0 == 15 {
                    end_alarms(http).await;
                }
            }
            None => {
                fulfilled.insert(request.call);
            }
        }
    }
    for error in LEAST {
        assert!(refused.contains(error), "{error:?} was never an answer, only {refused:?}");
    }
    for call in FULFILLED {
        assert!(fulfilled.contains(call), "{call} was never fulfilled, only {fulfilled:?}");
    }
    let began = Instant::now();
    for http in &all {
        let read = json!({"key": "YQ=="});
        while http.v3("kv/range", &read).await.status != 200 {
            assert!(began.elapsed() < PATIENCE, "the node does not go on");
            end_alarms(http).await;
        }
    }
    let agreed = fixture.http.get("/v1/agree?timeout=10s").await.json();
    assert_ne!(agreed["agree"], false, "{agreed}");
    fixture.stop().await;
}

/// What so many wrong requests can not miss.
const LEAST: &[(u64, &str)] = &[
    (2, "etcdserver: requested lease not found"),
    (2, "\"leader\" field must be provided"),
    (3, "the body is not the JSON that this call takes"),
    (3, "etcdserver: key is not provided"),
    (3, "etcdserver: key not found"),
    (3, "etcdserver: value is provided"),
    (3, "etcdserver: lease is provided"),
    (3, "etcdserver: duplicate key given in txn request"),
    (3, "etcdserver: invalid sort option"),
    (3, "etcdserver: request is too large"),
    (4, "etcdserver: context deadline exceeded"),
    (5, "etcdserver: requested lease not found"),
    (5, "Not Found"),
    (9, "etcdserver: bad leader transferee"),
    (9, "etcdserver: authentication is not enabled"),
    (11, "etcdserver: mvcc: required revision has been compacted"),
    (11, "etcdserver: mvcc: required revision is a future revision"),
    (11, "etcdserver: too large lease TTL"),
    (12, "not part of this version"),
    (15, "etcdserver: corrupt cluster"),
];

/// Calls of which some are right among so many.
const FULFILLED: &[&str] = &[
    "kv/range",
    "kv/put",
    "kv/deleterange",
    "kv/txn",
    "lease/grant",
    "lease/timetolive",
    "lock/lock",
    "election/campaign",
    "cluster/member/list",
    "maintenance/status",
    "maintenance/hashkv",
];

#[tokio::test]
async fn one_node_answers_nothing_that_is_not_in_the_table() {
    every_answer_is_in_the_table(Fixture::start().await, 1, REQUESTS).await;
}

#[tokio::test]
async fn a_cluster_of_raft_answers_nothing_that_is_not_in_the_table() {
    let fixture = Fixture::cluster(Protocol::Raft).await;
    every_answer_is_in_the_table(fixture, 3, REQUESTS / 2).await;
}

#[tokio::test]
async fn a_cluster_of_zab_answers_nothing_that_is_not_in_the_table() {
    let fixture = Fixture::cluster(Protocol::Zab).await;
    every_answer_is_in_the_table(fixture, 5, REQUESTS / 2).await;
}
