//! Alarms, as etcd has them.

use consensus::Protocol;
use serde_json::{Value, json};
use server::config::ServeConfig;

use super::super::client::Http;
use super::Fixture;
use super::support::{assert_refused, base64, number};

const CORRUPT: &str = "etcdserver: corrupt cluster";

/// The alarms that a node lists: member and kind.
async fn alarms(http: &Http, request: Value) -> Vec<(i64, String)> {
    let listed = http.ok("maintenance/alarm", &request).await;
    let alarms = listed["alarms"].as_array().cloned().unwrap_or_default();
    let alarm = |alarm: &Value| {
        (number(&alarm["memberID"]), alarm["alarm"].as_str().expect("a kind").to_owned())
    };
    alarms.iter().map(alarm).collect()
}

/// Waits until a node has heard of an alarm, or of its end.
async fn heard(http: &Http, standing: &[(i64, String)]) {
    let began = std::time::Instant::now();
    while alarms(http, json!({})).await != standing {
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{standing:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// "CORRUPT -> everything incl. range fails."
async fn while_the_cluster_is_corrupt_everything_fails_at_every_node(fixture: Fixture) {
    let all = fixture.all();
    let key = base64("k");
    fixture.http.put_text("k", "v").await;
    fixture.http.grant(7, 1_000).await;
    for (raised_at, http) in all.iter().enumerate() {
        http.catch_up().await;
        let about = all.len() - raised_at;
        let corrupt = json!({"action": "ACTIVATE", "memberID": about, "alarm": "CORRUPT"});
        let raised = alarms(http, corrupt).await;
        let expected = vec![(i64::try_from(about).expect("small"), "CORRUPT".to_owned())];
        assert_eq!(raised, expected);
        for http in &all {
            heard(http, &expected).await;
            for (call, request) in [
                ("kv/range", json!({"key": key})),
                ("kv/range", json!({"key": key, "serializable": true})),
                ("kv/range", json!({"key": key, "range_end": "AA==", "count_only": true})),
                ("kv/put", json!({"key": key, "value": key})),
                ("kv/deleterange", json!({"key": key})),
                ("kv/txn", json!({"success": [{"requestRange": {"key": key}}]})),
                ("kv/txn", json!({"success": [{"requestPut": {"key": key, "value": key}}]})),
                ("kv/compaction", json!({"revision": 1})),
                ("lease/grant", json!({"ID": 8, "TTL": 1_000})),
                ("lease/revoke", json!({"ID": 7})),
                ("lease/timetolive", json!({"ID": 7})),
                ("lease/keepalive", json!({"ID": 7})),
                ("lease/leases", json!({})),
                ("lock/lock", json!({"name": key})),
                ("lock/unlock", json!({"key": key})),
                ("election/campaign", json!({"name": key, "value": key, "lease": 7})),
                ("election/leader", json!({"name": key})),
                ("election/resign", json!({"leader": {"name": key, "key": key, "rev": 2}})),
            ] {
                http.refused(call, &request, 15, CORRUPT).await;
            }
            let status = http.ok("maintenance/status", &json!({})).await;
            assert_eq!(status["errors"].as_array().map(Vec::len), Some(1), "{status}");
            assert_eq!(alarms(http, json!({"alarm": "NOSPACE"})).await, []);
            assert_eq!(alarms(http, json!({"memberID": 77})).await, expected);
        }
        let end = json!({"action": "DEACTIVATE", "memberID": about, "alarm": "CORRUPT"});
        assert_eq!(alarms(http, end).await, expected);
        for http in &all {
            heard(http, &[]).await;
            assert_eq!(http.ok("kv/range", &json!({"key": key})).await["count"], "1");
        }
    }
    fixture.stop().await;
}

/// "NOSPACE -> put/txn-with-writes/leasegrant fail 429, delete/range/compact/revoke still work; must be
/// disarmed by hand": the last not, but who does is not refused.
async fn a_full_store_refuses_what_stores_until_there_is_room(protocol: Protocol) {
    let small = |config: &mut ServeConfig| config.node.quota_bytes = Some(20_000);
    let fixture = Fixture::start_on_with(protocol, small).await;
    let all = fixture.all();
    for (at, http) in all.iter().enumerate() {
        let (at, member) = (i64::try_from(at).expect("small"), number_of(http).await);
        let [one, other, new] = ["one", "other", "new"].map(base64);
        let put = |key: &str| json!({"key": key, "value": base64(vec![b'v'; 12_000])});
        let store = |key: &str| json!([{"requestPut": {"key": key, "value": "MQ=="}}]);
        http.grant(10 + at, 1_000).await;
        for key in [&one, &other] {
            // What history there is may fill it, and is forgotten by itself.
            heard(http, &[]).await;
            http.ok("kv/put", &put(key)).await;
            http.catch_up().await;
        }
        let full = [(member, "NOSPACE".to_owned())];
        heard(http, &full).await;
        let status = http.ok("maintenance/status", &json!({})).await;
        assert!(status["errors"][0].as_str().expect("a text").contains("full"), "{status}");
        assert_eq!(status["dbSizeQuota"], "20000");
        assert!(number(&status["dbSizeInUse"]) >= 20_000, "{status}");
        for (call, request) in [
            ("kv/put", put(&one)),
            ("kv/put", json!({"key": new, "value": "", "lease": 10 + at})),
            ("kv/txn", json!({"success": store(&new)})),
            ("kv/txn", json!({"failure": store(&new)})),
            ("kv/txn", json!({"success": [{"requestTxn": {"success": store(&new)}}]})),
            ("lease/grant", json!({"ID": 30, "TTL": 1_000})),
            ("lock/lock", json!({"name": new})),
            ("lock/lock", json!({"name": new, "lease": 10 + at})),
            ("election/campaign", json!({"name": new, "value": new, "lease": 10 + at})),
        ] {
            let message = "etcdserver: mvcc: database space exceeded";
            http.refused(call, &request, 8, message).await;
        }
        let now = http.catch_up().await;
        for (call, request) in [
            ("kv/range", json!({"key": one})),
            ("kv/txn", json!({"success": [{"requestRange": {"key": one}}]})),
            ("kv/txn", json!({"success": [{"requestDeleteRange": {"key": new}}]})),
            ("lease/keepalive", json!({"ID": 10 + at})),
            ("lease/timetolive", json!({"ID": 10 + at})),
            ("lease/revoke", json!({"ID": 10 + at})),
            ("lease/leases", json!({})),
            ("lock/unlock", json!({"key": new})),
            ("kv/compaction", json!({"revision": now})),
            ("maintenance/alarm", json!({"action": "DEACTIVATE", "alarm": "NOSPACE"})),
        ] {
            let answer = http.v3(call, &request).await;
            // It compacts by itself, and may have come to there before.
            let is_compacted = answer.json()["code"] == 11 && call == "kv/compaction";
            assert!(answer.status == 200 || is_compacted, "{call}: {}", answer.json());
        }
        assert_eq!(alarms(http, json!({})).await, full, "it is as full as before");
        http.ok("kv/deleterange", &json!({"key": one})).await;
        heard(http, &[]).await;
        http.ok("kv/put", &json!({"key": new, "value": ""})).await;
        http.ok("kv/deleterange", &json!({"key": base64("a"), "range_end": base64("z")})).await;
        for http in &all {
            http.catch_up().await;
            heard(http, &[]).await;
        }
    }
    fixture.stop().await;
}

/// The number of the node that answers.
async fn number_of(http: &Http) -> i64 {
    number(&http.ok("maintenance/status", &json!({})).await["header"]["member_id"])
}

#[tokio::test]
async fn a_full_store_refuses_what_stores_on_one_node() {
    a_full_store_refuses_what_stores_until_there_is_room(Protocol::Null).await;
}

#[tokio::test]
async fn a_full_store_refuses_what_stores_on_raft() {
    a_full_store_refuses_what_stores_until_there_is_room(Protocol::Raft).await;
}

#[tokio::test]
async fn a_full_store_refuses_what_stores_on_zab() {
    a_full_store_refuses_what_stores_until_there_is_room(Protocol::Zab).await;
}

async fn only_corruption_is_raised_by_hand_and_only_of_a_member(fixture: Fixture) {
    for http in fixture.all() {
        let raise = |member: u64, alarm: &str| json!({"action": "ACTIVATE", "memberID": member, "alarm": alarm});
        let unknown = "etcdserver: member not found";
        http.refused("maintenance/alarm", &raise(9, "CORRUPT"), 5, unknown).await;
        let answer = http.v3("maintenance/alarm", &raise(1, "NOSPACE")).await;
        let what = "only CORRUPT is raised by hand; NOSPACE comes and goes with what is stored";
        assert_refused(&answer, 12, &format!("not part of this version: {what}"));
        // So etcd's own tests of its gateway ask.
        assert_eq!(alarms(&http, json!({"action": "ACTIVATE"})).await, []);
        assert_eq!(alarms(&http, json!({})).await, []);
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    while_the_cluster_is_corrupt_everything_fails_at_every_node,
    only_corruption_is_raised_by_hand_and_only_of_a_member,
);
