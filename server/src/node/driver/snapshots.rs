//! What the loop does about snapshots, and about the log that makes them necessary.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use consensus::codec::Wire;
use consensus::{Consensus, Index, NodeId, Persist, Snapshot};
use kvcore::retention::Holds;
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
    /// The last one to each peer, which ends when the log is not held for it any more.
    outgoing: Holds<CancelOnDrop>,
    /// The last number given to one.
    number: u64,
    /// What was received, until it is installed or turns out to be of no use.
    received: Option<Box<ReceivedSnapshot>>,
    /// Whether the protocol has decided to install it.
    accepted: bool,
}

impl<M> Snapshots<M> {
    pub(super) fn new(inbox: mpsc::Sender<DriverInput<M>>) -> Self {
        Self { inbox, outgoing: Holds::default(), number: 0, received: None, accepted: false }
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
        self.outgoing.ended(peer, number)
    }

    /// The link to a peer broke, and the snapshot with it.
    pub(super) fn peer_lost(&mut self, peer: NodeId) {
        self.outgoing.lost(peer);
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
            let stored = Index(self.shared.flushed.load(Ordering::Acquire));
            // One that is still under way to this peer ends here.
            let cancel = CancelOnDrop(cancellation);
            snapshots.outgoing.offered(offer.to, snapshots.number, stored, cancel);
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
        let (leadership, peers) = (self.replica.leadership(), self.replica.status().peers);
        let log = self.replica.core().view().log;
        self.snapshots.outgoing.target(log, (leadership, &peers), (index, at_least))
    }
}
