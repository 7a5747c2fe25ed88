//! What the loop does about snapshots, and about the log that makes them necessary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use consensus::codec::Wire;
use consensus::{Consensus, Index, Leadership, NodeId, Persist, Snapshot};
use tokio::sync::mpsc;
use tracing::info;

use super::{Driver, DriverInput};
use crate::node::applier::ApplierWork;
use crate::node::giving_way::spawn_giving_way;
use crate::node::snapshots::{CancelOnDrop, Cancellation, Outgoing, ReceivedSnapshot, send};

/// How long to wait after a snapshot broke off: it may be offered again at once.
const FAILURE_WAIT: Duration = Duration::from_millis(200);

/// The snapshots on their way.
pub(super) struct Snapshots<M> {
    /// Where their ends are reported.
    inbox: mpsc::Sender<DriverInput<M>>,
    outgoing: BTreeMap<NodeId, Sending>,
    /// The last number given to one.
    number: u64,
    /// What was received, until it is installed or turns out to be of no use.
    received: Option<Box<ReceivedSnapshot>>,
    /// Whether the protocol has decided to install it.
    accepted: bool,
}

/// A snapshot to a peer.
struct Sending {
    number: u64,
    /// What the log keeps for the peer: what follows the snapshot.
    held: Index,
    has_ended: bool,
    _cancel: CancelOnDrop,
}

impl<M> Snapshots<M> {
    pub(super) fn new(inbox: mpsc::Sender<DriverInput<M>>) -> Self {
        Self { inbox, outgoing: BTreeMap::new(), number: 0, received: None, accepted: false }
    }

    /// Takes what was received, until the protocol has decided about it.
    pub(super) fn received(&mut self, received: Box<ReceivedSnapshot>) -> Snapshot {
        assert!(self.received.is_none(), "snapshots are received one at a time");
        let snapshot = received.snapshot.clone();
        self.received = Some(received);
        self.accepted = false;
        snapshot
    }

    /// Sees whether the protocol installs what was received: it does so in the same round.
    pub(super) fn decide(&mut self, persists: &[Persist]) {
        let Some(received) = self.received.as_ref().filter(|_| !self.accepted) else { return };
        let handle = received.snapshot.handle;
        let mut installs = persists.iter().filter_map(|persist| persist.install.as_ref());
        self.accepted = installs.any(|snapshot| snapshot.handle == handle);
        if !self.accepted
            && let Some(received) = self.received.take()
        {
            // The loop does not wait until a large index is freed.
            tokio::task::spawn_blocking(move || {
                let ReceivedSnapshot { machine, decided, .. } = *received;
                drop(machine);
                // The session may be gone with its link.
                let _ = decided.send(false);
            });
        }
    }

    /// Whether the snapshot to a peer with this number is the last to it, which has ended now.
    pub(super) fn ended(&mut self, peer: NodeId, number: u64) -> bool {
        let Some(sending) = self.outgoing.get_mut(&peer) else { return false };
        let is_present = sending.number == number;
        sending.has_ended |= is_present;
        is_present
    }

    /// The link to a peer broke, and the snapshot with it.
    pub(super) fn peer_lost(&mut self, peer: NodeId) {
        self.outgoing.remove(&peer);
    }
}

impl<C: Consensus> Driver<C> {
    /// Begins to send the snapshots that the protocol offers.
    pub(super) fn send_snapshots(&mut self) {
        for offer in std::mem::take(&mut self.effects.consensus.snapshots) {
            let Some(link) = self.links.get(&offer.to) else { continue };
            let log = self.replica.core().view().log;
            let cancellation = Cancellation::default();
            let outgoing = Outgoing {
                to: offer.to,
                generation: link.generation,
                connection: link.connection,
                message: offer.message.to_bytes(),
                terms: log.terms().clone(),
                forgotten: log.first().previous(),
                cancellation: cancellation.clone(),
            };
            let snapshots = &mut self.snapshots;
            snapshots.number += 1;
            let sending = Sending {
                number: snapshots.number,
                held: Index(self.shared.flushed.load(Ordering::Acquire)),
                has_ended: false,
                _cancel: CancelOnDrop(cancellation),
            };
            // One that is still under way to this peer ends here.
            snapshots.outgoing.insert(offer.to, sending);
            let (number, inbox) = (snapshots.number, snapshots.inbox.clone());
            let shared = Arc::clone(&self.shared);
            spawn_giving_way("snapshot-send", move || {
                let Outgoing { to: peer, generation, .. } = outgoing;
                if let Err(problem) = send(&shared, &outgoing) {
                    info!("the snapshot to {peer} broke off: {problem}");
                    std::thread::sleep(FAILURE_WAIT);
                }
                // A loop that has ended needs no report.
                let _ =
                    inbox.blocking_send(DriverInput::SnapshotEnded { peer, generation, number });
            });
        }
    }

    /// Has the state machine replaced by the one that was received.
    pub(super) fn install(&mut self, snapshot: &Snapshot) {
        let received = self.snapshots.received.take();
        let received = received.expect("what is installed was received");
        assert_eq!(received.snapshot, *snapshot, "what is installed is what was received");
        self.delivered = snapshot.position.index;
        // A worker that is gone has failed, and the node with it: the failure is reported there.
        let _ = self.workers.applier.send(ApplierWork::Install(received));
    }

    /// How far the log may forget, when everything up to `index` could go: a peer that was sent a
    /// snapshot needs what follows it, or would need another one. There is an end to that, `at_least`.
    pub(super) fn compactable(&mut self, index: Index, at_least: Index) -> Option<Index> {
        let mut target = index;
        if let Leadership::Established { .. } = self.replica.leadership() {
            let peers = self.replica.status().peers;
            self.snapshots.outgoing.retain(|peer, sending| {
                let status = peers.iter().find(|status| status.id == *peer);
                let matched = status.and_then(|status| status.matched).unwrap_or_default();
                target = target.min(sending.held.max(matched));
                !sending.has_ended || matched < index
            });
        } else {
            self.snapshots.outgoing.clear();
        }
        let log = self.replica.core().view().log;
        let target = target.max(at_least).min(log.applied()).min(log.durable());
        (target >= log.first()).then_some(target)
    }
}
