//! A small HTTP client that knows what may be sent again and what may not.
//!
//! It goes through its endpoints until one answers. A write is sent to the next one only while it
//! is certain that none before has done it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kvcore::IdempotencyKey;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::url::Url;
use super::{Complaint, Exit};

/// How long connecting to one endpoint may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How much longer than the server the client waits: the server knows better what happened.
const GRACE: Duration = Duration::from_secs(3);
/// The largest answer that is not a stream.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A client of some nodes.
#[derive(Debug)]
pub(super) struct Client {
    /// `host:port` of each.
    endpoints: Vec<String>,
    timeout: Duration,
    /// What every request of this client is sent with, so that a write can be sent to several nodes and
    /// still takes effect at most once.
    idempotency_key: Option<IdempotencyKey>,
    /// Whether what it asks may be done twice without harm.
    repeatable: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// The body.
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Complaint> {
        serde_json::from_slice(&self.body).map_err(|cause| {
            Complaint::new(
                Exit::Unavailable,
                format!("the answer is no JSON ({cause}); is this a duorum server?"),
            )
        })
    }
}

/// What is known about a request that did not get an answer.
enum Unanswered {
    /// It was certainly not done.
    Definite(String),
    /// It may have been.
    Unknown(String),
}

impl Client {
    pub(super) fn new(endpoints: &[String], timeout: Duration) -> Result<Self, Complaint> {
        let parsed: Result<Vec<_>, _> = endpoints.iter().map(|text| parse_endpoint(text)).collect();
        Ok(Self { endpoints: parsed?, timeout, idempotency_key: None, repeatable: false })
    }

    /// The same client, whose requests carry a key.
    pub(super) fn with_idempotency_key(self, key: Option<IdempotencyKey>) -> Self {
        Self { idempotency_key: key, ..self }
    }

    /// The same client, for requests that do no harm when they are done twice.
    pub(super) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// The endpoints as `host:port`.
    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Asks the endpoints, one after the other, until one answers. A write is sent on only while it is
    /// certain that nobody has done it, or if it has a key.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Answer, Complaint> {
        let url = url.clone().with(
            "timeout",
            &humantime::format_duration(self.timeout).to_string().replace(' ', ""),
        );
        let is_write = method != Method::GET && !self.repeatable;
        let has_key = self.idempotency_key.is_some();
        let mut refusals = Vec::new();
        let mut in_doubt = false;
        for endpoint in &self.endpoints {
            let is_last = endpoint == self.endpoints.last().expect("in the loop");
            match self.ask_one(endpoint, &method, &url, body.clone()).await {
                // Definite and retryable: another node may do better.
                Ok(answer) if is_retryable(answer.status) && (in_doubt || !is_last) => {
                    refusals.push(format!("{endpoint} answered {}", answer.status));
                }
                Ok(answer)
                    if has_key && answer.status == StatusCode::GATEWAY_TIMEOUT && !is_last =>
                {
                    in_doubt = true;
                    refusals.push(format!("{endpoint} answered {}", answer.status));
                }
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Definite(cause)) => refusals.push(cause),
                Err(Unanswered::Unknown(cause)) => {
                    in_doubt |= is_write;
                    refusals.push(cause);
                    if is_write && !has_key {
                        break;
                    }
                }
            }
        }
        Err(if in_doubt { doubt(&refusals, has_key) } else { nobody(&refusals) })
    }

    /// Asks one endpoint for a whole answer.
    pub(super) async fn ask_endpoint(
        &self,
        endpoint: &str,
        url: &Url,
    ) -> Result<Answer, Complaint> {
        self.ask_one(endpoint, &Method::GET, url, Bytes::new()).await.map_err(|unanswered| {
            let (Unanswered::Definite(cause) | Unanswered::Unknown(cause)) = unanswered;
            Complaint::new(Exit::Unavailable, cause)
        })
    }

    /// Begins a stream at the first endpoint that answers.
    pub(super) async fn stream(&self, url: &Url) -> Result<Response<Incoming>, Complaint> {
        let mut refusals = Vec::new();
        for endpoint in &self.endpoints {
            let request = self.send(endpoint, &Method::GET, url, Bytes::new());
            match timeout(self.timeout + GRACE, request).await {
                Ok(Ok(response)) if !is_retryable(response.status()) => return Ok(response),
                Ok(Ok(response)) => {
                    refusals.push(format!("{endpoint} answered {}", response.status()));
                }
                Ok(Err(Unanswered::Definite(cause) | Unanswered::Unknown(cause))) => {
                    refusals.push(cause);
                }
                Err(_) => refusals.push(format!("{endpoint} did not answer in time")),
            }
        }
        Err(nobody(&refusals))
    }

    async fn ask_one(
        &self,
        endpoint: &str,
        method: &Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Answer, Unanswered> {
        let exchange = async {
            let response = self.send(endpoint, method, url, body).await?;
            let status = response.status();
            let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = limited.collect().await.map_err(|cause| {
                Unanswered::Unknown(format!("{endpoint} broke off its answer: {cause}"))
            })?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        match timeout(self.timeout + GRACE, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(Unanswered::Unknown(format!("{endpoint} did not answer in time"))),
        }
    }

    async fn send(
        &self,
        endpoint: &str,
        method: &Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Response<Incoming>, Unanswered> {
        let stream = match timeout(CONNECT_TIME_MAX, TcpStream::connect(endpoint)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => return Err(Unanswered::Definite(format!("{endpoint}: {cause}"))),
            Err(_) => {
                return Err(Unanswered::Definite(format!("{endpoint}: no connection in time")));
            }
        };
        // Without it a small request may wait for the acknowledgement of another.
        let _ = stream.set_nodelay(true);
        let definite = |cause: hyper::Error| Unanswered::Definite(format!("{endpoint}: {cause}"));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(definite)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(HOST, endpoint)
            .header(ACCEPT, "application/json");
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key.as_str());
        }
        let request = request.body(Full::new(body)).map_err(|cause| {
            Unanswered::Definite(format!("the request can not be sent: {cause}"))
        })?;
        // From here on the server may have it.
        sender
            .send_request(request)
            .await
            .map_err(|cause| Unanswered::Unknown(format!("{endpoint} gave no answer: {cause}")))
    }
}

