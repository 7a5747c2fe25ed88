//! Keepalives: a stream of renewals.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Fixture;
use super::support::{assert_refused, number, revision};

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
    a_node_that_stops_ends_its_keepalives_and_says_so,
);
