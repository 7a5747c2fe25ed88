//! `duorum bench rejoin`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::parse_bytes;
use super::fresh::{ClusterArgs, Measurement, WriterArgs};
use super::{errors_or_none, latency_text, line, unless_broken};
use crate::Error;
use crate::rejoin::{self, Behind, LAG_ENTRIES_MAX, MemoryUse, Rejoin, RejoinOptions};
use crate::report::format::{bytes, count_words, figure};
use crate::soak::{RETAIN_LOG_BYTES, RETAIN_LOG_ENTRIES};

const EXAMPLES: &str = "\
Examples:
  duorum bench rejoin --protocol raft --behind 100000           by the log
  duorum bench rejoin --protocol zab --behind-bytes 500MB --snapshot --value-bytes 4096 \\
      --rate 2000                        by a snapshot, which is broken off once by SIGKILL

A follower is killed, misses so many writes, and is started again while the others go on writing. It has
caught up when it has applied what the leader had at its start, and lags by 1,000 entries at most.
With --snapshot the leader's log must have forgotten its beginning first, and the follower is killed
once more when about half of the snapshot was sent.
It ends with 1 if the leader changed, an acknowledged write is lost, the replicas differ, or the
follower came back in another way than was asked for.";

/// What an entry takes of the log besides its value, generously.
const ENTRY_OVERHEAD_BYTES: u64 = 256;
/// What the log keeps when it is to forget: little, but enough for a follower that is only slow.
const SNAPSHOT_RETAIN_ENTRIES: u64 = 10_000;
const SNAPSHOT_RETAIN_BYTES: u64 = 64 << 20;

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RejoinArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Entries that the follower is to lack
    #[arg(
        long,
        value_name = "ENTRIES",
        required_unless_present = "behind_bytes",
        conflicts_with = "behind_bytes"
    )]
    behind: Option<u64>,

    /// Bytes of values that the follower is to lack, as 500MB or 64MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    behind_bytes: Option<u64>,

    /// Let the log forget, so that the follower needs a snapshot
    #[arg(long)]
    snapshot: bool,

    #[command(flatten)]
    writers: WriterArgs,

    /// How long latency is noted before
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    before: Duration,

    /// When to give up, both while the follower is away and while it comes back
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    limit: Duration,

    /// Entries that the servers keep of the log [default: with --snapshot 10000, otherwise more
    /// than the follower is to lack]
    #[arg(long, value_name = "NUMBER")]
    retain_log_entries: Option<u64>,

    /// Bytes that the servers keep of the log at most [default: with --snapshot 64 MiB, otherwise more
    /// than the follower is to lack]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    retain_log_bytes: Option<u64>,

    /// Revisions that the servers keep readable, which a snapshot has to carry as well [default: the
    /// servers']
    #[arg(long, value_name = "NUMBER")]
    retain_revisions: Option<u64>,
}

impl RejoinArgs {
    fn options(&self) -> Result<RejoinOptions, Error> {
        let behind = match (self.behind, self.behind_bytes) {
            (Some(entries), _) => Behind::Entries(entries),
            (None, Some(bytes)) => Behind::Bytes(bytes),
            (None, None) => return Err(Error::Usage("--behind or --behind-bytes".to_owned())),
        };
        Ok(RejoinOptions {
            behind,
            snapshot: self.snapshot,
            connections: self.writers.load,
            per_second: self.writers.rate,
            value_bytes: self.writers.values.value_bytes,
            keys: self.writers.values.keys,
            before: self.before,
            limit: self.limit,
            seed: self.cluster.seed,
        })
    }

    /// What the servers are told to keep of the log.
    fn serve_flags(&self, behind: Behind) -> Vec<String> {
        let entry_bytes = self.writers.values.value_bytes as u64 + ENTRY_OVERHEAD_BYTES;
        let entries = match behind {
            Behind::Entries(entries) => entries,
            Behind::Bytes(bytes) => bytes / self.writers.values.value_bytes.max(1) as u64,
        };
        // Twice as much, because the others go on writing while the follower comes back.
        let (entries, bytes) = match self.snapshot {
            true => (SNAPSHOT_RETAIN_ENTRIES, SNAPSHOT_RETAIN_BYTES),
            false => (
                RETAIN_LOG_ENTRIES.max(2 * entries),
                RETAIN_LOG_BYTES.max(2 * entries * entry_bytes),
            ),
        };
        let entries = self.retain_log_entries.unwrap_or(entries).to_string();
        let bytes = self.retain_log_bytes.unwrap_or(bytes).to_string();
        let mut flags = vec!["--retain-log-entries".to_owned(), entries];
        flags.extend(["--retain-log-bytes".to_owned(), bytes]);
        if let Some(revisions) = self.retain_revisions {
            flags.extend(["--retain-revisions".to_owned(), revisions.to_string()]);
        }
        flags
    }
}

