//! The command line: `duorum VERB …`.
//!
//! What a verb has to tell goes to stdout; complaints and logs go to stderr. The exit code says
//! what became of it (`duorum --help` lists them), so that scripts need not read messages.

mod client;
mod del;
mod dev;
mod faults;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod get;
mod lease;
mod members;
mod print;
mod put;
mod range;
mod scenario;
mod serve;
mod signals;
mod sim;
mod status;
mod txn;
mod url;
mod watch;

use std::fmt;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use hyper::Method;
use serde_json::Value;

use self::client::{Answer, Client, accept};
pub(crate) use self::print::table;
use self::url::Url;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done.
    Done,
    /// The answer is no: the key does not exist, or a condition does not hold. Also: `serve`,
    /// `dev` or a measurement failed.
    No,
    /// What was asked for is impossible: wrong flags or values.
    Usage,
    /// Nobody answered, or nobody could; nothing happened.
    Unavailable,
    /// A write may or may not have happened.
    Unknown,
}

impl Exit {
    /// Whether the same may go better a moment later.
    fn may_pass(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unknown)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Unavailable => 3,
            Exit::Unknown => 4,
        })
    }
}

/// Why a verb did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Complaint {
    exit: Exit,
    message: String,
}

impl Complaint {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the answer is no: the key does not exist, a condition does not hold;
     or `serve`, `dev` or a measurement failed
  2  wrong usage: impossible flags or values
  3  nobody answered, or nobody could; nothing happened
  4  a write may or may not have happened: read before you try again";

/// One key-value server, two consensus protocols: Raft and ZAB
#[derive(Parser)]
#[command(name = "duorum", version, after_help = EXIT_CODES, propagate_version = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a server
    Serve(Box<serve::Serve>),
    /// Run all nodes of one or both protocols in this one process, to try them
    Dev(dev::Dev),
    /// Show the value of a key
    Get(get::Get),
    /// Store a value
    Put(put::Put),
    /// Delete a key, or many
    Del(del::Del),
    /// List keys and values
    Range(range::Range),
    /// Compare keys, and do one thing or another, all at once
    Txn(txn::Txn),
    /// Grant leases, keep them alive, end them
    Lease(lease::Lease),
    /// Show changes as they happen
    Watch(watch::Watch),
    /// Show the state of nodes
    Status(status::Status),
    /// Have another node lead
    Members(members::Members),
    /// Let things go wrong on purpose, and heal them
    Faults(faults::Faults),
    /// Compare Raft and ZAB on the same workload, on clusters of this program on this machine
    Compare(bench::cli::CompareArgs),
    /// Simulate whole clusters with everything breaking, and check every law
    Sim(sim::Sim),
    /// Make one measurement
    Bench(bench::cli::BenchArgs),
}

/// Where and how a client verb asks.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The addresses of nodes, any of which will do; repeated or separated by commas
    #[arg(
        long = "endpoint",
        alias = "endpoints",
        env = "DUORUM_ENDPOINT",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        global = true
    )]
    endpoints: Vec<String>,

    /// How long to wait for the answer, as 2s or 300ms
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = humantime::parse_duration,
        global = true
    )]
    timeout: std::time::Duration,

    /// Print the server's JSON as it is
    #[arg(long, global = true)]
    json: bool,
}

impl Connection {
    fn client(&self) -> Result<Client, Complaint> {
        Client::new(&self.endpoints, self.timeout)
    }

    /// Asks, and says what a success says as [`Self::show`] does.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
    ) -> Result<Option<Value>, Complaint> {
        self.show(self.client()?.ask(method, url, body).await?)
    }

    /// What a success says, to be told in words; nothing if it was printed as it is, as `--json` wants.
    fn show(&self, answer: Answer) -> Result<Option<Value>, Complaint> {
        let answer = accept(answer)?;
        if self.json {
            return print::bytes(&answer.body).map(|()| None);
        }
        answer.json().map(Some)
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(complaint) => {
            // Help and version come this way too; they are no failure.
            let _ = complaint.print();
            return if complaint.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let result = match line.verb {
        Verb::Serve(verb) => verb.run(),
        Verb::Dev(verb) => verb.run(),
        Verb::Get(verb) => run(verb.run()),
        Verb::Put(verb) => run(verb.run()),
        Verb::Del(verb) => run(verb.run()),
        Verb::Range(verb) => run(verb.run()),
        Verb::Txn(verb) => run(verb.run()),
        Verb::Lease(verb) => run(verb.run()),
        Verb::Watch(verb) => run(verb.run()),
        Verb::Status(verb) => run(verb.run()),
        Verb::Members(verb) => run(verb.run()),
        Verb::Faults(verb) => run(verb.run()),
        Verb::Sim(verb) => verb.run(),
        Verb::Compare(arguments) => return measured(bench::cli::run_compare(arguments)),
        Verb::Bench(arguments) => return measured(bench::cli::run_bench(arguments)),
    };
    match result {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => {
            print::complain(&complaint.message);
            complaint.exit.into()
        }
    }
}

/// How a measurement ended.
fn measured(result: Result<ExitCode, bench::Error>) -> ExitCode {
    result.unwrap_or_else(|error| {
        print::complain(&error.to_string());
        match error {
            bench::Error::Usage(_) => Exit::Usage,
            _ => Exit::No,
        }
        .into()
    })
}

/// Runs a client verb; one thread is enough for it.
fn run(verb: impl Future<Output = Result<(), Complaint>>) -> Result<(), Complaint> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Complaint::new(Exit::Unavailable, format!("no runtime: {cause}")))?;
    runtime.block_on(verb)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Line::command().debug_assert();
    }
}
