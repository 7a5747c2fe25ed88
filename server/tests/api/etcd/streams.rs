//! Streams as such: when they begin, what they are refused for, how they end.

use serde_json::json;

use super::Fixture;
use super::support::{assert_refused, base64};

async fn a_malformed_request_is_refused_at_once(fixture: Fixture) {
    for http in fixture.all() {
        for body in
            ["{", "{}", "", "null", "[]", "x", "{\"create_request\":7}", "{\"create_requests\":{}}"]
        {
            let answer = http.post("/v3/watch", body).await;
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert_refused(&answer, 3, &message);
        }
        // What can not become a request is not waited for.
        let mut stream = http.open("watch", "x").await;
        assert_eq!(stream.head().await.status, 400);
    }
    fixture.stop().await;
}

async fn a_malformed_request_later_is_told_on_the_stream_and_ends_it(fixture: Fixture) {
    for http in fixture.all() {
        let mut stream = http.watch(json!({"key": base64("k")})).await;
        stream.send("{\"cancel_request\":{\"watch_id\":true}}").await;
        let error = stream.line().await.expect("a message")["error"].take();
        assert_eq!((&error["code"], &error["grpc_code"]), (&json!(3), &json!(3)), "{error}");
        assert_eq!(
            (&error["http_code"], &error["http_status"]),
            (&json!(400), &json!("Bad Request"))
        );
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("column 31")),
            "{error}"
        );
        assert_eq!(stream.line().await, None);
    }
    fixture.stop().await;
}

async fn requests_may_come_together_in_pieces_and_late(fixture: Fixture) {
    for http in fixture.all() {
        let create = json!({"create_request": {"key": base64("k")}}).to_string();
        http.catch_up().await;
        let mut stream = http.open("watch", &format!("{create} {create}\n{create}")).await;
        for id in [None, Some("1"), Some("2")] {
            let created = stream.next().await;
            assert_eq!(
                (created["created"].as_bool(), created["watch_id"].as_str()),
                (Some(true), id)
            );
        }
        let (one, other) = create.split_at(create.len() / 2);
        stream.send(one).await;
        stream.assert_silent().await;
        stream.send(other).await;
        assert_eq!(stream.next().await["watch_id"], "3");
        // The end of the requests is not the end of the watches.
        stream.end_body().await;
        stream.assert_silent().await;
        http.put_text("k", "v").await;
        for id in 0..4 {
            assert_eq!(stream.events(id).await.len(), 1);
        }
        http.ok("kv/deleterange", &json!({"key": base64("k")})).await;
    }
    fixture.stop().await;
}

async fn a_node_that_stops_ends_its_streams_and_says_so(fixture: Fixture) {
    let mut stream = fixture.http.watch(json!({"key": base64("k")})).await;
    let stopping = tokio::spawn(fixture.stop());
    let error = stream.line().await.expect("a message")["error"].take();
    assert_eq!(error["code"], 14, "{error}");
    assert_eq!(error["message"], "etcdserver: server stopped");
    assert_eq!(stream.line().await, None);
    stopping.await.expect("it stops");
}

super::on_every_protocol!(
    a_malformed_request_is_refused_at_once,
    a_malformed_request_later_is_told_on_the_stream_and_ends_it,
    requests_may_come_together_in_pieces_and_late,
    a_node_that_stops_ends_its_streams_and_says_so,
);
