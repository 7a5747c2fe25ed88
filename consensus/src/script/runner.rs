//! The commands of scripts.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

use super::cluster::Cluster;
use super::options::Options;
use super::transcript::Detail;
use super::verbs::execute_fault;
use crate::{Consensus, Index, NodeId, Timer, Violation};

pub(super) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs the script at a path and compares its output with the file.
///
/// # Panics
/// When the output differs, a command fails unexpectedly, or a law is broken.
pub fn run<C: Consensus>(path: &Path) {
    let mut runner = ScriptRunner::<C>::new();
    if let Err(error) = goldenscript::run(&mut runner, path) {
        panic!("{}: {error}", path.display());
    }
}

/// Carries out the commands of one script.
#[derive(Debug)]
pub struct ScriptRunner<C: Consensus> {
    cluster: Option<Cluster<C>>,
}

impl<C: Consensus> ScriptRunner<C> {
    /// A runner without a cluster yet.
    #[must_use]
    pub fn new() -> Self {
        Self { cluster: None }
    }
}

impl<C: Consensus> Default for ScriptRunner<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Consensus> Runner for ScriptRunner<C> {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Outcome<String> {
        let result = catch_unwind(AssertUnwindSafe(|| self.execute(command)));
        let transcript = self.cluster.as_ref().map(Cluster::last_lines).unwrap_or_default();
        let lines = self.cluster.as_mut().map(Cluster::take_lines).unwrap_or_default();
        match result {
            Ok(Ok(shown)) => Ok(lines.into_iter().chain(shown).collect::<Vec<_>>().join("\n")),
            // What is expected to fail is compared with the file: only the message belongs there.
            Ok(Err(error)) if context.fail => Err(error),
            Err(panic) if context.fail => resume_unwind(panic),
            Ok(Err(error)) => Err(format!("{error}\n{transcript}").into()),
            Err(panic) => {
                let message = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_else(|| "a panic without words".to_owned());
                Err(format!("{message}\n{transcript}").into())
            }
        }
    }
}

impl<C: Consensus> ScriptRunner<C> {
    /// Carries out a command and returns the lines that it shows besides the transcript.
    fn execute(&mut self, command: &Command) -> Outcome<Vec<String>> {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            let options = options(&mut args)?;
            args.reject_next()?;
            self.cluster = Some(Cluster::new(options)?);
            return Ok(Vec::new());
        }
        let cluster = self.cluster.as_mut().ok_or("a script begins with `cluster`")?;
        let shown = execute_on(cluster, &command.name, &mut args)?;
        args.reject_next()?;
        cluster.stop_failed()?;
        Ok(shown)
    }
}

