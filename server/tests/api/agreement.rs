//! `/v1/agree` over three nodes: what each has, and whether it is the same.

use std::time::Duration;

use consensus::Protocol;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::Fixture;

async fn three_agree(fixture: Fixture) {
    fixture.http.fill("k", 3).await;
    for (asked, http) in fixture.all().iter().enumerate() {
        let (json, _) = http.get("/v1/agree?key=k1&timeout=10s").await.json_and_revision();
        let context = format!("node {} says {json}", asked + 1);
        assert_eq!((&json["agree"], &json["answered"]), (&json!(true), &json!(3)), "{context}");
        for replica in json["replicas"].as_array().expect("a list") {
            assert_eq!((&replica["value"], &replica["mod_revision"]), (&json!("v1"), &json!(3)));
        }
        let (json, _) = http.get("/v1/agree?timeout=10s").await.json_and_revision();
        assert_eq!((&json["agree"], &json["answered"]), (&json!(true), &json!(3)), "{json}");
    }
    // What was compacted is compared, too, and told.
    assert_eq!(fixture.http.post("/v1/compact", "{\"revision\": 3}").await.status, 200);
    let everywhere = |json: &Value| {
        let replicas = json["replicas"].as_array().expect("a list");
        replicas.iter().all(|replica| replica["compact_revision"] == 3)
    };
    loop {
        let (json, _) = fixture.http.get("/v1/agree?timeout=10s").await.json_and_revision();
        assert_eq!(json["agree"], true, "{json}");
        if everywhere(&json) {
            break;
        }
    }
    fixture.stop().await;
}

async fn a_large_value_is_compared_without_being_sent(fixture: Fixture) {
    fixture.http.put("/v1/kv/large", vec![b'x'; 1 << 20]).await;
    let answer = fixture.http.get("/v1/agree?key=large&timeout=10s").await;
    assert!(answer.body.len() < 10_000, "{} bytes", answer.body.len());
    let (json, _) = answer.json_and_revision();
    assert_eq!((&json["agree"], &json["answered"]), (&json!(true), &json!(3)), "{json}");
    let digest = &json["replicas"][0]["value_digest"];
    assert_eq!(digest.as_str().map(str::len), Some(32), "{json}");
    for replica in json["replicas"].as_array().expect("a list") {
        assert_eq!((&replica["value_bytes"], &replica["value_digest"]), (&json!(1 << 20), digest));
    }
    fixture.stop().await;
}

async fn a_client_that_leaves_stops_nothing(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "v").await;
    for _ in 0..50 {
        let mut gone = http.connect().await;
        gone.write_all(b"GET /v1/agree?key=k HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        drop(gone);
    }
    let began = std::time::Instant::now();
    loop {
        let answer = http.get("/v1/agree?key=k").await;
        // As many may be under way as are allowed.
        if answer.status == 200 && answer.json()["answered"] == 3 {
            assert_eq!(answer.json()["agree"], true);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nobody answers any more");
    }
    fixture.stop().await;
}

async fn those_who_do_not_answer_are_named_and_two_still_agree(mut fixture: Fixture) {
    fixture.http.put("/v1/kv/k", "v").await;
    fixture.others.pop().expect("node 3").stop().await;
    let (json, _) = fixture.http.get("/v1/agree?key=k&timeout=1s").await.json_and_revision();
    assert_eq!((&json["agree"], &json["answered"]), (&json!(true), &json!(2)), "{json}");
    assert_eq!(json["replicas"][2], json!({"node": 3, "answered": false}));
    fixture.others.pop().expect("node 2").stop().await;
    let (json, _) = fixture.http.get("/v1/agree?key=k&timeout=300ms").await.json_and_revision();
    assert_eq!((&json["agree"], &json["answered"]), (&json!(null), &json!(1)), "{json}");
    let (json, _) = fixture.http.get("/v1/agree?timeout=300ms").await.json_and_revision();
    assert_eq!((&json["agree"], &json["answered"]), (&json!(null), &json!(1)), "{json}");
    fixture.stop().await;
}

macro_rules! on_three {
    ($($test:ident),*) => {
        mod raft {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::Fixture::start_on(super::Protocol::Raft).await).await;
                }
            )*
        }

        mod zab {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::Fixture::start_on(super::Protocol::Zab).await).await;
                }
            )*
        }
    };
}

on_three!(
    three_agree,
    a_large_value_is_compared_without_being_sent,
    a_client_that_leaves_stops_nothing,
    those_who_do_not_answer_are_named_and_two_still_agree
);
