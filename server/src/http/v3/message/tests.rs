//! The messages, by the names that etcd's clients use.

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::http::v3::protojson::{Json, decode};

#[track_caller]
fn read<M: Json + Default>(json: &serde_json::Value) -> M {
    decode(json.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error} in {json}"))
}

fn written(message: &impl Json) -> serde_json::Value {
    let mut out = Vec::new();
    message.write(&mut out);
    serde_json::from_slice(&out).expect("JSON")
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn the_odd_names_are_exactly_those_of_the_proto_files() {
    let grant = LeaseGrantResponse { id: 7, ttl: 5, ..LeaseGrantResponse::default() };
    assert_eq!(written(&grant), json!({"ID": "7", "TTL": "5"}));
    let left = LeaseTimeToLiveResponse { id: 7, ttl: -1, granted_ttl: 9, ..Default::default() };
    assert_eq!(written(&left), json!({"ID": "7", "TTL": "-1", "grantedTTL": "9"}));
    let member = Member {
        id: 1,
        name: "n".to_owned(),
        peer_urls: vec!["p".to_owned()],
        client_urls: vec!["c".to_owned()],
        is_learner: true,
    };
    let expected =
        json!({"ID": "1", "name": "n", "peerURLs": ["p"], "clientURLs": ["c"], "isLearner": true});
    assert_eq!(written(&member), expected);
    let alarm = AlarmMember { member_id: 3, alarm: AlarmType::NoSpace };
    assert_eq!(written(&alarm), json!({"memberID": "3", "alarm": "NOSPACE"}));
    let status = StatusResponse {
        db_size: 1,
        raft_index: 2,
        raft_term: 3,
        raft_applied_index: 4,
        db_size_in_use: 5,
        is_learner: true,
        storage_version: "3.5.0".to_owned(),
        db_size_quota: 6,
        downgrade_info: Some(DowngradeInfo::default()),
        ..StatusResponse::default()
    };
    assert_eq!(
        written(&status),
        json!({"dbSize": "1", "raftIndex": "2", "raftTerm": "3", "raftAppliedIndex": "4",
            "dbSizeInUse": "5", "isLearner": true, "storageVersion": "3.5.0", "dbSizeQuota": "6",
            "downgradeInfo": {}})
    );
    let hash = HashKvResponse { hash: 9, hash_revision: 4, ..HashKvResponse::default() };
    assert_eq!(written(&hash), json!({"hash": 9, "hash_revision": "4"}));
    assert_eq!(read::<MoveLeaderRequest>(&json!({"targetID": "123"})).target_id, 123);
    assert_eq!(read::<LeaseGrantRequest>(&json!({"TTL": 0, "ID": "7"})).id, 7);
}

#[test]
fn a_put_event_has_no_type_and_a_deletion_has() {
    let kv = Some(KeyValue { key: bytes("a"), mod_revision: 3, ..KeyValue::default() });
    let put = Event { kind: EventType::Put, kv: kv.clone(), prev_kv: None };
    assert_eq!(written(&put), json!({"kv": {"key": "YQ==", "mod_revision": "3"}}));
    let delete = Event { kind: EventType::Delete, kv, prev_kv: None };
    let expected = json!({"type": "DELETE", "kv": {"key": "YQ==", "mod_revision": "3"}});
    assert_eq!(written(&delete), expected);
}

#[test]
fn a_range_request_has_all_its_options_in_both_spellings() {
    let snake = json!({
        "key": "YQ==", "range_end": "Yg==", "limit": "5", "revision": 7, "sort_order": "DESCEND",
        "sort_target": 3, "serializable": true, "keys_only": true, "count_only": true,
        "min_mod_revision": 1, "max_mod_revision": "2", "min_create_revision": 3,
        "max_create_revision": 4,
    });
    let camel = json!({
        "key": "YQ==", "rangeEnd": "Yg==", "limit": 5, "revision": "7", "sortOrder": 2,
        "sortTarget": "MOD", "serializable": true, "keysOnly": true, "countOnly": true,
        "minModRevision": 1, "maxModRevision": "2", "minCreateRevision": 3,
        "maxCreateRevision": 4,
    });
    let expected = RangeRequest {
        key: bytes("a"),
        range_end: bytes("b"),
        limit: 5,
        revision: 7,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 4,
    };
    assert_eq!(read::<RangeRequest>(&snake), expected);
    assert_eq!(read::<RangeRequest>(&camel), expected);
}

#[test]
fn the_transactions_of_the_handbook_are_read() {
    let txn: TxnRequest = read(&json!({
        "compare": [{"target": "CREATE", "key": "Zm9v", "createRevision": "2"}],
        "success": [{"requestPut": {"key": "Zm9v", "value": "YmFy"}}],
    }));
    let compare = Compare {
        target: CompareTarget::Create,
        key: bytes("foo"),
        create_revision: Some(2),
        ..Compare::default()
    };
    assert_eq!(txn.compare, [compare]);
    let put = PutRequest { key: bytes("foo"), value: bytes("bar"), ..PutRequest::default() };
    assert_eq!(txn.success, [RequestOp { request_put: Some(put), ..RequestOp::default() }]);
    let txn: TxnRequest = read(&json!({
        "compare": [{"version": "4", "result": "EQUAL", "target": "VERSION", "key": "Zm9v"}],
        "success": [{"requestRange": {"key": "Zm9v"}}],
        "failure": [{"request_txn": {"success": [{"request_delete_range": {"key": "Zm9v"}}]}}],
    }));
    assert_eq!(txn.compare[0].version, Some(4));
    let nested = txn.failure[0].request_txn.as_ref().expect("a transaction within");
    assert!(nested.success[0].request_delete_range.is_some());
    // An operation with an unknown name is an empty one, which is for the call to refuse.
    let txn: TxnRequest = read(&json!({"success": [{"requestPutt": {"key": "Zm9v"}}]}));
    assert_eq!(txn.success, [RequestOp::default()]);
}

#[test]
fn two_members_of_a_oneof_are_refused_and_null_is_no_operation() {
    let twice = |json: serde_json::Value| {
        let error = decode::<TxnRequest>(json.to_string().as_bytes()).expect_err("two");
        assert!(error.to_string().contains("only one of"), "{error}");
    };
    twice(json!({"success": [{"request_put": {}, "request_range": {}}]}));
    twice(json!({"compare": [{"version": 1, "value": "YQ=="}]}));
    twice(json!({"compare": [{"lease": 0, "mod_revision": 0}]}));
    let watch = json!({"create_request": {}, "cancel_request": {}}).to_string();
    decode::<WatchRequest>(watch.as_bytes()).expect_err("two");
    decode::<TxnRequest>(br#"{"success":[null]}"#).expect_err("null");
    decode::<TxnRequest>(br#"{"compare":[{"result":4}]}"#).expect_err("no such comparison");
}

#[test]
fn what_came_of_a_transaction_says_which_operation_it_is_even_when_it_says_nothing_else() {
    let response = TxnResponse {
        succeeded: true,
        responses: vec![
            ResponseOp { response_put: Some(PutResponse::default()), ..ResponseOp::default() },
            ResponseOp {
                response_range: Some(RangeResponse { count: 2, ..RangeResponse::default() }),
                ..ResponseOp::default()
            },
        ],
        ..TxnResponse::default()
    };
    assert_eq!(
        written(&response),
        json!({"succeeded": true, "responses": [
            {"response_put": {}}, {"response_range": {"count": "2"}},
        ]})
    );
}

#[test]
fn locks_and_elections_are_read() {
    let campaign: CampaignRequest =
        read(&json!({"name": "ZWxlY3Rpb24=", "lease": "7587", "value": "bWU="}));
    assert_eq!((campaign.lease, &campaign.value[..]), (7587, &b"me"[..]));
    let proclaim: ProclaimRequest = read(&json!({"value": "bWU="}));
    assert_eq!(proclaim.leader, None);
    let resign: ResignRequest =
        read(&json!({"leader": {"name": "YQ==", "key": "Yi8x", "rev": "4", "lease": "1"}}));
    let leader = resign.leader.expect("a leader");
    assert_eq!((leader.rev, leader.lease, &leader.key[..]), (4, 1, &b"b/1"[..]));
    let response = CampaignResponse { leader: Some(leader), ..CampaignResponse::default() };
    assert_eq!(
        written(&response),
        json!({"leader": {"name": "YQ==", "key": "Yi8x", "rev": "4", "lease": "1"}})
    );
}

#[test]
fn watches_are_asked_for_in_either_spelling() {
    let snake = json!({"create_request": {"key": "YQ==", "range_end": "AA==", "start_revision": "3",
        "progress_notify": true, "filters": ["NOPUT", 1], "prev_kv": true, "watch_id": -4,
        "fragment": true}});
    let camel = json!({"createRequest": {"key": "YQ==", "rangeEnd": "AA", "startRevision": 3,
        "progressNotify": true, "filters": [0, "NODELETE"], "prevKv": true, "watchId": "-4",
        "fragment": true}});
    let create = WatchCreateRequest {
        key: bytes("a"),
        range_end: bytes("\0"),
        start_revision: 3,
        progress_notify: true,
        filters: vec![FilterType::NoPut, FilterType::NoDelete],
        prev_kv: true,
        watch_id: -4,
        fragment: true,
    };
    let request = WatchRequest { create_request: Some(create), ..WatchRequest::default() };
    assert_eq!(read::<WatchRequest>(&snake), request);
    assert_eq!(read::<WatchRequest>(&camel), request);
    assert_eq!(
        read::<WatchRequest>(&json!({"progressRequest": {}})).progress_request,
        Some(Empty {})
    );
}
