//! Members and maintenance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::client::{Http, PATIENCE};
use super::Fixture;
use super::support::{base64, hand_over, number, revision};

async fn the_members_are_listed_by_each_of_them(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        for request in [json!({}), json!({"linearizable": true})] {
            let list = http.ok("cluster/member/list", &request).await;
            assert_eq!(list["header"].get("revision"), None);
            let members = list["members"].as_array().expect("members");
            let ids: Vec<_> = members.iter().map(|member| number(&member["ID"])).collect();
            assert_eq!(ids, (1..=all.len() as i64).collect::<Vec<_>>());
            for (at, member) in members.iter().enumerate() {
                let url = member["peerURLs"][0].as_str().expect("a URL");
                assert!(url.starts_with("http://127.0.0.1:"), "{url}");
                assert_eq!(member.get("clientURLs").is_some(), at == place, "{member}");
                assert_eq!(member.get("isLearner"), None);
            }
        }
    }
    fixture.stop().await;
}

async fn the_status_names_the_leader_and_how_far_the_node_is(fixture: Fixture) {
    fixture.http.put_text("a", "1").await;
    for http in fixture.all() {
        http.catch_up().await;
        let status = http.ok("maintenance/status", &json!({})).await;
        let leader = http.get("/v1/status").await.json()["leader"].as_i64().expect("a leader");
        assert_eq!((number(&status["leader"]), revision(&status)), (leader, 2));
        assert_eq!(status["version"], "3.5.0");
        assert!(number(&status["dbSize"]) > 0);
        assert!(number(&status["raftAppliedIndex"]) > 0 && number(&status["raftIndex"]) > 0);
        assert_eq!((status.get("errors"), status.get("isLearner")), (None, None));
        let version = http.get("/version").await.json();
        assert_eq!(version["etcdserver"], "3.5.0");
        assert_eq!(version["etcdcluster"], "3.5.0");
    }
    fixture.stop().await;
}

async fn all_nodes_have_one_cluster_id_and_each_a_member_id(fixture: Fixture) {
    let mut ids = Vec::new();
    for http in fixture.all() {
        let header = http.ok("maintenance/status", &json!({})).await["header"].take();
        ids.push(header["cluster_id"].clone());
    }
    assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
    fixture.stop().await;
}

async fn hashes_are_equal_where_the_keys_are(fixture: Fixture) {
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        fixture.http.put_text(key, value).await;
    }
    let mut seen: Vec<Value> = Vec::new();
    for http in fixture.all() {
        http.catch_up().await;
        for revision in [0, 1, 2, 3, 4] {
            let hash = http.ok("maintenance/hashkv", &json!({"revision": revision})).await;
            let expected = if revision == 0 { 4 } else { revision };
            assert_eq!(number(&hash["hash_revision"]), expected);
            seen.push(json!([hash["hash_revision"], hash["hash"]]));
        }
        let future = json!({"revision": 5});
        let message = "etcdserver: mvcc: required revision is a future revision";
        http.refused("maintenance/hashkv", &future, 11, message).await;
        assert!(http.ok("maintenance/hash", &json!({})).await["hash"].is_u64());
    }
    let nodes: Vec<_> = seen.chunks(5).collect();
    assert!(nodes.iter().all(|node| node == &nodes[0]), "{seen:?}");
    let different: BTreeSet<_> = nodes[0][1..].iter().map(|pair| pair[1].to_string()).collect();
    assert_eq!(different.len(), 4, "each revision has a hash of its own: {seen:?}");
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    fixture.http.ok("kv/compaction", &json!({"revision": 3})).await;
    fixture.http.refused("maintenance/hashkv", &json!({"revision": 2}), 11, compacted).await;
    fixture.stop().await;
}

/// Up to which entry each node has applied the log.
async fn applied(all: &[Http]) -> Vec<i64> {
    let mut applied = Vec::new();
    for http in all {
        let status = http.ok("maintenance/status", &json!({})).await;
        applied.push(number(&status["raftAppliedIndex"]));
    }
    applied
}

/// The hash of the whole state at each node, all of them after the same entry. Every entry moves it, and the
/// leader writes some that no client asks for.
async fn hashes_after_the_same_entry(all: &[Http]) -> Vec<u64> {
    let began = Instant::now();
    loop {
        for http in all {
            http.catch_up().await;
        }
        let before = applied(all).await;
        let mut hashes = Vec::new();
        for http in all {
            let answer = http.ok("maintenance/hash", &json!({})).await;
            hashes.push(answer["hash"].as_u64().expect("a hash"));
        }
        let is_same = before.iter().all(|index| *index == before[0]);
        if is_same && applied(all).await == before {
            return hashes;
        }
        assert!(began.elapsed() < PATIENCE, "the nodes do not come to rest: {before:?}");
    }
}

/// `hashkv` is of keys; this is of everything, so leases and the end of history count as well.
async fn hashes_of_the_whole_state_are_equal_after_an_entry_and_others_after_the_next(
    fixture: Fixture,
) {
    let all = fixture.all();
    let [a, b, value] = ["a", "b", "the same each time"].map(base64);
    let mut seen = BTreeSet::new();
    for (place, http) in (0_i64..).zip(&all) {
        let lease = place + 1;
        for (call, request) in [
            ("kv/put", json!({"key": a, "value": value})),
            ("lease/grant", json!({"ID": lease, "TTL": 600})),
            ("kv/put", json!({"key": b, "value": value, "lease": lease})),
            // The current revision: each node before this one made four.
            ("kv/compaction", json!({"revision": 3 + 4 * place})),
            ("lease/revoke", json!({"ID": lease})),
            ("kv/deleterange", json!({"key": a})),
        ] {
            http.ok(call, &request).await;
            let hashes = hashes_after_the_same_entry(&all).await;
            assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{call} {request}: {hashes:?}");
            assert!(seen.insert(hashes[0]), "{call} {request} changes no hash");
        }
    }
    fixture.stop().await;
}

async fn there_is_nothing_to_defragment_and_no_alarm(fixture: Fixture) {
    for http in fixture.all() {
        let answer = http.v3("maintenance/defragment", &json!({})).await;
        assert_eq!((answer.status, answer.json()), (200, json!({})));
        let alarms = http.ok("maintenance/alarm", &json!({"action": "GET"})).await;
        assert_eq!(alarms.get("alarms"), None);
    }
    fixture.stop().await;
}

async fn leadership_is_transferred_by_any_node(fixture: Fixture) {
    let all = fixture.all();
    for (id, http) in (1..).zip(&all) {
        let to = id % all.len() as u64 + 1;
        hand_over(http, to).await;
        let began = Instant::now();
        let leader = async || number(&http.ok("maintenance/status", &json!({})).await["leader"]);
        while leader().await.unsigned_abs() != to {
            assert!(began.elapsed() < Duration::from_secs(20), "{to}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let message = "etcdserver: bad leader transferee";
    for wrong in [json!({}), json!({"targetID": 9})] {
        fixture.http.refused("maintenance/transfer-leadership", &wrong, 9, message).await;
    }
    fixture.stop().await;
}

super::on_every_protocol!(
    the_members_are_listed_by_each_of_them,
    the_status_names_the_leader_and_how_far_the_node_is,
    all_nodes_have_one_cluster_id_and_each_a_member_id,
    hashes_are_equal_where_the_keys_are,
    hashes_of_the_whole_state_are_equal_after_an_entry_and_others_after_the_next,
    there_is_nothing_to_defragment_and_no_alarm,
    leadership_is_transferred_by_any_node,
);
