//! Answers as a node of etcd does by its gateway, keeps nothing, and of three nodes the second does not live
//! long.

use std::future::{pending, ready};
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

/// How long the second node lives once somebody has asked it anything.
const LIFE: Duration = Duration::from_millis(700);
/// What it says at its end.
pub(crate) const LAST_WORDS: &str = "panic: this fake node ends on purpose";

/// Serves until killed; the second node ends by itself, with status 3.
pub(crate) fn run(flags: &[String]) -> ExitCode {
    let value_of = |name: &str| {
        let place = flags.iter().position(|flag| flag == name).expect(name);
        flags[place + 1].clone()
    };
    let number = value_of("--name").strip_prefix("node-").expect("node-1 to node-3").to_owned();
    let url = value_of("--listen-client-urls");
    let address = url.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve(number, address))
}

async fn serve(number: String, address: SocketAddr) -> ExitCode {
    let dies = number == "2";
    // The first node leads.
    let answer = format!(r#"{{"header":{{"member_id":"{number}","revision":"2"}},"leader":"1"}}"#);
    let router = Router::new().route("/{*path}", post(move || ready(answer)));
    let listener = TcpListener::bind(address).await.expect("a free port");
    let mut end: Option<Instant> = None;
    loop {
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => pending().await,
            }
        };
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.expect("a client"),
            () = over => {
                let _ = writeln!(std::io::stderr(), "{LAST_WORDS}");
                return ExitCode::from(3);
            }
        };
        if dies {
            end.get_or_insert(Instant::now() + LIFE);
        }
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
