//! Which path is answered where, and what is said about all other paths.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::call::Call;
use super::error::{ApiError, Detail, ErrorName};
use super::parameters::excerpt;
use super::{
    App, State, agree, alarms, cluster, compact, delete, docs, elections, faults, get, health, lab,
    lease, metrics, openapi, put, range, status, trace, transaction, transfer, v3, version, watch,
};

/// Where the keys are.
const KEYS: &str = "/v1/kv/";

/// A path and what may be done to it.
pub(super) struct Route {
    /// The path as users write it.
    pub(super) path: &'static str,
    /// The path as axum has it.
    pattern: &'static str,
    /// The methods as the header Allow lists them, and a comma.
    methods: &'static str,
    /// The name of each method's call, by which its answers are counted.
    calls: &'static [(&'static str, &'static str)],
    /// What each method takes and answers.
    pub(super) descriptions: &'static [(&'static str, &'static Call)],
    endpoints: fn() -> MethodRouter<Arc<App>>,
}

/// As the header Allow has it: what can be got can be asked for its head, too.
macro_rules! allowed {
    (GET) => {
        "GET, HEAD"
    };
    ($method:ident) => {
        stringify!($method)
    };
}

macro_rules! routes {
    ($($path:literal as $pattern:literal: $($method:ident $endpoint:path = $call:path),+;)*) => {
        &[$(Route {
            path: $path,
            pattern: $pattern,
            methods: concat!($(allowed!($method), ", "),+),
            calls: &[$((stringify!($method), concat!(stringify!($method), " ", $path))),+],
            descriptions: &[$((stringify!($method), &$call)),+],
            endpoints: || MethodRouter::new()$(.on(MethodFilter::$method, $endpoint))+,
        },)*]
    };
}

/// Every path that there is, and what can be done to it: by what, and as what it is described.
pub(super) const ROUTES: &[Route] = routes! {
    "/v1/kv/{key}" as "/v1/kv/{*key}":
        GET get::get = get::CALL,
        PUT put::put = put::CALL,
        DELETE delete::delete_one = delete::ONE;
    "/v1/kv" as "/v1/kv":
        GET range::range = range::CALL,
        DELETE delete::delete_range = delete::MANY;
    "/v1/txn" as "/v1/txn": POST transaction::transact = transaction::CALL;
    "/v1/watch" as "/v1/watch": GET watch::watch = watch::CALL;
    "/v1/leases" as "/v1/leases":
        POST lease::grant = lease::GRANT,
        GET lease::list = lease::LIST;
    "/v1/leases/{lease}" as "/v1/leases/{lease}":
        GET lease::show = lease::SHOW,
        DELETE lease::revoke = lease::REVOKE;
    "/v1/leases/{lease}/keepalive" as "/v1/leases/{lease}/keepalive":
        POST lease::keep_alive = lease::KEEP_ALIVE;
    "/v1/compact" as "/v1/compact": POST compact::compact = compact::CALL;
    "/v1/status" as "/v1/status": GET status::status = status::CALL;
    "/v1/cluster" as "/v1/cluster": GET cluster::cluster = cluster::CALL;
    "/v1/cluster/transfer" as "/v1/cluster/transfer": POST transfer::transfer = transfer::CALL;
    "/v1/agree" as "/v1/agree": GET agree::agree = agree::CALL;
    "/v1/alarms" as "/v1/alarms": GET alarms::list = alarms::LIST;
    "/v1/alarms/{node}" as "/v1/alarms/{node}": DELETE alarms::clear = alarms::CLEAR;
    "/v1/elections" as "/v1/elections": GET elections::elections = elections::CALL;
    "/v1/trace" as "/v1/trace": GET trace::trace = trace::CALL;
    "/v1/faults" as "/v1/faults":
        POST faults::begin = faults::BEGIN,
        GET faults::list = faults::LIST,
        DELETE faults::heal_all = faults::HEAL_ALL;
    "/v1/faults/{id}" as "/v1/faults/{id}":
        GET faults::show = faults::SHOW,
        DELETE faults::heal = faults::HEAL;
    "/v1/lab/campaign" as "/v1/lab/campaign": POST lab::campaign = lab::CAMPAIGN;
    "/v1/lab/align-timers" as "/v1/lab/align-timers":
        POST lab::align_timers = lab::ALIGN_TIMERS;
    "/v1/lab/spread-timers" as "/v1/lab/spread-timers":
        POST lab::spread_timers = lab::SPREAD_TIMERS;
    "/health" as "/health": GET health::health = health::HEALTH;
    "/livez" as "/livez": GET health::livez = health::LIVEZ;
    "/readyz" as "/readyz": GET health::readyz = health::READYZ;
    "/version" as "/version": GET version::version = version::CALL;
    "/metrics" as "/metrics": GET metrics::metrics = metrics::CALL;
    "/openapi.json" as "/openapi.json": GET openapi::openapi = openapi::CALL;
    "/docs" as "/docs": GET docs::docs = docs::CALL;
};

