//! `GET /openapi.json`: the description of this API for programs, in the form of OpenAPI 3.1.
//!
//! ```text
//! $ curl localhost:2379/openapi.json
//! ```
//!
//! It is written from what the server goes by itself: the table of routes, what each call takes and
//! answers (`super::call`), the table of errors, and the types that are read and sent.

mod operation;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use self::operation::{EVERY_ANSWER, header_schema, operation};
use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::error::ErrorAnswer;
use super::parameters::Parameters;
use super::routes::{ROUTES, Route};
use super::{State, answer};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "openapi",
    tag: Tag::Operations,
    summary: "This description.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok(
        "The description, in the form of OpenAPI 3.1.",
        &[Content::Json(schema_of::<BTreeMap<String, Value>>)],
    )],
    errors: &[],
};

const ABOUT: &str = "A key is the rest of the path, percent-decoded: any bytes, `/` included. A value \
is the body: any bytes. In JSON, keys and values are text when they are valid UTF-8, and otherwise \
base64 beside a member like `\"value_encoding\": \"base64\"`. Every answer of JSON has the `revision` of \
the store, and every answer the headers `Duorum-Protocol`, `Duorum-Node`, `Duorum-Leader` and \
`Duorum-Position`. Errors have one form and one table of names. Parameters that a call does not know \
are refused, never ignored.";

/// The endpoint.
pub(super) async fn openapi(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL)
        .map(|_| answer::bytes(StatusCode::OK, answer::JSON, document()));
    app.answer(result)
}

/// The document, as it is sent.
#[must_use]
pub fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let mut bytes = serde_json::to_vec(&write()).expect("a value can be written");
        bytes.push(b'\n');
        bytes.into()
    });
    DOCUMENT.clone()
}

/// The schemas of what is read and of what is sent. A member that may be left out of a request is
/// there in every answer.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = "/components/schemas".into())
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// All schemas that were referred to.
    fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.answers.take_definitions(true);
        for (name, schema) in self.requests.take_definitions(true) {
            let other = all.insert(name.clone(), schema.clone());
            assert!(
                other.is_none_or(|other| other == schema),
                "a type that is read and sent has one schema: {name}"
            );
        }
        all
    }
}

fn write() -> Value {
    let mut schemas = Schemas::new();
    let error: Schema = schemas.answers.subschema_for::<ErrorAnswer>();
    assert_eq!(error.get("$ref"), Some(&json!(operation::ERROR)), "errors refer to their schema");
    let mut paths = Map::new();
    for (place, route) in ROUTES.iter().enumerate() {
        paths.insert(route.path.to_owned(), path(place, route, &mut schemas));
    }
    let tag = |(name, about)| json!({"name": name, "description": about});
    let tags: Vec<_> = Tag::ALL.into_iter().map(Tag::text).map(tag).collect();
    let headers: Map<String, Value> =
        EVERY_ANSWER.iter().map(|header| (header.name.to_owned(), header_schema(header))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Duorum",
            "summary": "One replicated key-value store, two consensus protocols.",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The node that sent this description."}],
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas.into_components(), "headers": headers},
    })
}

/// All that can be done to a path. What can be got can be asked for its head, too. The members of a JSON
/// object have no order, so the path's place in the table of routes is told by a number.
fn path(place: usize, route: &Route, schemas: &mut Schemas) -> Value {
    let mut operations = Map::from_iter([("x-place".to_owned(), place.into())]);
    for (method, call) in route.descriptions {
        operations.insert(method.to_ascii_lowercase(), operation(route.path, call, schemas));
        if *method == "GET" {
            let head = operation::head_of(operation(route.path, call, schemas));
            operations.insert("head".to_owned(), head);
        }
    }
    Value::Object(operations)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::error::ErrorName;
    use super::*;

    #[test]
    fn every_part_of_a_path_that_is_given_is_described() {
        for route in ROUTES {
            let named = route.path.split(['{', '}']).skip(1).step_by(2);
            let described: Vec<String> = operation::path_parameters(route.path)
                .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
                .collect();
            assert_eq!(named.collect::<Vec<_>>(), described, "{}", route.path);
        }
    }

    fn calls() -> impl Iterator<Item = (&'static str, &'static str, &'static Call)> {
        ROUTES.iter().flat_map(|route| {
            route.descriptions.iter().map(|(method, call)| (route.path, *method, *call))
        })
    }

    #[test]
    fn every_call_is_described_and_nothing_else() {
        let document = write();
        let mut described = 0;
        for (path, method, call) in calls() {
            let operation = &document["paths"][path][method.to_ascii_lowercase()];
            assert_eq!(operation["operationId"], call.id, "{method} {path}");
            assert!(!call.summary.is_empty() && !call.answers.is_empty(), "{method} {path}");
            let names: Vec<_> = operation["parameters"].as_array().expect("a list").clone();
            for parameter in call.query {
                let found = names.iter().find(|described| {
                    described["in"] == "query" && described["name"] == parameter.name
                });
                let found = found.unwrap_or_else(|| panic!("{method} {path} {}", parameter.name));
                assert_eq!(found["schema"], parameter.kind.schema());
                assert!(!parameter.meaning.is_empty(), "{method} {path} {}", parameter.name);
            }
            described += if method == "GET" { 2 } else { 1 };
        }
        let paths = document["paths"].as_object().expect("an object");
        let operations = paths.values().map(|path| path.as_object().expect("an object").len() - 1);
        assert_eq!(operations.sum::<usize>(), described);
        assert_eq!(paths.len(), ROUTES.len());
    }

    #[test]
    fn no_name_is_used_twice() {
        let ids: BTreeSet<_> = calls().map(|(_, _, call)| call.id).collect();
        assert_eq!(ids.len(), calls().count());
        for (path, method, call) in calls() {
            let names: BTreeSet<_> = call.query.iter().map(|parameter| parameter.name).collect();
            assert_eq!(names.len(), call.query.len(), "{method} {path}");
        }
    }

    #[test]
    fn every_error_belongs_to_a_call_or_to_none_by_its_nature() {
        let given: BTreeSet<_> = calls().flat_map(|(_, _, call)| operation::errors(call)).collect();
        for error in ErrorName::ALL {
            let of_no_call = matches!(error, ErrorName::UnknownPath | ErrorName::MethodNotAllowed);
            assert_ne!(given.contains(error), of_no_call, "{error}");
        }
    }

    #[test]
    fn every_reference_leads_to_something_and_every_object_has_its_members_described() {
        fn visit(value: &Value, document: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').expect("a reference within");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    object.values().for_each(|value| visit(value, document));
                }
                Value::Array(list) => list.iter().for_each(|value| visit(value, document)),
                _ => {}
            }
        }
        let document = write();
        visit(&document, &document);
    }
}
