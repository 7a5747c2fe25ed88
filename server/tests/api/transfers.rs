//! `/v1/cluster/transfer` over HTTP: what it takes, and how it refuses.

use std::time::{Duration, Instant};

use consensus::Protocol;
use serde_json::json;

use super::Fixture;
use super::client::{Answer, PATIENCE};

#[tokio::test]
async fn without_replication_there_is_nobody_to_hand_over_to() {
    let fixture = Fixture::start().await;
    let path = "/v1/cluster/transfer";
    fixture.http.post(path, "").await.assert_error(409, "cannot_lead", "only one voter");
    let own = fixture.http.post(path, r#"{"to": 1}"#).await;
    assert_eq!((own.status, &own.json()["leader"]), (200, &json!(1)), "it leads already");
    fixture.stop().await;
}

/// Asks until the node follows: a new leader needs a quorum only, and the other may still be on its way.
async fn hand_over(fixture: &Fixture, to: u64) -> Answer {
    let body = format!("{{\"to\": {to}}}");
    let began = Instant::now();
    loop {
        let answer = fixture.http.post("/v1/cluster/transfer", &body).await;
        if answer.status == 200 || began.elapsed() > PATIENCE {
            return answer;
        }
        answer.assert_error(409, "no_successor", "does not follow it yet");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn what_is_no_transfer_is_refused(protocol: Protocol) {
    let fixture = Fixture::start_on(protocol).await;
    let path = "/v1/cluster/transfer";
    for (body, says) in [
        (r#"{"to": 4}"#, "the voters are 1, 2, 3"),
        (r#"{"to": "2"}"#, "may be left out"),
        (r#"{"node": 2}"#, "may be left out"),
        ("[2]", "no JSON object"),
    ] {
        fixture.http.post(path, body).await.assert_error(400, "invalid_body", says);
    }
    let get = fixture.http.get(path).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    for to in [2, 3, 1] {
        let answer = hand_over(&fixture, to).await;
        assert_eq!((answer.status, &answer.json()["leader"]), (200, &json!(to)));
        assert_eq!(answer.header("duorum-leader"), Some(to.to_string().as_str()));
        assert!(answer.json()["term"].as_u64().is_some_and(|term| term > 0));
    }
    let answer = fixture.http.post(path, "").await;
    assert_eq!((answer.status, &answer.json()["from"]), (200, &json!(1)));
    assert_ne!(answer.json()["leader"], 1);
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_no_transfer_is_refused_by_raft() {
    what_is_no_transfer_is_refused(Protocol::Raft).await;
}

#[tokio::test]
async fn what_is_no_transfer_is_refused_by_zab() {
    what_is_no_transfer_is_refused(Protocol::Zab).await;
}