impl Route {
    /// Whether this is the route of a path. An empty key is no key, but belongs to the route of keys:
    /// it deserves a better answer than "no such path".
    fn is_of(&self, path: &str) -> bool {
        if let Some(parent) = self.pattern.strip_suffix("{*key}") {
            return path.starts_with(parent);
        }
        let alike = |(given, known): (&str, &str)| match known.starts_with('{') {
            true => !given.is_empty(),
            false => given == known,
        };
        path.split('/').count() == self.pattern.split('/').count()
            && path.split('/').zip(self.pattern.split('/')).all(alike)
    }

    fn methods(&self) -> &'static str {
        self.methods.strip_suffix(", ").unwrap_or(self.methods)
    }
}

/// The routes of the API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Router {
    app: Arc<App>,
    all: TowerToHyperService<axum::Router>,
}

impl Router {
    pub(super) fn new(app: Arc<App>) -> Self {
        let all = ROUTES
            .iter()
            .fold(axum::Router::new(), |all, route| all.route(route.pattern, (route.endpoints)()))
            .route(KEYS, (ROUTES[0].endpoints)())
            .merge(v3::router())
            .fallback(unknown_path)
            .method_not_allowed_fallback(method_not_allowed)
            .with_state(app.clone());
        Self { app, all: TowerToHyperService::new(all) }
    }

    /// Answers a request for this call.
    pub(super) async fn answer(&self, call: Asked, request: hyper::Request<Incoming>) -> Response {
        let Some(call) = call.of_key else {
            let result: Result<_, Infallible> = self.all.call(request).await;
            return result.unwrap_or_else(|never| match never {});
        };
        let (app, request) = (axum::extract::State(self.app.clone()), request.map(Body::new));
        let mut response = match call {
            OfKey::Get => get::get(app, request).await,
            OfKey::Put => put::put(app, request).await,
            OfKey::Delete => delete::delete_one(app, request).await,
        };
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// By what it is counted: a place among [`counted_calls`], or with everything else.
    pub(super) call: Option<usize>,
    of_key: Option<OfKey>,
}

/// A call of one key. Nearly all requests are such calls, so they go to their endpoints directly: axum's
/// router would decode and note the key for endpoints that read it from the URI, and box each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfKey {
    Get,
    Put,
    Delete,
}

/// What a request asks for.
pub(super) fn asked(method: &Method, path: &str) -> Asked {
    let has_key = path.len() > KEYS.len() && path.starts_with(KEYS);
    let of_key = match *method {
        _ if !has_key => None,
        Method::GET => Some(OfKey::Get),
        Method::PUT => Some(OfKey::Put),
        Method::DELETE => Some(OfKey::Delete),
        // What is done to a key otherwise is for the router: it knows what HEAD is, and what is not allowed.
        _ => None,
    };
    Asked { call: counted_call(method, path), of_key }
}

/// The names of all calls, by which requests are counted.
pub(super) fn counted_calls() -> impl Iterator<Item = &'static str> {
    let of_routes = ROUTES.iter().flat_map(|route| route.calls.iter().map(|(_, name)| *name));
    of_routes.chain(v3::call_names())
}

