//! `duorum lease`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, accept};
use super::put::{NO_BODY, Once, print_key, time};
use super::url::Url;
use super::{Complaint, Connection, print};

const EXAMPLES: &str = "\
Examples:
  duorum lease grant 10s
  duorum lease grant 10s --session     with the nearest time that the server allows a session
  duorum put alive/node-1 yes --lease 7
  duorum lease keepalive 7             once
  duorum lease keepalive 7 --go-on     until it is interrupted
  duorum lease get 7                   how long it lives, and its keys
  duorum lease list
  duorum lease revoke 7                ends it, and deletes its keys";

/// How long to wait after a renewal that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(300);
/// The longest pause between two renewals.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Grant leases, keep them alive, end them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Lease {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Grant a lease
    Grant(Grant),
    /// List the leases
    List(List),
    /// Show how long a lease lives, and its keys
    Get(One),
    /// Give a lease all of its time again
    Keepalive(KeepAlive),
    /// End a lease, and delete its keys
    Revoke(Revoke),
}

/// Grant a lease
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Grant {
    /// How long it lives when it is not kept alive, as 10s; 2s at least
    ttl: String,

    /// Its number, any but 0; without it the server chooses one
    #[arg(long, value_name = "LEASE", allow_hyphen_values = true)]
    id: Option<i64>,

    /// As ZooKeeper's sessions: the server says which time is granted, from 4s to 40s by default
    #[arg(long)]
    session: bool,

    #[command(flatten)]
    once: Once,

    #[command(flatten)]
    connection: Connection,
}

/// List the leases
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct List {
    /// The most leases to list
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: u64,

    /// Where to go on: what the list before gave
    #[arg(long, value_name = "CURSOR", allow_hyphen_values = true)]
    cursor: Option<String>,

    #[command(flatten)]
    connection: Connection,
}

/// Show how long a lease lives, and its keys
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct One {
    /// Its number
    #[arg(allow_hyphen_values = true)]
    lease: i64,

    #[command(flatten)]
    connection: Connection,
}

/// Give a lease all of its time again
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct KeepAlive {
    /// Its number
    #[arg(allow_hyphen_values = true)]
    lease: i64,

    /// Go on with it, three times in the lease's time, until it is interrupted or the lease is gone
    #[arg(long)]
    go_on: bool,

    #[command(flatten)]
    connection: Connection,
}

/// End a lease, and delete its keys
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Revoke {
    /// Its number
    #[arg(allow_hyphen_values = true)]
    lease: i64,

    #[command(flatten)]
    once: Once,

    #[command(flatten)]
    connection: Connection,
}

impl Lease {
    /// Runs the verb.
    pub(super) async fn run(self) -> Result<(), Complaint> {
        match self.action {
            Action::Grant(verb) => verb.run().await,
            Action::List(verb) => verb.run().await,
            Action::Get(verb) => verb.run().await,
            Action::Keepalive(verb) => verb.run().await,
            Action::Revoke(verb) => verb.run().await,
        }
    }
}

impl Grant {
    async fn run(self) -> Result<(), Complaint> {
        let mut body = json!({"ttl": self.ttl});
        if let Some(id) = self.id {
            body["id"] = id.into();
        }
        if self.session {
            body["session"] = true.into();
        }
        let client = self.connection.client()?.with_idempotency_key(self.once.idempotency_key);
        let body = Bytes::from(body.to_string());
        let answer = client.ask(Method::POST, &Url::path("/v1/leases"), body).await?;
        let Some(json) = self.connection.show(answer)? else { return Ok(()) };
        print::line(&format!("lease {} lives for {}", json["lease"], time(&json["ttl_ms"])))
    }
}

impl List {
    async fn run(self) -> Result<(), Complaint> {
        let url = Url::path("/v1/leases")
            .with("limit", &self.limit.to_string())
            .with_some("cursor", self.cursor.as_ref());
        let answer = self.connection.ask(Method::GET, &url, NO_BODY).await?;
        let Some(json) = answer else { return Ok(()) };
        let mut rows = vec![["lease", "lives for"].map(str::to_owned).to_vec()];
        for lease in json["leases"].as_array().map_or(&[][..], Vec::as_slice) {
            rows.push(vec![lease["lease"].to_string(), time(&lease["ttl_ms"])]);
        }
        print::bytes(print::table(&rows).as_bytes())?;
        if let Some(next) = json["next"].as_str() {
            print::complain(&format!("there are more: --cursor {next}"));
        }
        Ok(())
    }
}

impl One {
    async fn run(self) -> Result<(), Complaint> {
        let answer = self.connection.ask(Method::GET, &Url::lease(self.lease), NO_BODY).await?;
        let Some(json) = answer else { return Ok(()) };
        let keys = json["keys"].as_array().map_or(&[][..], Vec::as_slice);
        print::line(&format!(
            "lease {} lives for another {} of {}, and has {} {}",
            json["lease"],
            time(&json["remaining_ms"]),
            time(&json["ttl_ms"]),
            keys.len(),
            if keys.len() == 1 { "key" } else { "keys" }
        ))?;
        for key in keys.iter().filter_map(Value::as_object) {
            print::line(&print_key(key))?;
        }
        Ok(())
    }
}

impl KeepAlive {
    async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?.repeatable();
        let mut ttl = self.renew(&client).await?;
        if !self.go_on {
            return Ok(());
        }
        let (mut renewed, mut pause) = (Instant::now(), ttl / 3);
        loop {
            tokio::time::sleep(pause.min(PAUSE_MAX)).await;
            let began = Instant::now();
            match self.renew(&client).await {
                Ok(time) => (ttl, renewed, pause) = (time, began, time / 3),
                // There is time left for another node, or for the next leader.
                Err(complaint) if complaint.exit.may_pass() && renewed.elapsed() < ttl => {
                    print::complain(&complaint.message);
                    pause = PAUSE_AFTER_FAILURE;
                }
                Err(complaint) => return Err(complaint),
            }
        }
    }

    /// Renews the lease; how long it lives from now on.
    async fn renew(&self, client: &Client) -> Result<Duration, Complaint> {
        let url = Url::path(&format!("/v1/leases/{}/keepalive", self.lease));
        let answer = accept(client.ask(Method::POST, &url, NO_BODY).await?)?;
        let ttl_ms = answer.json()?["ttl_ms"].clone();
        if let Some(json) = self.connection.show(answer)? {
            let line = format!("lease {} lives for {} again", json["lease"], time(&ttl_ms));
            print::line(&line)?;
        }
        Ok(Duration::from_millis(ttl_ms.as_u64().unwrap_or_default()))
    }
}

impl Revoke {
    async fn run(self) -> Result<(), Complaint> {
        let client = self.connection.client()?.with_idempotency_key(self.once.idempotency_key);
        let answer = client.ask(Method::DELETE, &Url::lease(self.lease), NO_BODY).await?;
        let Some(json) = self.connection.show(answer)? else { return Ok(()) };
        let count = json["deleted"].as_u64().unwrap_or(0);
        let keys = if count == 1 { "key" } else { "keys" };
        print::line(&format!("ended, and {count} {keys} with it, revision {}", json["revision"]))
    }
}
