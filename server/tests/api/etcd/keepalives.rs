//! Keepalives: a stream of renewals.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Fixture;
use super::support::{assert_refused, base64, number, revision};

async fn a_keepalive_tells_the_time_and_of_an_unknown_lease_none(fixture: Fixture) {
    fixture.http.grant(7, 600).await;
    for http in fixture.all() {
        http.catch_up().await;
        let answers = http.results("lease/keepalive", "{\"ID\":\"7\"}").await;
        assert_eq!(answers.len(), 1);
        assert_eq!((&answers[0]["ID"], &answers[0]["TTL"]), (&json!("7"), &json!("600")));
        assert!(number(&answers[0]["header"]["member_id"]) > 0, "{}", answers[0]);
        let answers = http.results("lease/keepalive", "{\"ID\":8}{}").await;
        assert_eq!(answers.len(), 2);
        assert_eq!((&answers[0]["ID"], answers[0].get("TTL")), (&json!("8"), None));
        assert_eq!((answers[1].get("ID"), answers[1].get("TTL")), (None, None));
    }
    fixture.stop().await;
}

async fn there_is_an_answer_to_each_request_until_the_body_ends(fixture: Fixture) {
    fixture.http.grant(7, 600).await;
    for http in fixture.all() {
        http.catch_up().await;
        let mut stream = http.open("lease/keepalive", "{\"ID\":7}\n{\"ID\":9} {\"ID\"").await;
        assert_eq!(stream.next().await["TTL"], "600");
        let unknown = stream.next().await;
        assert_eq!((&unknown["ID"], unknown.get("TTL")), (&json!("9"), None));
        stream.assert_silent().await;
        stream.send(":7}").await;
        let answer = stream.next().await;
        assert_eq!(answer["TTL"], "600");
        assert!(revision(&answer) > 0);
        stream.end_body().await;
        assert_eq!(stream.line().await, None);
        // No request, no answer.
        assert_eq!(http.results("lease/keepalive", "").await, Vec::<serde_json::Value>::new());
    }
    fixture.stop().await;
}

async fn a_wrong_request_is_refused_at_once_and_a_later_one_on_the_stream(fixture: Fixture) {
    for http in fixture.all() {
        for body in ["x", "{", "7", "{\"ID\":true}", "{\"ID\":\"x\"}"] {
            let answer = http.post("/v3/lease/keepalive", body).await;
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert_refused(&answer, 3, &message);
        }
        let mut stream = http.open("lease/keepalive", "{\"ID\":5}").await;
        stream.next().await;
        stream.send("{\"ID\":[]}").await;
        let error = stream.line().await.expect("a message")["error"].take();
        assert_eq!((&error["code"], &error["http_code"]), (&json!(3), &json!(400)), "{error}");
        assert_eq!(stream.line().await, None);
    }
    fixture.stop().await;
}

async fn a_lease_lives_as_long_as_it_is_kept_alive_and_ends_when_it_is_not(fixture: Fixture) {
    let time = Duration::from_secs(2);
    let all = fixture.all();
    let began = Instant::now();
    all[0].grant(7, 2).await;
    let mut renewed = began;
    // Well beyond the time that it was granted for, at all nodes in turn.
    for http in all.iter().cycle() {
        if began.elapsed() > 2 * time {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = Instant::now();
        let answer = http.results("lease/keepalive", "{\"ID\":7}").await;
        if renewed.elapsed() >= time {
            // This machine was too slow to keep it alive.
            return fixture.stop().await;
        }
        assert_eq!(answer[0]["TTL"], "2", "after {:?}", renewed.elapsed());
        renewed = now;
    }
    while all[0].ok("lease/timetolive", &json!({"ID": 7})).await["TTL"] != "-1" {
        assert!(renewed.elapsed() < Duration::from_secs(60), "it does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(renewed.elapsed() >= time, "{:?}", renewed.elapsed());
    fixture.stop().await;
}

/// The leader renews a lease by itself, whichever node is asked.
async fn a_keepalive_is_no_entry_of_the_log(fixture: Fixture) {
    // What is left of the leases is put into the log when so much time has passed.
    let checkpoint_interval = Duration::from_secs(5);
    for http in fixture.all() {
        let index = async || {
            http.catch_up().await;
            number(&http.ok("maintenance/status", &json!({})).await["raftIndex"])
        };
        loop {
            let began = Instant::now();
            http.grant(7, 600).await;
            let before = index().await;
            for _ in 0..20 {
                let answers = http.results("lease/keepalive", "{\"ID\":7}").await;
                assert_eq!(answers[0]["TTL"], "600", "{}", answers[0]);
            }
            let after = index().await;
            http.ok("lease/revoke", &json!({"ID": 7})).await;
            if began.elapsed() < checkpoint_interval {
                assert_eq!(after, before);
                break;
            }
        }
    }
    fixture.stop().await;
}

/// So a client that watches from the header's revision on hears of the end of what it has just renewed.
async fn the_header_is_from_before_the_renewal(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        let other = all[(place + 1) % all.len()];
        for lease in 1..=15 {
            other.grant(lease, 600).await;
            let put = json!({"key": base64("k"), "value": base64("v"), "lease": lease});
            let put = revision(&other.ok("kv/put", &put).await);
            let (asking, request) = (*http, json!({"ID": lease}).to_string());
            let (first, mut is_renewed) = tokio::sync::mpsc::channel(1);
            let keepalives = tokio::spawn(async move {
                let mut headers = Vec::new();
                loop {
                    let answer = asking.results("lease/keepalive", &request).await[0].take();
                    if answer.get("TTL").is_none() {
                        return headers;
                    }
                    headers.push(revision(&answer));
                    // It is enough to say so once.
                    let _ = first.try_send(());
                }
            });
            is_renewed.recv().await.expect("a renewal");
            // It deletes the key. Whatever was renewed was renewed before.
            let ended = revision(&other.ok("lease/revoke", &json!({"ID": lease})).await);
            assert_eq!(ended, put + 1);
            let headers = keepalives.await.expect("no panic");
            assert!(headers.iter().all(|header| *header < ended), "{headers:?} {ended}");
        }
    }
    fixture.stop().await;
}

async fn a_node_that_stops_ends_its_keepalives_and_says_so(fixture: Fixture) {
    let mut stream = fixture.http.open("lease/keepalive", "{\"ID\":7}").await;
    stream.next().await;
    let stopping = tokio::spawn(fixture.stop());
    let error = stream.line().await.expect("a message")["error"].take();
    assert_eq!(error["message"], "etcdserver: server stopped");
    assert_eq!(stream.line().await, None);
    stopping.await.expect("it stops");
}

super::on_every_protocol!(
    a_keepalive_tells_the_time_and_of_an_unknown_lease_none,
    there_is_an_answer_to_each_request_until_the_body_ends,
    a_wrong_request_is_refused_at_once_and_a_later_one_on_the_stream,
    a_lease_lives_as_long_as_it_is_kept_alive_and_ends_when_it_is_not,
    a_keepalive_is_no_entry_of_the_log,
    the_header_is_from_before_the_renewal,
    a_node_that_stops_ends_its_keepalives_and_says_so,
);