fn execute_on<C: Consensus>(
    cluster: &mut Cluster<C>,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<Vec<String>> {
    match name {
        "tick" => cluster.tick(milliseconds(args)?)?,
        "run" => cluster.run(milliseconds(args)?)?,
        "skip" => cluster.skip(milliseconds(args)?),
        "fire" => {
            let id = running(cluster, args)?;
            let timer = args.next_pos().ok_or("a timer is missing")?;
            let timer = Timer::from_name(timer).ok_or_else(|| format!("no timer `{timer}`"))?;
            cluster.fire(id, timer)?;
        }
        "campaign" => {
            let id = running(cluster, args)?;
            cluster.fire(id, Timer::Election)?;
        }
        "align-timers" => cluster.align_timers()?,
        "propose" => {
            let id = running(cluster, args)?;
            let commands: Vec<Bytes> = std::iter::from_fn(|| args.next_pos())
                .map(|command| Bytes::copy_from_slice(command.as_bytes()))
                .collect();
            if commands.is_empty() {
                return Err("a command to propose is missing".into());
            }
            cluster.propose(id, commands)?;
        }
        "read" => drop(cluster.read(running(cluster, args)?)?),
        "sync" => drop(cluster.sync(running(cluster, args)?)?),
        "transfer" => {
            let to = key_node(cluster, args, "to")?;
            cluster.transfer(running(cluster, args)?, to)?;
        }
        "stabilize" => stabilize(cluster, args)?,
        "auto-persist" => cluster.set_auto_persist(switch(args)?),
        "auto-apply" => cluster.set_auto_apply(switch(args)?),
        "auto-fetch" => cluster.set_auto_fetch(switch(args)?),
        "auto-snapshot" => cluster.set_auto_snapshot(switch(args)?),
        "compact" => {
            let id = running(cluster, args)?;
            let index = Index(parse(args.next_pos().ok_or("an index is missing")?)?);
            if index > cluster.compactable(id) {
                return Err(format!("{id} may forget up to {}", cluster.compactable(id)).into());
            }
            cluster.compact(id, index)?;
        }
        "snapshot" => snapshot(cluster, args)?,
        "persist" => each_running(cluster, args, Cluster::persist)?,
        "apply" => each_running(cluster, args, Cluster::apply)?,
        "fetch" => each_running(cluster, args, |cluster, id, _| cluster.answer_fetch(id))?,
        "resume" => {
            let id = running(cluster, args)?;
            cluster.resume(id);
            cluster.notice_all()?;
        }
        "restart" => {
            let id = node(cluster, args)?;
            if cluster.is_running(id) {
                return Err(format!("{id} runs already").into());
            }
            cluster.restart(id)?;
        }
        "become-voter" => {
            let id = running(cluster, args)?;
            cluster.become_voter(id)?;
        }
        "wipe" => {
            let id = node(cluster, args)?;
            if cluster.is_running(id) {
                return Err(format!("{id} runs").into());
            }
            cluster.wipe(id);
        }
        "detail" => drop(cluster.set_detail(detail(args)?)),
        "status" | "log" | "leader" | "agree" | "messages" => return show(cluster, name, args),
        _ if execute_fault(cluster, name, args)? => {}
        _ => execute_on_links(cluster, name, args)?,
    }
    Ok(Vec::new())
}

/// The commands about connections.
fn execute_on_links<C: Consensus>(
    cluster: &mut Cluster<C>,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<()> {
    match name {
        "deliver" => deliver(cluster, args)?,
        "late" => {
            for (from, to) in directions(cluster, args)? {
                cluster.deliver_late(from, to)?;
                cluster.deliver_late_snapshots(from, to)?;
            }
        }
        "heal" => cluster.heal()?,
        "disconnect" => {
            let (a, b) = (node(cluster, args)?, node(cluster, args)?);
            cluster.disconnect(a, b)?;
        }
        "break" => {
            let (a, b) = (node(cluster, args)?, node(cluster, args)?);
            cluster.break_connection(a, b);
        }
        "notice" => {
            let (id, peer) = (running(cluster, args)?, node(cluster, args)?);
            if !cluster.notice(id, peer)? {
                return Err(format!("{id} has no broken connection to {peer}").into());
            }
        }
        "connect" => match args.next_pos() {
            None => cluster.connect_all()?,
            Some(first) => {
                let (a, b) = (named(cluster, first)?, node(cluster, args)?);
                cluster.connect(a, b)?;
            }
        },
        _ => return Err(format!("no command `{name}`").into()),
    }
    Ok(())
}

fn stabilize<C: Consensus>(
    cluster: &mut Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<()> {
    let heartbeat = args.take_key("heartbeat").map(parse::<bool>).transpose()?.unwrap_or(false);
    cluster.settle()?;
    if heartbeat {
        for (id, _) in cluster.established() {
            cluster.fire(id, Timer::Heartbeat)?;
        }
        cluster.settle()?;
    }
    Ok(())
}

/// Lets a snapshot arrive, or break off, and tells its sender.
fn snapshot<C: Consensus>(
    cluster: &mut Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<()> {
    let (from, to) = (running(cluster, args)?, node(cluster, args)?);
    let told = args.take_key("told").map(parse::<bool>).transpose()?.unwrap_or(true);
    let happened = match args.next_pos() {
        None => cluster.complete_snapshot(from, to)?,
        Some("fail") => cluster.fail_snapshot(from, to),
        Some("end") => cluster.ended_snapshots().contains(&(from, to)),
        Some(word) => return Err(format!("`fail` or `end`, not `{word}`").into()),
    };
    if !happened {
        return Err(format!("no snapshot from {from} to {to}").into());
    }
    if told {
        cluster.end_snapshot(from, to)?;
    }
    Ok(())
}

fn deliver<C: Consensus>(cluster: &mut Cluster<C>, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
    let max = args.take_key("max").map(parse::<usize>).transpose()?.unwrap_or(usize::MAX);
    let mut left = max;
    let directions = directions(cluster, args)?;
    let only = directions.len() == 1;
    // Only what is there now: what it causes is delivered by the next command.
    let waiting: Vec<_> = directions
        .into_iter()
        .filter(|&(from, to)| only || !cluster.is_held(from, to))
        .map(|(from, to)| (from, to, cluster.under_way(from, to).count()))
        .collect();
    let mut any = false;
    for (from, to, count) in waiting {
        for _ in 0..count.min(left) {
            if cluster.deliver(from, to)? {
                any = true;
                left -= 1;
            }
        }
    }
    if any { Ok(()) } else { Err("nothing to deliver".into()) }
}

fn show<C: Consensus>(
    cluster: &mut Cluster<C>,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<Vec<String>> {
    let stamps = args.take_key("stamps").map(parse::<bool>).transpose()?.unwrap_or(false);
    let only = args.next_pos().map(|word| named(cluster, word)).transpose()?;
    let ids = only.map_or_else(|| cluster.ids(), |id| vec![id]);
    Ok(match name {
        "status" => {
            let mut lines: Vec<String> =
                ids.into_iter().map(|id| cluster.show_status(id)).collect();
            lines.extend(only.into_iter().flat_map(|id| cluster.show_peers(id)));
            lines
        }
        "log" => ids.into_iter().map(|id| cluster.show_log(id, stamps)).collect(),
        "leader" => match cluster.established().as_slice() {
            [] => vec!["nobody is established".to_owned()],
            leaders => {
                leaders.iter().map(|(id, term)| format!("{id} is established in {term}")).collect()
            }
        },
        "agree" => vec![cluster.agree()?],
        _ => cluster.show_messages(),
    })
}

fn each_running<C: Consensus>(
    cluster: &mut Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
    action: impl Fn(&mut Cluster<C>, NodeId, usize) -> Result<bool, Violation>,
) -> Outcome<()> {
    let max = args.take_key("max").map(parse::<usize>).transpose()?.unwrap_or(usize::MAX);
    let ids = match args.next_pos() {
        Some(word) => vec![named(cluster, word)?],
        None => cluster.running(),
    };
    for id in ids {
        if cluster.is_running(id) {
            action(cluster, id, max)?;
            cluster.rest(id)?;
        }
    }
    Ok(())
}

/// All directions that `from` and `to` leave open.
fn directions<C: Consensus>(
    cluster: &Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<Vec<(NodeId, NodeId)>> {
    let (from, to) = (key_node(cluster, args, "from")?, key_node(cluster, args, "to")?);
    Ok(between(cluster, from, to))
}

/// The directions from a node to another; one that is left out stands for all.
pub(super) fn between<C: Consensus>(
    cluster: &Cluster<C>,
    from: Option<NodeId>,
    to: Option<NodeId>,
) -> Vec<(NodeId, NodeId)> {
    let ids = cluster.ids();
    let all = ids.iter().flat_map(|&a| ids.iter().map(move |&b| (a, b)));
    all.filter(|&(a, b)| a != b && from.is_none_or(|id| id == a) && to.is_none_or(|id| id == b))
        .collect()
}

pub(super) fn node<C: Consensus>(
    cluster: &Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<NodeId> {
    named(cluster, args.next_pos().ok_or("a node is missing")?)
}

fn running<C: Consensus>(cluster: &Cluster<C>, args: &mut ArgumentConsumer<'_>) -> Outcome<NodeId> {
    let id = node(cluster, args)?;
    if cluster.is_running(id) { Ok(id) } else { Err(format!("{id} is down").into()) }
}

pub(super) fn key_node<C: Consensus>(
    cluster: &Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
    key: &str,
) -> Outcome<Option<NodeId>> {
    args.take_key(key).map(|word| named(cluster, word)).transpose()
}

pub(super) fn named<C: Consensus>(cluster: &Cluster<C>, word: &str) -> Outcome<NodeId> {
    let id = word.strip_prefix('n').and_then(|number| number.parse().ok()).map(NodeId);
    id.filter(|id| cluster.ids().contains(id)).ok_or_else(|| format!("no node `{word}`").into())
}

fn milliseconds(args: &mut ArgumentConsumer<'_>) -> Outcome<Duration> {
    Ok(Duration::from_millis(parse(args.next_pos().ok_or("milliseconds are missing")?)?))
}

fn switch(args: &mut ArgumentConsumer<'_>) -> Outcome<bool> {
    match args.next_pos() {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        _ => Err("`on` or `off`".into()),
    }
}

fn detail(args: &mut ArgumentConsumer<'_>) -> Outcome<Detail> {
    Ok(match args.next_pos() {
        Some("nothing") => Detail::Nothing,
        Some("events") => Detail::Events,
        Some("everything") => Detail::Everything,
        Some("steps") => Detail::Steps,
        _ => return Err("`nothing`, `events`, `everything` or `steps`".into()),
    })
}

pub(super) fn parse<T: FromStr>(word: &str) -> Outcome<T> {
    word.parse().map_err(|_| format!("`{word}` does not fit here").into())
}

fn options(args: &mut ArgumentConsumer<'_>) -> Outcome<Options> {
    let nodes = args.take_key("nodes").map(parse::<u64>).transpose()?.unwrap_or(3);
    let observers = args.take_key("observers").map(parse::<u64>).transpose()?.unwrap_or(0);
    let mut options = Options::with_observers(nodes, observers);
    let settings = &mut options.settings;
    while let Some((key, value)) = args.next_key() {
        let milliseconds = || parse(value).map(Duration::from_millis);
        match key {
            "heartbeat" => settings.heartbeat_interval = milliseconds()?,
            "election" => settings.election_timeout = milliseconds()?,
            "jitter" => settings.election_jitter = milliseconds()?,
            "finalize" => settings.finalize_wait = milliseconds()?,
            "suspect_on_connection_loss" => settings.suspect_on_connection_loss = parse(value)?,
            "pre_vote" => settings.pre_vote = parse(value)?,
            "batching" => settings.batching = parse(value)?,
            "immediate_commit_notices" => settings.immediate_commit_notices = parse(value)?,
            "message_bytes" => settings.message_bytes_max = parse(value)?,
            "inflight_messages" => settings.inflight_messages_max = parse(value)?,
            "inflight_bytes" => settings.inflight_bytes_max = parse(value)?,
            "memory_log_bytes" => settings.memory_log_bytes_max = parse(value)?,
            "uncommitted_bytes" => settings.uncommitted_bytes_max = parse(value)?,
            "unapplied_bytes" => settings.unapplied_bytes_max = parse(value)?,
            "seed" => options.seed = parse(value)?,
            "overtaking" => options.overtaking = parse(value)?,
            "formed" => options.formed = parse(value)?,
            "tail" => options.tail_max = parse(value)?,
            _ => return Err(format!("no setting `{key}`").into()),
        }
    }
    Ok(options)
}
