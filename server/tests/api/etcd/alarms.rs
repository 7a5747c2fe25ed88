//! Alarms, as etcd has them: §2.2 "Alarms".

use serde_json::{Value, json};

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
                ("lock/lock", json!({"name": key})),
            ] {
                http.refused(call, &request, 15, CORRUPT).await;
            }
            let status = http.ok("maintenance/status", &json!({})).await;
            assert_eq!(status["errors"].as_array().map(Vec::len), Some(1), "{status}");
            assert_eq!(alarms(http, json!({"alarm": "NOSPACE"})).await, []);
            assert_eq!(alarms(http, json!({"memberID": 77})).await, []);
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

/// "must be disarmed by hand": here not, but who does is not refused.
#[tokio::test]
async fn a_full_store_is_told_as_an_alarm_that_ends_by_itself() {
    let fixture = Fixture::start_with(|config| config.node.quota_bytes = Some(20_000)).await;
    let http = &fixture.http;
    let put = json!({"key": base64("k"), "value": base64(vec![b'v'; 15_000])});
    http.ok("kv/put", &put).await;
    assert_eq!(alarms(http, json!({})).await, []);
    http.ok("kv/put", &put).await;
    http.refused("kv/put", &put, 8, "etcdserver: mvcc: database space exceeded").await;
    let full = [(1, "NOSPACE".to_owned())];
    assert_eq!(alarms(http, json!({})).await, full);
    assert_eq!(alarms(http, json!({"action": "DEACTIVATE", "alarm": "NOSPACE"})).await, full);
    http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
    heard(http, &[]).await;
    http.ok("kv/put", &put).await;
    fixture.stop().await;
}

#[tokio::test]
async fn only_corruption_is_raised_by_hand_and_only_of_a_member() {
    let fixture = Fixture::start().await;
    let raise = |member: u64, alarm: &str| json!({"action": "ACTIVATE", "memberID": member, "alarm": alarm});
    let unknown = "etcdserver: member not found";
    fixture.http.refused("maintenance/alarm", &raise(9, "CORRUPT"), 5, unknown).await;
    for alarm in ["NOSPACE", "NONE"] {
        let answer = fixture.http.v3("maintenance/alarm", &raise(1, alarm)).await;
        let what = "only CORRUPT is raised by hand; NOSPACE comes and goes with what is stored";
        assert_refused(&answer, 12, &format!("not part of this version: {what}"));
    }
    assert_eq!(alarms(&fixture.http, json!({})).await, []);
    fixture.stop().await;
}

super::on_every_protocol!(while_the_cluster_is_corrupt_everything_fails_at_every_node);