/// Statuses of errors that are definite and that another node may not have.
fn is_retryable(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS
}

/// The complaint about a write of which nobody knows whether it happened.
fn doubt(refusals: &[String], has_key: bool) -> Complaint {
    let advice = if has_key {
        "send it again with the same key, or read before you try without"
    } else {
        "read before you try again"
    };
    let causes = refusals.join("; ");
    let message = format!("{causes}; the write may or may not have happened: {advice}");
    Complaint::new(Exit::Unknown, message)
}

fn nobody(refusals: &[String]) -> Complaint {
    Complaint::new(
        Exit::Unavailable,
        format!(
            "no node answered: {}. Is the server running? Other addresses are given with \
             --endpoint or DUORUM_ENDPOINT",
            refusals.join("; ")
        ),
    )
}

/// `host:port` of `http://host:port` or of itself.
pub(super) fn parse_endpoint(text: &str) -> Result<String, Complaint> {
    let usage = |problem: &str| {
        Complaint::new(
            Exit::Usage,
            format!(
                "--endpoint `{text}` {problem}; allowed: http://HOST:PORT or HOST:PORT, as \
                 http://127.0.0.1:2379"
            ),
        )
    };
    if text.starts_with("https://") {
        return Err(usage("asks for TLS, which this version does not have"));
    }
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let valid = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if valid && !address.contains('/') {
        Ok(address.to_owned())
    } else {
        Err(usage("is no address"))
    }
}

/// The complaint that an answer is, if it is one.
pub(super) fn accept(answer: Answer) -> Result<Answer, Complaint> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let json = answer.json().unwrap_or(Value::Null);
    let message = json["error"]["message"].as_str().unwrap_or("the server says nothing more");
    let name = json["error"]["name"].as_str().unwrap_or("error");
    let exit = match answer.status.as_u16() {
        403 | 404 | 412 => Exit::No,
        504 => Exit::Unknown,
        400 | 405 | 410 | 413 => Exit::Usage,
        409 if name == "idempotency_conflict" => Exit::Usage,
        _ => Exit::Unavailable,
    };
    Err(Complaint::new(exit, format!("{name}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::parse_endpoint;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for text in ["http://127.0.0.1:2379", "127.0.0.1:2379", "http://127.0.0.1:2379/"] {
            assert_eq!(parse_endpoint(text).expect(text), "127.0.0.1:2379");
        }
        for text in ["", "localhost", "http://a:0", "http://a:b", "https://a:1", "http://a:1/v1"] {
            let complaint = parse_endpoint(text).expect_err(text);
            assert!(complaint.message.contains("allowed"), "{text}: {complaint}");
        }
    }
}
