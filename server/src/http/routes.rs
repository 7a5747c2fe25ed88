//! Which path is answered where, and what is said about all other paths.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get as on_get, post as on_post, put as on_put};
use hyper::Method;

use super::error::{ApiError, Detail, ErrorName};
use super::parameters::excerpt;
use super::{
    App, State, agree, cluster, compact, delete, get, health, metrics, put, range, status, version,
    watch,
};

/// Every path and its methods, for routing errors and for counting. `*` stands for a key.
const PATHS: [(&str, &str); 15] = [
    ("/v1/kv/*", "GET, HEAD, PUT, DELETE"),
    ("/v1/kv", "GET, HEAD, DELETE"),
    ("/v1/watch", "GET, HEAD"),
    ("/v1/compact", "POST"),
    ("/v1/status", "GET, HEAD"),
    ("/v1/cluster", "GET, HEAD"),
    ("/v1/agree", "GET, HEAD"),
    ("/health", "GET, HEAD"),
    ("/livez", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/version", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    // A key can not be empty, but asking for one deserves a better answer than "no such path".
    ("/v1/kv/", "GET, HEAD, PUT, DELETE"),
    ("/", ""),
    ("", ""),
];

/// The routes of the API.
pub(super) fn router(app: Arc<App>) -> Router {
    let one_key = on_put(put::put).get(get::get).delete(delete::delete_one);
    Router::new()
        .route("/v1/kv/{*key}", one_key.clone())
        .route("/v1/kv/", one_key)
        .route("/v1/kv", on_get(range::range).delete(delete::delete_range))
        .route("/v1/watch", on_get(watch::watch))
        .route("/v1/compact", on_post(compact::compact))
        .route("/v1/status", on_get(status::status))
        .route("/v1/cluster", on_get(cluster::cluster))
        .route("/v1/agree", on_get(agree::agree))
        .route("/health", on_get(health::health))
        .route("/livez", on_get(health::livez))
        .route("/readyz", on_get(health::readyz))
        .route("/version", on_get(version::version))
        .route("/metrics", on_get(metrics::metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// The name under which a request is counted: few, whatever clients send.
pub(super) fn route_name(method: &Method, path: &str) -> &'static str {
    let one_key = path.len() > "/v1/kv/".len() && path.starts_with("/v1/kv/");
    match (method.as_str(), path) {
        ("PUT", _) if one_key => "PUT /v1/kv/{key}",
        ("GET", _) if one_key => "GET /v1/kv/{key}",
        ("HEAD", _) if one_key => "HEAD /v1/kv/{key}",
        ("DELETE", _) if one_key => "DELETE /v1/kv/{key}",
        ("GET" | "HEAD", "/v1/kv") => "GET /v1/kv",
        ("DELETE", "/v1/kv") => "DELETE /v1/kv",
        ("GET" | "HEAD", "/v1/watch") => "GET /v1/watch",
        ("POST", "/v1/compact") => "POST /v1/compact",
        ("GET" | "HEAD", "/v1/status") => "GET /v1/status",
        ("GET" | "HEAD", "/v1/cluster") => "GET /v1/cluster",
        ("GET" | "HEAD", "/v1/agree") => "GET /v1/agree",
        ("GET" | "HEAD", "/health") => "GET /health",
        ("GET" | "HEAD", "/livez") => "GET /livez",
        ("GET" | "HEAD", "/readyz") => "GET /readyz",
        ("GET" | "HEAD", "/version") => "GET /version",
        ("GET" | "HEAD", "/metrics") => "GET /metrics",
        _ => "other",
    }
}

fn allowed_methods(path: &str) -> &'static str {
    PATHS
        .iter()
        .find(|(known, _)| match known.strip_suffix('*') {
            Some(parent) => path.len() > parent.len() && path.starts_with(parent),
            None => path == *known,
        })
        .map_or("", |(_, methods)| methods)
}

async fn unknown_path(app: State, request: Request) -> Response {
    let path = request.uri().path();
    let mut paths: Vec<_> =
        PATHS.iter().filter(|(_, methods)| !methods.is_empty()).map(|(path, _)| *path).collect();
    paths.retain(|path| *path != "/v1/kv/");
    let hint = match path {
        "/" | "" => "; to begin with, `curl localhost:2379/v1/status`",
        _ if path.starts_with("/v3") => "; etcd's API is not part of this version",
        _ if path.starts_with("/v1/kv") => "; keys are at /v1/kv/{key}",
        _ => "",
    };
    let message = format!(
        "there is nothing at `{}` in this version{hint}. What there is: {}",
        excerpt(path.as_bytes()),
        paths.join(" ").replace('*', "{key}"),
    );
    app.refuse(&ApiError::new(ErrorName::UnknownPath, message))
}

async fn method_not_allowed(app: State, request: Request) -> Response {
    let path = request.uri().path();
    let methods = allowed_methods(path);
    let message = format!(
        "`{}` can not be done to `{}`; it takes {methods}",
        excerpt(request.method().as_str().as_bytes()),
        excerpt(path.as_bytes()),
    );
    let mut error = ApiError::new(ErrorName::MethodNotAllowed, message);
    error.detail = Detail::Allow(methods);
    app.refuse(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_with_methods_has_a_name_for_counting() {
        for (path, methods) in PATHS.iter().filter(|(path, _)| !path.ends_with('/')) {
            let path = path.replace('*', "a/b");
            assert_eq!(allowed_methods(&path), *methods);
            for method in methods.split(", ").filter(|method| !method.is_empty()) {
                let method: Method = method.parse().expect("a method");
                assert_ne!(route_name(&method, &path), "other", "{method} {path}");
            }
        }
        assert_eq!(route_name(&Method::PUT, "/v1/kv/"), "other");
        assert_eq!(route_name(&Method::TRACE, "/v1/kv/a"), "other");
    }
}
