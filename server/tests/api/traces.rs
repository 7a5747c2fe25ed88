//! `/v1/elections` and `/v1/trace` where little has happened: a node alone, and a quiet cluster.

use consensus::Protocol;
use serde_json::json;

use super::Fixture;
use super::diagrams::{read_mermaid, read_ndjson, read_shiviz};

#[tokio::test]
async fn a_node_alone_tells_how_it_became_the_leader() {
    let fixture = Fixture::start().await;
    fixture.http.put("/v1/kv/k", "v").await;
    let answer = fixture.http.get("/v1/elections").await;
    answer.assert_signed();
    let (json, _) = answer.json_and_revision();
    let elections = json["elections"].as_array().expect("a list");
    assert_eq!(elections.len(), 1, "{json}");
    assert_eq!((&elections[0]["leader"], &elections[0]["under_way"]), (&json!(1), &json!(false)));
    assert_eq!(json["nodes"].as_array().map(Vec::len), Some(1));
    let answer = fixture.http.get("/v1/trace").await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let (head, lines) = read_ndjson(std::str::from_utf8(&answer.body).expect("text"));
    assert_eq!((&head["protocol"], &head["earlier_events"]), (&json!("null"), &json!(0)));
    assert_eq!(
        (&lines[0]["event"], &lines[1]["event"]),
        (&json!("started"), &json!("role_changed"))
    );
    for (format, length) in [("mermaid", 3), ("shiviz", 4)] {
        let answer = fixture.http.get(&format!("/v1/trace?format={format}&messages=none")).await;
        let text = String::from_utf8(answer.body.clone()).expect("text");
        assert!(text.lines().count() >= length, "{text}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        match format {
            "mermaid" => assert_eq!(read_mermaid(&text).participants, ["n1"]),
            _ => {
                let entries = read_shiviz(&text);
                assert_eq!((&entries[0].host[..], entries[0].clock["n1"]), ("n1", 1));
                assert_eq!(entries[0].event, "starts with 0 entries");
            }
        }
    }
    fixture.stop().await;
}

async fn a_node_that_is_down_is_named_and_the_others_are_heard(mut fixture: Fixture) {
    fixture.http.put("/v1/kv/k", "v").await;
    fixture.others.pop().expect("node 3").stop().await;
    for path in ["/v1/elections?timeout=1s", "/v1/elections?limit=1&timeout=1s"] {
        let (json, _) = fixture.http.get(path).await.json_and_revision();
        let answered: Vec<_> =
            (0..3).map(|node| json["nodes"][node]["answered"].as_bool().expect("known")).collect();
        assert_eq!(answered, [true, true, false], "{json}");
        assert!(!json["elections"].as_array().expect("a list").is_empty(), "{json}");
    }
    for format in ["ndjson", "mermaid", "shiviz"] {
        let path = format!("/v1/trace?format={format}&timeout=1s");
        let answer = fixture.http.get(&path).await;
        assert_eq!((answer.status, answer.header("duorum-unanswered")), (200, Some("3")));
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_node_that_is_down_is_named_raft() {
    let fixture = Fixture::start_on(Protocol::Raft).await;
    a_node_that_is_down_is_named_and_the_others_are_heard(fixture).await;
}

#[tokio::test]
async fn a_node_that_is_down_is_named_zab() {
    let fixture = Fixture::start_on(Protocol::Zab).await;
    a_node_that_is_down_is_named_and_the_others_are_heard(fixture).await;
}
