//! The records of all nodes in one order that contradicts nothing: each node's own order is kept, and
//! no message arrives before it left. Within that, the clock of a common boot decides.

use std::collections::BTreeMap;

use consensus::{NodeId, Passage};

use super::record::{NodeTrace, Record, RecordKind};

/// A record in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The node that it is of.
    pub(crate) node: NodeId,
    pub(crate) record: Record,
    /// The vector clock: of each node, how many of the arranged records are this one or happened
    /// before it. Nodes of which none did are left out.
    pub(crate) clock: BTreeMap<NodeId, u64>,
    /// Of a message: whether its other end is among the arranged records, too.
    pub(crate) matched: bool,
}

/// A message, whichever end one looks from.
type Arrow = (NodeId, NodeId, Passage);

fn arrow(node: NodeId, record: &Record) -> Option<Arrow> {
    let (peer, passage) = (record.peer?, record.passage?);
    match record.kind {
        RecordKind::Sent => Some((node, peer, passage)),
        RecordKind::Received => Some((peer, node, passage)),
        _ => None,
    }
}

/// Arranges the newest `limit` records of these nodes.
pub(crate) fn arrange(traces: &BTreeMap<NodeId, NodeTrace>, limit: usize) -> Vec<Placed> {
    let ordered = order(traces);
    let skipped = ordered.len().saturating_sub(limit);
    clocked(&ordered[skipped..])
}

/// All records in order: whoever is not waiting for a message to leave is next, the earliest first.
fn order(traces: &BTreeMap<NodeId, NodeTrace>) -> Vec<(NodeId, &Record)> {
    let lag = lags(traces);
    let all =
        || traces.iter().flat_map(|(&node, trace)| trace.records.iter().map(move |r| (node, r)));
    let is_sent = |record: &Record| record.kind == RecordKind::Sent;
    // The messages that have not left yet.
    let mut unsent: std::collections::BTreeSet<Arrow> = all()
        .filter(|(_, record)| is_sent(record))
        .filter_map(|(node, record)| arrow(node, record))
        .collect();
    let mut heads: BTreeMap<NodeId, &[Record]> =
        traces.iter().map(|(&node, trace)| (node, &trace.records[..])).collect();
    let mut ordered = Vec::new();
    loop {
        let next = heads
            .iter()
            .filter_map(|(&node, records)| Some((node, records.first()?)))
            .min_by_key(|&(node, record)| {
                let waits = record.kind == RecordKind::Received
                    && arrow(node, record).is_some_and(|arrow| unsent.contains(&arrow));
                // Records that contradict themselves must not stop the arrangement.
                (waits, record.time.0.saturating_add(lag[&node]), node)
            });
        let Some((node, record)) = next else { return ordered };
        if is_sent(record)
            && let Some(arrow) = arrow(node, record)
        {
            unsent.remove(&arrow);
        }
        ordered.push((node, record));
        heads.insert(node, &heads[&node][1..]);
    }
}

/// What to add to each node's times so that those of different boots fall together: as if the newest
/// records of all boots were equally new. It is only for looks; causes decide over it.
fn lags(traces: &BTreeMap<NodeId, NodeTrace>) -> BTreeMap<NodeId, u64> {
    let newest_of = |trace: &NodeTrace| trace.records.last().map_or(0, |record| record.time.0);
    let axis = |node: NodeId, trace: &NodeTrace| match &trace.boot {
        Some(boot) => (boot.clone(), None),
        None => (String::new(), Some(node)),
    };
    let mut newest: BTreeMap<_, u64> = BTreeMap::new();
    for (&node, trace) in traces {
        let newest = newest.entry(axis(node, trace)).or_default();
        *newest = (*newest).max(newest_of(trace));
    }
    let most = newest.values().copied().max().unwrap_or_default();
    traces.iter().map(|(&node, trace)| (node, most - newest[&axis(node, trace)])).collect()
}

