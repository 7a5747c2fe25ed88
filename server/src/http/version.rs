//! `GET /version`: which version of which server this is.
//!
//! ```text
//! $ curl localhost:2379/version
//! ```

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::call::{self, Answer, Call, Content, Tag, schema_of};
use super::parameters::Parameters;
use super::v3::ETCD_VERSION;
use super::{State, answer};

/// What it takes and answers.
pub(super) const CALL: Call = Call {
    id: "version",
    tag: Tag::Operations,
    summary: "Tells which version of which server this is.",
    about: "",
    query: &[call::TIMEOUT],
    headers: &[],
    body: None,
    answers: &[Answer::ok("The version.", &[Content::Json(schema_of::<Version>)])],
    errors: &[],
};

/// The answer.
#[derive(Debug, Serialize, JsonSchema)]
struct Version {
    server: &'static str,
    version: &'static str,
    /// The version of the API.
    api: &'static str,
    protocol: &'static str,
    /// The version of etcd whose API `/v3` is, of this node and of all.
    etcdserver: &'static str,
    etcdcluster: &'static str,
    revision: u64,
}

/// The endpoint.
pub(super) async fn version(app: State, request: Request) -> Response {
    let result = Parameters::parse(request.uri().query(), &CALL).map(|_| {
        let answer = Version {
            server: "duorum",
            version: env!("CARGO_PKG_VERSION"),
            api: "v1",
            protocol: app.handle.facts().protocol.name(),
            etcdserver: ETCD_VERSION,
            etcdcluster: ETCD_VERSION,
            revision: app.revision().0,
        };
        answer::serialized(StatusCode::OK, &answer)
    });
    app.answer(result)
}
