//! The tests of [`super`].

use kvcore::Command;

use super::*;

fn parsed(body: &str) -> Transaction {
    parse(body.as_bytes(), 1 << 20).unwrap_or_else(|error| panic!("{body}: {}", error.message))
}

#[test]
fn every_member_means_what_it_says() {
    let transaction = parsed(
        r#"{
            "if": [
                {"key": "a", "version": {"eq": 1, "lt": 9}, "lease": {"ne": 0}},
                {"prefix": "c/", "exists": false},
                {"from": "/w==", "key_encoding": "base64", "exists": true},
                {"key": "b", "value": {"gt": "AP8="}, "value_encoding": "base64"}
            ],
            "then": [
                {"put": {"key": "a", "value": "1", "lease": 7, "prev": true}},
                {"put": {"key": "b", "keep_value": true, "ttl": "1s"}},
                {"put": {"key": "c", "value": "", "keep_lease": true}},
                {"get": {"prefix": "", "limit": 2, "order": "desc", "sort": "mod_revision"}}
            ],
            "else": [
                {"delete": {"from": "x", "to": "", "prev": true}},
                {"txn": {"then": [{"get": {"key": "k", "revision": 3, "keys_only": true}}]}}
            ]
        }"#,
    );
    let compares: Vec<_> = transaction.compares.iter().map(|compare| compare.operator).collect();
    use CompareOperator::{Equal, Greater, Less, NotEqual};
    assert_eq!(compares, [Equal, Less, NotEqual, Equal, Greater, Greater]);
    assert_eq!(transaction.compares[3].target, CompareTarget::Version(0));
    let from = Keys::Between { from: Bytes::from_static(b"\xFF"), to: None };
    assert_eq!(transaction.compares[4].keys, from);
    let value = CompareTarget::Value(Bytes::from_static(b"\0\xFF"));
    assert_eq!(transaction.compares[5].target, value);
    let puts = transaction.success.iter().filter_map(|operation| match operation {
        Operation::Put(put) => Some((put.lease, put.value != PutValue::Keep, put.return_previous)),
        _ => None,
    });
    let lease = LeaseId::new(7).expect("not 0");
    assert_eq!(
        puts.collect::<Vec<_>>(),
        [
            (PutLease::Attach(lease), true, true),
            (PutLease::Grant { ttl_millis: 2000 }, false, false),
            (PutLease::Keep, true, false),
        ]
    );
    let Operation::Read(range) = &transaction.success[3] else { panic!("it is a read") };
    assert!(range.keys.is_all() && range.limit == Some(2) && range.order == Order::Descending);
    let Operation::Transaction(within) = &transaction.failure[1] else { panic!("another one") };
    assert!(within.only_reads() && !transaction.only_reads());
    let around = Transaction {
        failure: vec![Operation::Transaction(within.clone())],
        ..Transaction::default()
    };
    assert!(around.only_reads(), "those within count");
    assert_eq!(Command::Transaction(transaction).check(), Ok(()));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_is_allowed() {
    use ErrorName::{InvalidBody, KeyEmpty, KeyTooLarge, ValueTooLarge};
    let put = |members: &str| format!(r#"{{"then":[{{}},{{"put":{{{members}}}}}]}}"#);
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    for (body, name, words) in [
        ("", InvalidBody, "EOF"),
        ("[]", InvalidBody, "a JSON object"),
        ("null", InvalidBody, "a JSON object"),
        ("{} {}", InvalidBody, "trailing"),
        ("{\"iff\":[]}", InvalidBody, "`iff`: unknown field `iff`, expected one of `if`, `then`"),
        ("{\"then\":[[]]}", InvalidBody, "`then[0]`: invalid type: sequence, expected a JSON"),
        ("{\"then\":[{}]}", InvalidBody, "`then[0]` is not one thing to do"),
        ("{\"then\":[{\"put\":[\"a\"]}]}", InvalidBody, "`then[0].put`: invalid type: sequence"),
        (
            "{\"then\":[{\"get\":{\"key\":\"a\"},\"delete\":{\"key\":\"a\"}}]}",
            InvalidBody,
            "one of `put`, `get`, `delete`, `txn`",
        ),
        ("{\"else\":[{\"puts\":{}}]}", InvalidBody, "`else[0].puts`: unknown field"),
        (&put("\"key\":\"a\",\"valeu\":\"1\""), InvalidBody, "`then[1].put.valeu`: unknown field"),
        ("{\"if\":[{\"key\":\"a\"}]}", InvalidBody, "`if[0]` compares nothing"),
        ("{\"if\":[{\"version\":{\"eq\":1}}]}", InvalidBody, "`if[0]` does not say which keys"),
        ("{\"if\":[{\"key\":\"a\",\"version\":{}}]}", InvalidBody, "`if[0].version` has nothing"),
        ("{\"if\":[{\"key\":\"a\",\"version\":1}]}", InvalidBody, "`if[0].version`: invalid type"),
        (
            "{\"if\":[{\"key\":\"a\",\"prefix\":\"\",\"exists\":true}]}",
            InvalidBody,
            "`if[0]` says twice",
        ),
        (
            "{\"if\":[{\"key\":\"a\",\"value_encoding\":\"base64\",\"exists\":true}]}",
            InvalidBody,
            "no `value`",
        ),
        (
            "{\"if\":[{\"key\":\"a\",\"key_encoding\":\"hex\"}]}",
            InvalidBody,
            "unknown variant `hex`, expected `base64`",
        ),
        (
            "{\"then\":[{\"txn\":{\"then\":[{\"get\":{}}]}}]}",
            InvalidBody,
            "`then[0].txn.then[0].get` does not say which keys",
        ),
        (
            "{\"then\":[{\"get\":{\"key\":\"a\",\"limit\":1}}]}",
            InvalidBody,
            "`then[0].get` reads one key",
        ),
        (
            "{\"then\":[{\"get\":{\"prefix\":\"\",\"limit\":10001}}]}",
            InvalidBody,
            "`then[0].get.limit` is 10001; allowed: a number from 1 to 10000",
        ),
        (
            "{\"then\":[{\"get\":{\"prefix\":\"\",\"revision\":0}}]}",
            InvalidBody,
            "`then[0].get.revision` is 0",
        ),
        ("{\"then\":[{\"delete\":{\"key\":\"\"}}]}", KeyEmpty, "`then[0].delete.key` is empty"),
        (
            &format!("{{\"then\":[{{\"delete\":{{\"to\":\"{long}\"}}}}]}}"),
            KeyTooLarge,
            ".delete.to`",
        ),
    ] {
        let error = parse(body.as_bytes(), 10).expect_err(body);
        assert_eq!(error.name, name, "{body}: {}", error.message);
        assert!(error.message.contains(words), "`{words}` is not in: {}", error.message);
    }
    let puts = |members: &str| format!("{{\"then\":[{{\"put\":{{{members}}}}}]}}");
    for (members, name, words) in [
        ("", InvalidBody, "`then[0].put` has no `key`"),
        ("\"key\":\"a\"", InvalidBody, "has no `value`; give it"),
        ("\"key\":\"a\",\"value\":null", InvalidBody, "has no `value`; give it"),
        ("\"key\":\"a\",\"value\":\"b\",\"keep_value\":true", InvalidBody, "give one of them"),
        ("\"key\":\"a\",\"value\":\"b\",\"lease\":0", InvalidBody, "`then[0].put.lease` is 0"),
        ("\"key\":\"a\",\"value\":\"b\",\"lease\":1,\"ttl\":\"9s\"", InvalidBody, "more than one"),
        ("\"key\":\"a\",\"value\":\"b\",\"ttl\":\"9\"", InvalidBody, "`then[0].put.ttl` is `9`"),
        (
            "\"key\":\"a\",\"value\":\"*\",\"value_encoding\":\"base64\"",
            InvalidBody,
            "`then[0].put.value` is not base64",
        ),
        ("\"key\":\"a\",\"key\":\"b\"", InvalidBody, "duplicate field"),
        ("\"key\":\"a\",\"value\":\"01234567890\"", ValueTooLarge, "has 11 bytes; at most 10"),
    ] {
        let error = parse(puts(members).as_bytes(), 10).expect_err(members);
        assert_eq!(error.name, name, "{members}: {}", error.message);
        assert!(error.message.contains(words), "`{words}` is not in: {}", error.message);
    }
}

#[test]
fn a_body_of_many_small_objects_is_not_read() {
    let body = format!("{{\"if\":[{}{{}}]}}", "{},".repeat(OBJECTS_MAX));
    let error = parse(body.as_bytes(), 10).expect_err("it has too many");
    assert_eq!(error.name, ErrorName::TooManyOperations);
    // Braces in a text are no objects.
    let braces = format!("\"\\\"{}\"", "{".repeat(OBJECTS_MAX));
    let body = format!("{{\"if\":[{{\"key\":{braces},\"exists\":true}}]}}");
    assert_eq!(parsed(&body).compares.len(), 1);
    let deep = "{\"then\":[{\"txn\":".repeat(500) + "{}" + &"}]}".repeat(500);
    let error = parse(deep.as_bytes(), 10).expect_err("it is too deep");
    assert!(error.message.contains("recursion limit"), "{}", error.message);
}