/// Gives each record its vector clock, counting from 1 in what is arranged.
fn clocked(ordered: &[(NodeId, &Record)]) -> Vec<Placed> {
    let mut clocks: BTreeMap<NodeId, BTreeMap<NodeId, u64>> = BTreeMap::new();
    let mut left: BTreeMap<Arrow, (usize, BTreeMap<NodeId, u64>)> = BTreeMap::new();
    let mut placed: Vec<Placed> = Vec::with_capacity(ordered.len());
    for &(node, record) in ordered {
        let clock = clocks.entry(node).or_default();
        *clock.entry(node).or_default() += 1;
        let mut matched = false;
        if let Some(arrow) = arrow(node, record) {
            if record.kind == RecordKind::Sent {
                left.insert(arrow, (placed.len(), clock.clone()));
            } else if let Some((sent, theirs)) = left.remove(&arrow) {
                (matched, placed[sent].matched) = (true, true);
                for (other, count) in theirs {
                    let known = clock.entry(other).or_default();
                    *known = (*known).max(count);
                }
            }
        }
        placed.push(Placed { node, record: record.clone(), clock: clock.clone(), matched });
    }
    placed
}

#[cfg(test)]
mod tests {
    use consensus::{Event, Index};

    use super::super::HostTime;
    use super::*;

    fn passage(frame: u64) -> Passage {
        Passage { connection: 5, frame }
    }

    fn sent(to: u64, frame: u64) -> Event {
        let (to, passage) = (NodeId(to), passage(frame));
        Event::Sent { to, passage, name: "RequestVote", text: None }
    }

    fn received(from: u64, frame: u64) -> Event {
        let (from, passage) = (NodeId(from), passage(frame));
        Event::Received { from, passage, name: "RequestVote", text: None }
    }

    fn trace(boot: Option<&str>, events: &[(u64, Event)]) -> NodeTrace {
        let records =
            events.iter().map(|(time, event)| Record::of(HostTime(*time), event)).collect();
        NodeTrace { boot: boot.map(str::to_owned), earlier: 0, records }
    }

    fn told(placed: &[Placed]) -> Vec<(u64, &'static str)> {
        placed.iter().map(|placed| (placed.node.0, placed.record.kind.name())).collect()
    }

    #[test]
    fn no_message_arrives_before_it_left_whatever_the_clocks_say() {
        let started = Event::Started { last: Index(0) };
        // The second node's clock is of another boot, and far behind.
        let traces = BTreeMap::from([
            (NodeId(1), trace(Some("a"), &[(1_000, started.clone()), (2_000, sent(2, 1))])),
            (NodeId(2), trace(Some("b"), &[(7, received(1, 1)), (9, sent(1, 1))])),
        ]);
        let placed = arrange(&traces, 10);
        let expected = [(1, "started"), (1, "sent"), (2, "received"), (2, "sent")];
        assert_eq!(told(&placed), expected);
        assert!(placed[1].matched && placed[2].matched && !placed[3].matched);
        assert_eq!(placed[2].clock, BTreeMap::from([(NodeId(1), 2), (NodeId(2), 1)]));
        assert_eq!(placed[0].clock, BTreeMap::from([(NodeId(1), 1)]));
        // Of the newest alone, the clocks begin anew, and what arrived from before is unmatched.
        let placed = arrange(&traces, 2);
        assert_eq!(told(&placed), [(2, "received"), (2, "sent")]);
        assert_eq!((placed[0].matched, placed[1].clock[&NodeId(2)]), (false, 2));
    }

    #[test]
    fn on_one_axis_the_earlier_is_first() {
        let event = |peer| Event::PeerLost { peer: NodeId(peer) };
        let traces = BTreeMap::from([
            (NodeId(1), trace(Some("a"), &[(30, event(2)), (31, event(3))])),
            (NodeId(2), trace(Some("a"), &[(10, event(1)), (40, event(3))])),
        ]);
        let times: Vec<_> = arrange(&traces, 9).iter().map(|placed| placed.record.time.0).collect();
        assert_eq!(times, [10, 30, 31, 40]);
        assert_eq!(arrange(&BTreeMap::new(), 9), []);
    }

    #[test]
    fn records_that_contradict_themselves_are_arranged_all_the_same() {
        // Each receives, before it sends, what the other sends only after having received.
        let traces = BTreeMap::from([
            (NodeId(1), trace(Some("a"), &[(1, received(2, 1)), (2, sent(2, 1))])),
            (NodeId(2), trace(Some("a"), &[(1, received(1, 1)), (2, sent(1, 1))])),
        ]);
        assert_eq!(arrange(&traces, 9).len(), 4);
    }
}
