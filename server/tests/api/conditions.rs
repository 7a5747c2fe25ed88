//! Conditions of writes: when they hold, when not, and what is said then.

use serde_json::json;

use super::Fixture;

async fn a_write_is_done_only_if_its_conditions_hold(fixture: Fixture) {
    let http = &fixture.http;
    http.put("/v1/kv/k", "one").await;
    http.put("/v1/kv/k", "two").await;
    let found = json!({"key": "k", "create_revision": 2, "mod_revision": 3, "version": 2});
    for (query, words) in [
        ("if_absent", "the key is absent"),
        ("if_version=1", "the version is 1"),
        ("if_version=0", "the version is 0"),
        ("if_mod_revision=2", "the mod_revision is 2"),
        ("if_value=one", "the value is another one"),
        ("if_version=2&if_value=one", "the value is another one"),
    ] {
        for method in ["PUT", "DELETE"] {
            let path = format!("/v1/kv/k?{query}");
            let answer = http.send(method, &path, &[], b"").await;
            let json = answer.assert_error(412, "precondition_failed", words);
            assert_eq!(json["found"], found, "{method} {query}");
            assert_eq!(json["revision"], 3, "{method} {query}");
        }
    }
    let done = http.put("/v1/kv/k?if_version=2&if_mod_revision=3&if_value=two&prev", "three").await;
    assert_eq!(
        done.json(),
        json!({
            "created": false,
            "prev": {"key": "k", "value": "two", "create_revision": 2, "mod_revision": 3, "version": 2},
            "revision": 4,
        })
    );
    fixture.stop().await;
}

async fn an_absent_key_has_version_0_and_no_value(fixture: Fixture) {
    let http = &fixture.http;
    for query in ["if_version=1", "if_mod_revision=1", "if_value="] {
        let answer = http.put(&format!("/v1/kv/k?{query}"), "v").await;
        let json = answer.assert_error(412, "precondition_failed", "the key is absent");
        assert_eq!(json["found"], json!(null));
    }
    let created = http.put("/v1/kv/k?if_absent&if_version=0&if_mod_revision=0&prev", "v").await;
    assert_eq!(created.json(), json!({"created": true, "prev": null, "revision": 2}));
    fixture.stop().await;
}

async fn of_many_who_create_a_key_one_succeeds(fixture: Fixture) {
    let tasks = (0..20).map(|number| {
        let http = fixture.http;
        tokio::spawn(async move { http.put("/v1/kv/k?if_absent", number.to_string()).await.status })
    });
    let mut statuses = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        statuses.push(task.await.expect("a task"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|status| *status == 412), "{statuses:?}");
    fixture.stop().await;
}

super::on_every_protocol!(
    a_write_is_done_only_if_its_conditions_hold,
    an_absent_key_has_version_0_and_no_value,
    of_many_who_create_a_key_one_succeeds,
);
