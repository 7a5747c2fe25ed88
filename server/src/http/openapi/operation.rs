//! One call, as OpenAPI has it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::Schemas;
use crate::http::call::{self, AnswerHeader, Call, Content, Parameter, RequestBody, RequestHeader};
use crate::http::error::ErrorName;
use crate::http::key::PATH_KEY_BYTES_MAX;

/// Where the schema of errors is.
pub(super) const ERROR: &str = "#/components/schemas/Error";

/// The headers of every answer.
pub(super) const EVERY_ANSWER: [AnswerHeader; 4] = [
    AnswerHeader {
        name: "Duorum-Protocol",
        pattern: "^(raft|zab|null)$",
        always: true,
        meaning: "The consensus protocol of the cluster.",
    },
    AnswerHeader {
        name: "Duorum-Node",
        pattern: "^[0-9]+$",
        always: true,
        meaning: "The node that answers.",
    },
    AnswerHeader {
        name: "Duorum-Leader",
        pattern: "^([0-9]+|none)$",
        always: true,
        meaning: "The leader, as far as the node knows.",
    },
    AnswerHeader {
        name: "Duorum-Position",
        pattern: "^.+$",
        always: true,
        meaning: "The end of the node's log, in the protocol's words.",
    },
];

/// A header of a refusal that is worth another try.
const RETRY_AFTER: AnswerHeader = AnswerHeader {
    name: "Retry-After",
    pattern: "^[0-9]+$",
    always: false,
    meaning: "How many seconds to wait before the same request is sent again.",
};

/// What a call takes and answers.
pub(super) fn operation(path: &str, call: &Call, schemas: &mut Schemas) -> Value {
    let parameters: Vec<_> = path_parameters(path)
        .chain(call.query.iter().map(query_parameter))
        .chain(call.headers.iter().map(header_parameter))
        .collect();
    let mut operation = json!({
        "operationId": call.id,
        "tags": [call.tag.text().0],
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses(call, &mut schemas.answers),
    });
    if !call.about.is_empty() {
        operation["description"] = call.about.into();
    }
    if let Some(body) = &call.body {
        operation["requestBody"] = request_body(body, &mut schemas.requests);
    }
    operation
}

/// The same without any bodies, for the method HEAD.
pub(super) fn head_of(mut get: Value) -> Value {
    let id = get["operationId"].as_str().unwrap_or_default().to_owned();
    get["operationId"] = format!("{id}_head").into();
    get["summary"] = "The same as GET, without the body.".into();
    if let Some(responses) = get["responses"].as_object_mut() {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            response.remove("content");
        }
    }
    get
}

/// The errors that a call can give, in the order of their table.
pub(super) fn errors(call: &Call) -> BTreeSet<ErrorName> {
    call.errors.iter().chain([&call::EVERY]).copied().flatten().copied().collect()
}

pub(super) fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let parameter = |name: &str, meaning: String, schema: Value| json!({"name": name, "in": "path", "required": true, "description": meaning, "schema": schema});
    let key = path.contains("{key}").then(|| {
        let meaning = format!(
            "The key, percent-encoded: 1 to {PATH_KEY_BYTES_MAX} bytes of any kind. A `/` may stand \
             as it is."
        );
        parameter(
            "key",
            meaning,
            json!({"type": "string", "minLength": 1, "maxLength": PATH_KEY_BYTES_MAX}),
        )
    });
    let id = path.contains("{id}").then(|| {
        let meaning = "The name of a fault: the node that carries it out, and its number there.";
        parameter(
            "id",
            meaning.to_owned(),
            json!({"type": "string", "pattern": "^[0-9]+-[0-9]+$", "examples": ["1-2"]}),
        )
    });
    let lease = path.contains("{lease}").then(|| {
        let meaning = "The number of a lease.";
        parameter("lease", meaning.to_owned(), call::Kind::Lease.schema())
    });
    let node = path.contains("{node}").then(|| {
        let meaning = "The number of a node.";
        let schema = json!({"type": "integer", "format": "uint64", "minimum": 1});
        parameter("node", meaning.to_owned(), schema)
    });
    key.into_iter().chain(id).chain(lease).chain(node)
}

fn query_parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "required": false,
        "description": parameter.meaning,
        "schema": parameter.kind.schema(),
    })
}

