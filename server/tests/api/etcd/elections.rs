//! Elections.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::client::{Answer, Http};
use super::Fixture;
use super::support::{assert_refused, base64, number, text};

fn campaign(lease: i64, value: &str) -> Value {
    json!({"name": base64("office"), "lease": lease, "value": base64(value)})
}

/// Stands for the office when it is free. Returns what shows that it is held.
async fn win(http: &Http, lease: i64, value: &str) -> Value {
    http.ok("election/campaign", &campaign(lease, value)).await["leader"].take()
}

/// Stands for the office when it is not free. Returns when the key is there.
async fn stand(http: &Http, lease: i64, value: &str) -> JoinHandle<Answer> {
    let (http, request) = (*http, campaign(lease, value));
    let standing = tokio::spawn(async move { http.v3("election/campaign", &request).await });
    let key = format!("office/{lease:x}");
    while http.range_text(&key, "", json!({})).await.get("kvs").is_none() {
        assert!(!standing.is_finished(), "it does not wait");
    }
    standing
}

/// Who holds the office, and proclaims what.
async fn holder(http: &Http) -> (String, String) {
    let answer = http.ok("election/leader", &json!({"name": base64("office")})).await;
    (text(&answer["kv"]["key"]), text(&answer["kv"]["value"]))
}

fn is(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

async fn an_office_is_won_proclaimed_and_given_back(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        let other = &all[(place + 1) % all.len()];
        for lease in 1..=2 {
            http.grant(lease, 600).await;
        }
        let leader = win(http, 1, "one").await;
        assert_eq!((text(&leader["name"]), text(&leader["key"])), is("office", "office/1"));
        assert_eq!(
            (number(&leader["rev"]), &leader["lease"]),
            (http.catch_up().await, &json!("1"))
        );
        assert_eq!(holder(other).await, is("office/1", "one"));
        let proclamation = json!({"leader": leader, "value": base64("more")});
        other.ok("election/proclaim", &proclamation).await;
        assert_eq!(holder(http).await, is("office/1", "more"));
        let next = stand(other, 2, "two").await;
        http.ok("election/resign", &json!({"leader": leader})).await;
        let next = next.await.expect("no panic").json();
        assert_eq!(text(&next["leader"]["key"]), "office/2", "{next}");
        assert_eq!(holder(http).await, is("office/2", "two"));
        // Who resigned can not proclaim any more, but may resign again.
        let message = "election: not leader";
        http.refused("election/proclaim", &proclamation, 2, message).await;
        http.ok("election/resign", &json!({"leader": leader})).await;
        assert_eq!(holder(http).await, is("office/2", "two"));
        for lease in 1..=2 {
            http.ok("lease/revoke", &json!({"ID": lease})).await;
        }
    }
    fixture.stop().await;
}

async fn without_a_leader_there_is_none_to_be_told(fixture: Fixture) {
    for http in fixture.all() {
        let name = json!({"name": base64("office")});
        http.refused("election/leader", &name, 2, "election: no leader").await;
        let message = "\"leader\" field must be provided";
        http.refused("election/proclaim", &json!({"value": "YQ=="}), 2, message).await;
        http.refused("election/resign", &json!({}), 2, message).await;
        let message = "etcdserver: requested lease not found";
        http.refused("election/campaign", &campaign(99, "x"), 2, message).await;
        // A key that was never created is nobody's office.
        let leader = json!({"name": base64("office"), "key": base64("office/9")});
        let proclamation = json!({"leader": leader, "value": "YQ=="});
        http.refused("election/proclaim", &proclamation, 2, "election: not leader").await;
        let no_key = json!({"leader": {"rev": 5}});
        http.refused("election/resign", &no_key, 3, "etcdserver: key is not provided").await;
    }
    assert_eq!(fixture.http.catch_up().await, 1);
    fixture.stop().await;
}

