//! What a person sees first: the nodes, who leads, and what to try next. It fits 80 columns and,
//! with three nodes of each protocol, one screen of a usual terminal.
//!
//! The lines of curl begin with two spaces and work as they are: copied whole, in any shell.

use consensus::Protocol;

use super::Dev;
use super::config::NodeName;
use crate::http;
use crate::node::handle::NodeHandle;

/// ZAB's phase while writes can be done.
const USUAL_PHASE: &str = "broadcast";

/// Everything, once all clusters have a leader.
pub(super) fn first(dev: &Dev) -> String {
    let config = &dev.config;
    let names: Vec<_> = config.protocols().iter().map(|protocol| protocol.name()).collect();
    let count = match config.nodes() {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let each = if names.len() > 1 { " each" } else { "" };
    let fate = if dev.directory.is_temporary() {
        "removed at the end; --data-dir DIR keeps it"
    } else {
        "kept at the end"
    };
    format!(
        "duorum {}: {}, {count}{each}, all in this process\ndata {} ({fate})\n\n{}\n{}\n{}",
        env!("CARGO_PKG_VERSION"),
        names.join(" and "),
        dev.directory.path().display(),
        nodes(dev),
        to_try(dev),
        here(dev),
    )
}

/// One row a node.
pub(super) fn nodes(dev: &Dev) -> String {
    let head = ["node", "url", "role", "leader", "position", "revision"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for name in dev.config.names() {
        let mut row = vec![name.to_string(), url(dev, name)];
        match dev.handle(name) {
            Some(handle) => row.extend(cells(handle)),
            None => row.push("stopped".to_owned()),
        }
        rows.push(row);
    }
    crate::cli::table(&rows)
}

fn cells(handle: &NodeHandle) -> [String; 4] {
    let status = handle.status();
    let role = match status.consensus.phase {
        // The phase of every usual moment says nothing new, and the row has 80 columns.
        Some(phase) if phase != USUAL_PHASE => format!("{}/{phase}", status.consensus.role),
        _ => status.consensus.role.to_owned(),
    };
    let leader = http::leader(status.consensus.leadership, handle.facts().id);
    let leader = leader.map_or_else(|| "-".to_owned(), |leader| leader.0.to_string());
    [role, leader, status.position.clone(), handle.revisions().borrow().to_string()]
}

fn url(dev: &Dev, name: NodeName) -> String {
    format!("http://{}", dev.config.http_address(name))
}

/// What to try with curl, at the first protocol's nodes.
fn to_try(dev: &Dev) -> String {
    let protocols = dev.config.protocols();
    let members: Vec<_> = dev.config.members(protocols[0]).collect();
    let at = |place: usize| dev.config.http_address(members[place.min(members.len() - 1)]);
    let compacted = dev.handle(members[0]).map_or(0, compact_revision);
    let mut text = format!(
        "Any node takes any request. In another terminal, store, read elsewhere, watch:
  curl -X PUT -d hello {one}/v1/kv/greeting
  curl {two}/v1/kv/greeting
  curl -N '{three}/v1/watch?prefix=gre&from_revision={from}'
Do the replicas agree?
  curl '{one}/v1/agree?key=greeting'
Have another node lead. Then: who was elected, why, and by which messages?
  curl -X POST {one}/v1/cluster/transfer
  curl {one}/v1/elections
  curl '{one}/v1/trace?format=mermaid'
",
        one = at(0),
        two = at(1),
        three = at(2),
        from = compacted + 1,
    );
    if let [_, second] = *protocols {
        let ports: Vec<_> = dev
            .config
            .members(second)
            .map(|name| dev.config.http_address(name).port().to_string())
            .collect();
        let shown = match second {
            Protocol::Zab => "ZAB",
            other => other.name(),
        };
        text += &format!("{shown} answers the same at {}.\n", joined(&ports));
    }
    text
}

/// The oldest revision that can not be read any more.
fn compact_revision(handle: &NodeHandle) -> u64 {
    handle.machine().read().expect("no holder of the machine panics").compacted().0
}

/// `7011, 7012 and 7013`, or of many the first and the last.
fn joined(ports: &[String]) -> String {
    match ports {
        [one] => one.clone(),
        [first, .., last] if ports.len() > 4 => format!("{first} to {last}"),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
        [] => String::new(),
    }
}

/// What to type here, and how to stop.
fn here(dev: &Dev) -> String {
    let leader = dev.config.protocols().iter().find_map(|&protocol| dev.leader(protocol));
    let mut text = String::new();
    if let (true, Some(leader)) = (dev.takes_commands, leader) {
        let effect = match dev.config.nodes() {
            1 => "then nothing answers there",
            2 => "its leader; the other alone is no majority",
            _ => "its leader, so that the others elect another one",
        };
        text += &format!(
            "Type here:  stop {leader}   ({effect})\n            start {leader}, status, help, quit\n"
        );
    }
    text += "Ctrl-C stops everything. What the nodes do follows.\n";
    text
}