fn header_parameter(header: &RequestHeader) -> Value {
    json!({
        "name": header.name,
        "in": "header",
        "required": false,
        "description": header.meaning,
        "schema": text(header.pattern),
    })
}

/// Text that matches a pattern, if there is one.
fn text(pattern: &str) -> Value {
    match pattern {
        "" => json!({"type": "string"}),
        pattern => json!({"type": "string", "pattern": pattern}),
    }
}

/// A header of an answer.
pub(super) fn header_schema(header: &AnswerHeader) -> Value {
    json!({
        "description": header.meaning,
        "required": header.always,
        "schema": text(header.pattern),
    })
}

fn request_body(body: &RequestBody, generator: &mut SchemaGenerator) -> Value {
    json!({
        "description": body.meaning,
        "required": body.required,
        "content": Value::Object(contents(&[body.content], generator)),
    })
}

/// The media types of a body, each with its schema. Where there are many objects in a stream, the schema
/// of one is beside that of the text.
fn contents(contents: &[Content], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let entry = |content: &Content| match *content {
        Content::Json(schema) => ("application/json", json!({"schema": schema(generator)})),
        Content::Lines(media_type, schema) => {
            (media_type, json!({"schema": {"type": "string"}, "x-item-schema": schema(generator)}))
        }
        Content::Text(media_type) => (media_type, json!({"schema": {"type": "string"}})),
        Content::Bytes => {
            ("application/octet-stream", json!({"schema": {"type": "string", "format": "binary"}}))
        }
    };
    let entries = contents.iter().map(entry);
    entries.map(|(media_type, value)| (media_type.to_owned(), value)).collect()
}

fn responses(call: &Call, generator: &mut SchemaGenerator) -> Value {
    let mut by_status: BTreeMap<u16, Vec<ErrorName>> = BTreeMap::new();
    for error in errors(call) {
        by_status.entry(error.status().as_u16()).or_default().push(error);
    }
    for answer in call.answers {
        by_status.entry(answer.status).or_default();
    }
    let response = |(status, errors): (u16, Vec<ErrorName>)| {
        (status.to_string(), response(call, status, &errors, generator))
    };
    Value::Object(by_status.into_iter().map(response).collect())
}

/// All that a call can answer with one status.
fn response(
    call: &Call,
    status: u16,
    errors: &[ErrorName],
    generator: &mut SchemaGenerator,
) -> Value {
    let answers = || call.answers.iter().filter(|answer| answer.status == status);
    let mut meanings: Vec<_> = answers().map(|answer| answer.meaning.to_owned()).collect();
    if !errors.is_empty() {
        let names: Vec<_> = errors.iter().map(|error| format!("`{error}`")).collect();
        meanings.push(format!("An error: {}.", names.join(", ")));
    }
    let mut headers: Map<String, Value> = EVERY_ANSWER
        .iter()
        .map(|header| {
            let reference = format!("#/components/headers/{}", header.name);
            (header.name.to_owned(), json!({"$ref": reference}))
        })
        .collect();
    let own = answers().flat_map(|answer| answer.headers);
    for header in
        own.chain(errors.iter().any(|error| error.is_worth_waiting()).then_some(&RETRY_AFTER))
    {
        headers.insert(header.name.to_owned(), header_schema(header));
    }
    // A refusal of a write can be repeated, too.
    if call.headers.iter().any(|header| header.name == call::IDEMPOTENCY_KEY.name) {
        headers.insert(call::REPLAYED.name.to_owned(), header_schema(&call::REPLAYED));
    }
    let mut response = json!({"description": meanings.join("\n\n"), "headers": headers});
    let mut content = Map::new();
    for answer in answers() {
        content.extend(contents(answer.contents, generator));
    }
    if !errors.is_empty() {
        let error = error_schema(errors);
        let json = content.entry("application/json").or_insert_with(|| json!({}));
        json["schema"] = match json.get("schema").cloned() {
            Some(other) => json!({"anyOf": [other, error]}),
            None => error,
        };
    }
    if !content.is_empty() {
        response["content"] = Value::Object(content);
    }
    response
}

/// An error that has one of these names.
fn error_schema(errors: &[ErrorName]) -> Value {
    let names: Vec<_> = errors.iter().map(|error| error.name()).collect();
    json!({
        "allOf": [{"$ref": ERROR}],
        "properties": {"error": {"properties": {"name": {"enum": names}}}},
    })
}