async fn who_holds_the_office_may_campaign_again_and_say_something_else(fixture: Fixture) {
    fixture.http.grant(1, 600).await;
    let first = win(&fixture.http, 1, "one").await;
    for (place, http) in fixture.all().into_iter().enumerate() {
        let value = format!("again {place}");
        assert_eq!(win(&http, 1, &value).await, first);
        assert_eq!(holder(&http).await, is("office/1", &value));
    }
    fixture.stop().await;
}

async fn an_office_goes_with_the_lease_of_its_holder(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        let other = &all[(place + 1) % all.len()];
        for lease in 1..=3 {
            http.grant(lease, 600).await;
        }
        win(http, 1, "one").await;
        let second = stand(other, 2, "two").await;
        let third = stand(http, 3, "three").await;
        // Who waits loses the place with the lease, and nobody wins by it.
        http.ok("lease/revoke", &json!({"ID": 2})).await;
        let message = "mutex: session is expired";
        assert_refused(&second.await.expect("no panic"), 2, message);
        assert_eq!(holder(other).await, is("office/1", "one"));
        assert!(!third.is_finished());
        other.ok("lease/revoke", &json!({"ID": 1})).await;
        assert_eq!(third.await.expect("no panic").status, 200);
        assert_eq!(holder(other).await, is("office/3", "three"));
        http.ok("lease/revoke", &json!({"ID": 3})).await;
    }
    fixture.stop().await;
}

async fn an_observer_is_told_who_holds_the_office_and_what_they_proclaim(fixture: Fixture) {
    let all = fixture.all();
    for (place, http) in all.iter().enumerate() {
        let other = &all[(place + 1) % all.len()];
        for lease in 1..=2 {
            http.grant(lease, 600).await;
        }
        let name = json!({"name": base64("office")}).to_string();
        let mut stream = http.open("election/observe", &name).await;
        stream.end_body().await;
        stream.assert_silent().await;
        let leader = win(other, 1, "one").await;
        let told = async |stream: &mut super::support::Stream| {
            let result = stream.next().await;
            assert!(number(&result["header"]["member_id"]) > 0, "{result}");
            (text(&result["kv"]["key"]), text(&result["kv"]["value"]))
        };
        assert_eq!(told(&mut stream).await, is("office/1", "one"));
        // Who comes later is told how it stands.
        let mut late = other.open("election/observe", &name).await;
        late.end_body().await;
        assert_eq!(told(&mut late).await, is("office/1", "one"));
        let proclamation = json!({"leader": leader, "value": base64("more")});
        http.ok("election/proclaim", &proclamation).await;
        let next = stand(other, 2, "two").await;
        for stream in [&mut stream, &mut late] {
            assert_eq!(told(stream).await, is("office/1", "more"));
            stream.assert_silent().await;
        }
        http.ok("election/resign", &json!({"leader": leader})).await;
        assert_eq!(next.await.expect("no panic").status, 200);
        for stream in [&mut stream, &mut late] {
            assert_eq!(told(stream).await, is("office/2", "two"));
        }
        for lease in 1..=2 {
            http.ok("lease/revoke", &json!({"ID": lease})).await;
        }
    }
    fixture.stop().await;
}

async fn a_node_that_stops_ends_who_observes_there(fixture: Fixture) {
    fixture.http.grant(1, 600).await;
    win(&fixture.http, 1, "one").await;
    let name = json!({"name": base64("office")}).to_string();
    let mut stream = fixture.http.open("election/observe", &name).await;
    stream.end_body().await;
    stream.next().await;
    let stopping = tokio::spawn(fixture.stop());
    let error = stream.line().await.expect("a message")["error"].take();
    assert_eq!((&error["code"], &error["http_code"]), (&json!(14), &json!(503)), "{error}");
    assert_eq!(stream.line().await, None);
    stopping.await.expect("it stops");
}

super::on_every_protocol!(
    an_office_is_won_proclaimed_and_given_back,
    without_a_leader_there_is_none_to_be_told,
    who_holds_the_office_may_campaign_again_and_say_something_else,
    an_office_goes_with_the_lease_of_its_holder,
    an_observer_is_told_who_holds_the_office_and_what_they_proclaim,
    a_node_that_stops_ends_who_observes_there,
);
