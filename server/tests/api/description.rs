//! Whether an answer is what `/openapi.json` says that it can be. Every answer that a test of the API
//! gets is checked.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::client::Answer;

/// Headers that belong to HTTP, and not to the API.
const OF_HTTP: [&str; 5] =
    ["content-type", "content-length", "transfer-encoding", "connection", "date"];

/// The description, as it is sent.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_slice(&server::http::openapi::document()).expect("the description is JSON")
});

/// The schemas, in which no member is allowed that is not described.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    close(&mut components);
    components
});

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("type") == Some(&json!("object")) && object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// The path in the description that a path belongs to.
pub(crate) fn template(path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object().expect("an object");
    let alike = |(given, known): (&str, &str)| match known.starts_with('{') {
        true => !given.is_empty(),
        false => given == known,
    };
    paths.keys().map(String::as_str).find(|template| match template.strip_suffix("{key}") {
        // An empty key is no key, but belongs to the calls of keys.
        Some(parent) => path.starts_with(parent),
        None => {
            path.split('/').count() == template.split('/').count()
                && path.split('/').zip(template.split('/')).all(alike)
        }
    })
}

/// Checks the answer to a request.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    // etcd's API has a description of its own: etcd's.
    if path.starts_with("/v3/") || path.starts_with("/v3beta/") {
        return;
    }
    let status = answer.status.to_string();
    let operation = template(path).map(|template| (template, &DOCUMENT["paths"][template]));
    let shown = format!("{method} {} {status}", path.get(..200).unwrap_or(path));
    let Some((template, operations)) = operation else {
        // OPTIONS of everything is of no path either.
        return check_refusal(method, "unknown_path", answer, &shown);
    };
    let known = (method == method.to_ascii_uppercase()).then(|| method.to_ascii_lowercase());
    let Some(operation) = known.and_then(|method| operations.get(method)) else {
        return check_refusal(method, "method_not_allowed", answer, &shown);
    };
    let described = operation["responses"].get(&status);
    let described = described.unwrap_or_else(|| {
        panic!("{shown} is not described: {}", String::from_utf8_lossy(&answer.body))
    });
    check_headers(answer, described, &shown);
    let Some(content) = described.get("content").filter(|_| method != "HEAD") else {
        assert!(answer.body.is_empty(), "{shown} has a body");
        return;
    };
    let media_type = answer.header("content-type").unwrap_or_default();
    let media = content.get(media_type).unwrap_or_else(|| panic!("{shown} is of {media_type}"));
    if media_type == "application/json" {
        let place = format!("{method} {template} {status}");
        validate(&place, &media["schema"], &answer.json());
    }
}

/// Checks the answer to a request that is of no call.
#[track_caller]
fn check_refusal(method: &str, name: &str, answer: &Answer, shown: &str) {
    if method == "HEAD" {
        assert!(answer.body.is_empty(), "{shown} has a body");
        assert!([404, 405].contains(&answer.status), "{shown}");
    } else {
        assert_eq!(answer.json()["error"]["name"], name, "{shown}");
        check_error(answer, shown);
    }
}

/// Checks that an answer is an error from the table, whichever call it belongs to.
#[track_caller]
pub(crate) fn check_error(answer: &Answer, shown: &str) {
    for name in DOCUMENT["components"]["headers"].as_object().expect("an object").keys() {
        assert!(answer.header(name).is_some(), "{shown} has no {name}");
    }
    let json = answer.json();
    validate("error", &json!({"$ref": "#/components/schemas/Error"}), &json);
    let name = json["error"]["name"].as_str().expect("a name");
    let in_table = server::http::error::ErrorName::ALL.iter().find(|error| error.name() == name);
    let status = in_table.map(|error| error.status().as_u16());
    assert_eq!(status, Some(answer.status), "{shown}: {name}");
}

#[track_caller]
fn check_headers(answer: &Answer, described: &Value, shown: &str) {
    let headers = described["headers"].as_object().expect("an object");
    for (name, header) in headers {
        let header = match header["$ref"].as_str() {
            Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("it leads somewhere"),
            None => header,
        };
        match answer.header(name) {
            Some(value) => validate(&format!("header {name}"), &header["schema"], &value.into()),
            None => assert_ne!(header["required"], true, "{shown} has no {name}"),
        }
    }
    for name in answer.header_names() {
        let known = headers.keys().any(|known| known.eq_ignore_ascii_case(name))
            || OF_HTTP.contains(&&name.to_ascii_lowercase()[..])
            || name == "allow" && answer.status == 405;
        assert!(known, "{shown} has the header {name}, which is not described");
    }
}

/// Checks a line of a stream.
#[track_caller]
pub(crate) fn check_line(path: &str, media_type: &str, line: &Value) {
    let template = template(path).expect("a described path");
    let content = &DOCUMENT["paths"][template]["get"]["responses"]["200"]["content"];
    validate(&format!("line of {template}"), &content[media_type]["x-item-schema"], line);
}

/// Checks something by its schema, which is always the same for the same place.
#[track_caller]
fn validate(place: &str, schema: &Value, value: &Value) {
    static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let validator = {
        let mut validators = VALIDATORS.lock().expect("no holder panics");
        let made = || {
            let mut root = schema.clone();
            close(&mut root);
            root["components"] = CLOSED.clone();
            Arc::new(jsonschema::draft202012::new(&root).expect("a schema"))
        };
        validators.entry(place.to_owned()).or_insert_with(made).clone()
    };
    let problems: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{place}: {problems:?} in {value}");
}
