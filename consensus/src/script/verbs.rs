//! The commands for faults, with the names and parameters of `POST /v1/faults`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use goldenscript::ArgumentConsumer;

use super::cluster::Cluster;
use super::runner::{Outcome, between, key_node, named, node, parse};
use crate::{Consensus, NodeId};

/// How many milliseconds a message or a write may be late, as in running servers.
const LATE_MS: RangeInclusive<i64> = 1..=60_000;

/// How many milliseconds a clock may be off, as in running servers: a hundred years.
const SKEW_MS: RangeInclusive<i64> = -3_153_600_000_000..=3_153_600_000_000;

/// Carries out a command for a fault. Returns whether it is one.
pub(super) fn execute_fault<C: Consensus>(
    cluster: &mut Cluster<C>,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<bool> {
    match name {
        "partition" | "isolate" => partition(cluster, name, args)?,
        "hold" => links(cluster, args)?.into_iter().for_each(|(from, to)| cluster.hold(from, to)),
        "release" => {
            links(cluster, args)?.into_iter().for_each(|(from, to)| cluster.release(from, to));
        }
        "delay" => {
            let by = late(args)?;
            links(cluster, args)?.into_iter().for_each(|(from, to)| cluster.delay(from, to, by));
        }
        "drop" => {
            for (from, to) in links(cluster, args)? {
                cluster.disconnect(from, to)?;
            }
        }
        "duplicate" | "reorder" => {
            let mut any = false;
            for (from, to) in links(cluster, args)? {
                any |= match name {
                    "duplicate" => cluster.duplicate(from, to)?,
                    _ => cluster.reorder(from, to)?,
                };
            }
            if !any {
                return Err("no message could arrive there now".into());
            }
        }
        "pause" => {
            let id = struck(cluster, args)?;
            cluster.pause(id);
        }
        "crash" => crash(cluster, args)?,
        "slow-disk" => {
            let by = late(args)?;
            let id = struck(cluster, args)?;
            cluster.slow_disk(id, by);
        }
        "fail-disk" => {
            let id = struck(cluster, args)?;
            cluster.fail_disk(id);
        }
        "clock-skew" => {
            let ms = milliseconds(args, SKEW_MS)?;
            let id = struck(cluster, args)?;
            cluster.skew_clock(id, ms);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The directions that a fault of links strikes: `n1 n2`, or `from=n1 to=n2`, where one that is left
/// out stands for every other node; with `both=true` the other way round as well.
fn links<C: Consensus>(
    cluster: &Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<BTreeSet<(NodeId, NodeId)>> {
    if let Some(links) = keyed_links(cluster, args)? {
        return Ok(links);
    }
    let link = (node(cluster, args)?, node(cluster, args)?);
    in_directions([link].into(), args)
}

/// The same by `from` and `to` alone, if there is one of them.
fn keyed_links<C: Consensus>(
    cluster: &Cluster<C>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<Option<BTreeSet<(NodeId, NodeId)>>> {
    let (from, to) = (key_node(cluster, args, "from")?, key_node(cluster, args, "to")?);
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    in_directions(between(cluster, from, to).into_iter().collect(), args).map(Some)
}

/// With `both=true` the other way round as well.
fn in_directions(
    mut links: BTreeSet<(NodeId, NodeId)>,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<BTreeSet<(NodeId, NodeId)>> {
    if args.take_key("both").map(parse::<bool>).transpose()?.unwrap_or(false) {
        links.extend(links.clone().into_iter().map(|(from, to)| (to, from)));
    }
    Ok(links)
}

/// The running node that a fault strikes: `n1`, or `to=n1`.
fn struck<C: Consensus>(cluster: &Cluster<C>, args: &mut ArgumentConsumer<'_>) -> Outcome<NodeId> {
    let id = match args.take_key("to") {
        Some(word) => named(cluster, word)?,
        None => node(cluster, args)?,
    };
    if cluster.is_running(id) { Ok(id) } else { Err(format!("{id} is down").into()) }
}

fn late(args: &mut ArgumentConsumer<'_>) -> Outcome<Duration> {
    Ok(Duration::from_millis(milliseconds(args, LATE_MS)?.unsigned_abs()))
}

fn milliseconds(args: &mut ArgumentConsumer<'_>, allowed: RangeInclusive<i64>) -> Outcome<i64> {
    let ms: i64 = parse(args.take_key("ms").ok_or("`ms` is missing")?)?;
    if ms == 0 || !allowed.contains(&ms) {
        let (least, most) = allowed.into_inner();
        return Err(format!("`ms` is {ms}; allowed: {least} to {most}, not 0").into());
    }
    Ok(ms)
}

/// By `from` and `to` nothing arrives and nobody is told. Between groups the connections break.
fn partition<C: Consensus>(
    cluster: &mut Cluster<C>,
    name: &str,
    args: &mut ArgumentConsumer<'_>,
) -> Outcome<()> {
    if let Some(links) = keyed_links(cluster, args)? {
        links.into_iter().for_each(|(from, to)| cluster.cut(from, to));
        return Ok(());
    }
    let noticed = args.take_key("noticed").map(parse::<bool>).transpose()?.unwrap_or(true);
    let mut groups = vec![Vec::new()];
    while let Some(word) = args.next_pos() {
        if word == "vs" {
            groups.push(Vec::new());
        } else {
            let id = named(cluster, word)?;
            groups.last_mut().expect("there is a first group").push(id);
        }
    }
    let mentioned: BTreeSet<NodeId> = groups.iter().flatten().copied().collect();
    let rest: Vec<NodeId> =
        cluster.ids().into_iter().filter(|id| !mentioned.contains(id)).collect();
    match (name, rest.is_empty()) {
        ("partition", false) if groups.len() > 1 => {
            return Err("every node belongs to one side".into());
        }
        (_, false) => groups.push(rest),
        (_, true) => {}
    }
    if noticed {
        cluster.partition(&groups)?;
    } else {
        cluster.partition_unnoticed(&groups);
    }
    Ok(())
}

fn crash<C: Consensus>(cluster: &mut Cluster<C>, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
    let id = struck(cluster, args)?;
    let keep = args.take_key("keep").map(parse::<usize>).transpose()?;
    let lose = match args.take_key("lose") {
        None => args.next_pos().map(|word| if word == "power-cut" { "unsynced" } else { word }),
        lose => lose,
    };
    let kept = match (lose, keep) {
        (None | Some("unsynced"), None) => 0,
        (None, Some(keep)) => keep,
        (Some("nothing"), None) => usize::MAX,
        _ => return Err("lose=unsynced, lose=nothing or keep=N".into()),
    };
    cluster.crash(id, kept)?;
    Ok(())
}