/// The place among [`counted_calls`] of what a request asks for, if it is one of them.
fn counted_call(method: &Method, path: &str) -> Option<usize> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut before = 0;
    for route in ROUTES {
        if route.is_of(path) {
            let call = route.calls.iter().position(|(known, _)| *known == method);
            return call.map(|call| before + call);
        }
        before += route.calls.len();
    }
    v3::call(method, path).map(|call| before + call)
}

pub(super) fn allowed_methods(path: &str) -> &'static str {
    let of_v3 = || if v3::call("POST", path).is_some() { "POST" } else { "" };
    ROUTES.iter().find(|route| route.is_of(path)).map_or_else(of_v3, Route::methods)
}

async fn unknown_path(app: State, request: Request) -> Response {
    let path = request.uri().path();
    let paths: Vec<_> = ROUTES.iter().map(|route| route.path).collect();
    let hint = match path {
        "/" | "" => "; to begin with, `curl localhost:2379/v1/status`",
        _ if path.starts_with("/v3") => "; etcd's calls are below /v3/, such as /v3/kv/put",
        _ if path.starts_with("/v1/kv") => "; keys are at /v1/kv/{key}",
        _ => "",
    };
    let message = format!(
        "there is nothing at `{}` in this version{hint}. What there is: {}",
        excerpt(path.as_bytes()),
        paths.join(" "),
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

    /// The name under which a request is counted.
    fn call_name(method: &str, path: &str) -> &'static str {
        let call = asked(&method.parse().expect("a method"), path).call;
        call.map_or("other", |call| counted_calls().nth(call).expect("a place among the calls"))
    }

    #[test]
    fn every_call_has_a_name_for_counting_and_everything_else_one_together() {
        for route in ROUTES {
            let path = route.path.replace("{key}", "a/b").replace("{id}", "1-2");
            let path = path.replace("{lease}", "7").replace("{node}", "7");
            assert_eq!(allowed_methods(&path), route.methods());
            for method in route.methods().split(", ") {
                let name = call_name(method, &path);
                assert_eq!(name.split_once(' ').map(|(_, path)| path), Some(route.path));
            }
            assert_eq!(call_name("TRACE", &path), "other");
        }
        assert_eq!(allowed_methods("/v1/kv/"), "GET, HEAD, PUT, DELETE");
        assert_eq!(call_name("HEAD", "/v1/kv/a"), "GET /v1/kv/{key}");
        assert_eq!(call_name("DELETE", "/v1/faults/7"), "DELETE /v1/faults/{id}");
        assert_eq!(call_name("DELETE", "/v1/faults/7/8"), "other");
        assert_eq!(call_name("DELETE", "/v1/leases/"), "other");
        assert_eq!(
            call_name("POST", "/v1/leases/7/keepalive"),
            "POST /v1/leases/{lease}/keepalive"
        );
        assert_eq!(call_name("GET", "/v1/kvs"), "other");
        assert_eq!(call_name("POST", "/v3/kv/put"), "POST /v3/kv/put");
        assert_eq!(call_name("POST", "/v3beta/kv/put"), "POST /v3/kv/put");
        assert_eq!(call_name("POST", "/v3/auth/user/add"), "POST /v3/auth/enable");
        assert_eq!(call_name("GET", "/v3/kv/put"), "other");
        for path in ["/v3/kv/put/", "/v3alpha/kv/put", "/v1/kv/put"] {
            assert_eq!(call_name("POST", path), "other");
        }
    }

    #[test]
    fn what_is_done_to_a_key_goes_to_its_endpoint_and_all_else_to_the_router() {
        let of_key = |method: Method, path| asked(&method, path).of_key;
        for path in ["/v1/kv/a", "/v1/kv//", "/v1/kv/a/b%2F"] {
            assert_eq!(of_key(Method::GET, path), Some(OfKey::Get));
            assert_eq!(of_key(Method::PUT, path), Some(OfKey::Put));
            assert_eq!(of_key(Method::DELETE, path), Some(OfKey::Delete));
            assert_eq!(of_key(Method::HEAD, path), None);
            assert_eq!(of_key(Method::POST, path), None);
        }
        for path in ["/v1/kv/", "/v1/kv", "/v1/kvs/a", "/v3/kv/put", ""] {
            assert_eq!(of_key(Method::GET, path), None);
        }
    }
}