pub(super) async fn run_rejoin(args: RejoinArgs, logs: PathBuf) -> Result<ExitCode, Error> {
    args.cluster.check()?;
    let options = args.options()?;
    options.check()?;
    let flags = args.serve_flags(options.behind);
    let mut measurement = Measurement::start(args.cluster, logs, &flags).await?;
    let Measurement { fresh, bar, .. } = &mut measurement;
    let rejoin = rejoin::measure(&mut fresh.cluster, &options, bar).await?;
    let results = serde_json::json!({ "rejoin": rejoin });
    measurement.tell(&options, &results, |protocol| {
        format!("{protocol}: {}", rejoin_text(&options, &rejoin))
    });
    unless_broken(&rejoin.broken(&options))
}

fn rejoin_text(options: &RejoinOptions, rejoin: &Rejoin) -> String {
    let how = if options.snapshot { "by snapshot" } else { "by log" };
    let mut text = format!(
        "a follower comes back {how}, while {} write\n\n",
        count_words(options.connections, "client")
    );
    let lacked = rejoin.behind_entries as f64;
    line(
        &mut text,
        "it lacked",
        format!("{} entries, {} of values", figure(lacked), bytes(rejoin.behind_bytes)),
    );
    line(&mut text, "it was away", format!("{} s", figure(rejoin.away_seconds)));
    line(
        &mut text,
        "caught up after",
        format!("{} ms, to within {LAG_ENTRIES_MAX} entries", figure(rejoin.caught_up_ms)),
    );
    if let Some(sent) = rejoin.killed_after_bytes {
        let sent = bytes(sent as u64);
        let since = figure(rejoin.caught_up_after_last_start_ms);
        line(&mut text, "killed half way", format!("after {sent}; caught up {since} ms later"));
    } else if options.snapshot {
        line(&mut text, "killed half way", "no: it was whole too soon");
    }
    if options.snapshot {
        line(
            &mut text,
            "snapshots",
            format!(
                "{} received, {} sent in all",
                rejoin.snapshots_received,
                bytes(rejoin.snapshot_sent_bytes as u64)
            ),
        );
    }
    line(&mut text, "changes of the leader", rejoin.leader_changes);
    let first = bytes(rejoin.sender.first_bytes);
    line(
        &mut text,
        "memory of the sender",
        format!("{first} before, {}", memory_text(rejoin.sender)),
    );
    line(&mut text, "memory of the receiver", memory_text(rejoin.receiver));
    for (name, window) in [("writes before", &rejoin.before), ("writes meanwhile", &rejoin.during)]
    {
        let per_second = figure(window.per_second);
        line(&mut text, name, format!("{per_second}/s, {}", latency_text(&window.latency)));
    }
    if let Some(slowdown) = rejoin.slowdown() {
        line(&mut text, "p99 meanwhile / before", figure(slowdown));
    }
    let mut errors = rejoin.before.errors();
    for (name, count) in rejoin.away.errors().into_iter().chain(rejoin.during.errors()) {
        *errors.entry(name).or_default() += count;
    }
    line(&mut text, "errors", errors_or_none(&errors));
    let agree =
        rejoin.agreement.agree.map_or("not known", |agree| if agree { "yes" } else { "no" });
    line(&mut text, "all replicas the same", agree);
    line(
        &mut text,
        "acknowledged writes",
        format!("{} checked", figure(rejoin.verdict.acknowledged as f64)),
    );
    text
}

fn memory_text(memory: MemoryUse) -> String {
    let [sampled, peak] = [memory.sampled_max_bytes, memory.peak_bytes].map(bytes);
    format!("at most {sampled} seen, peak {peak}")
}
