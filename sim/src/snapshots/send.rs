//! The sending side of a snapshot.

use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Consensus, Generation, Index, Mutant, NodeId, PersistSequence, Position, SnapshotOffer,
    Violation, Wire, mutant,
};
use kvcore::replica::ReplicaInput;
use kvcore::snapshot::{Portion, RememberedRows, Rows, StoreView};
use kvcore::store::{RecordKey, RecordRows, Revision, RowId, Store, StoreError};

use super::{OfferId, Offered, Part};
use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::faults::{Occasion, Scene};
use crate::network::ConnectionId;
use crate::options::Span;

/// How long after a snapshot broke off its sender says so: it may be offered again at once.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a sender looks whether it can begin.
const WAIT: Duration = Duration::from_millis(5);
/// The most addresses of rows in one part.
const IDS_MAX: usize = 64;
/// The most leases and counters in one part.
const RECORDS_MAX: usize = 16;
/// The most idempotency keys in one part.
const REMEMBERED_MAX: usize = 16;

/// A snapshot that the protocol offered to a peer.
pub(super) struct Offer {
    number: u64,
    /// The connection that it was offered on, as this process numbers it, and in the cluster.
    generation: Generation,
    main: ConnectionId,
    message: Bytes,
    sending: Option<Sending>,
}

/// A snapshot under way.
struct Sending {
    connection: ConnectionId,
    view: Box<dyn StoreView>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The receiver is to say what it has.
    Offered,
    /// The rows up to there are being named.
    Ids { from: RowId, up_to: (Revision, Index) },
    /// The rows behind there are being sent.
    Rows { after: (Revision, Index) },
    /// The idempotency keys behind there are being sent.
    Remembered { after: Index },
    /// The leases and counters behind this one are being sent.
    Records { after: Option<RecordKey> },
    /// Everything was sent.
    Sent,
}

impl Sending {
    /// The next parts.
    fn next(&mut self, bytes_max: usize) -> Result<Vec<Part>, StoreError> {
        match self.stage {
            Stage::Offered | Stage::Sent => Ok(Vec::new()),
            Stage::Ids { from, up_to } => {
                let mut ids = self.view.ids(from, IDS_MAX)?;
                ids.retain(|id| id.revision <= up_to.0);
                self.stage = match ids.last() {
                    Some(last) => {
                        let from = RowId { revision: last.revision, place: last.place + 1 };
                        Stage::Ids { from, up_to }
                    }
                    None => Stage::Rows { after: up_to },
                };
                Ok(vec![Part::Ids(ids)])
            }
            Stage::Rows { after: (after, remembered) } => {
                let Portion { rows, is_last } = self.view.portion(after, bytes_max)?;
                let after = rows.last().map_or(after, |(id, _)| id.revision);
                self.stage = if is_last {
                    Stage::Remembered { after: remembered }
                } else {
                    Stage::Rows { after: (after, remembered) }
                };
                Ok(vec![Part::Rows(Rows(rows).to_bytes())])
            }
            Stage::Remembered { after } => {
                let rows = self.view.remembered(after, REMEMBERED_MAX)?;
                let Some(last) = rows.last() else {
                    self.stage = Stage::Records { after: None };
                    return Ok(Vec::new());
                };
                self.stage = Stage::Remembered { after: last.index };
                Ok(vec![Part::Remembered(RememberedRows(rows).to_bytes())])
            }
            Stage::Records { ref after } => {
                let records = self.view.records(after.as_ref(), RECORDS_MAX)?;
                let Some(last) = records.last() else {
                    self.stage = Stage::Sent;
                    return Ok(vec![Part::End]);
                };
                self.stage = Stage::Records { after: Some(last.key.clone()) };
                Ok(vec![Part::Records(RecordRows(records).to_bytes())])
            }
        }
    }
}

impl<C: Consensus> Cluster<C> {
    /// The protocol offers a snapshot to a peer. An earlier one to the same peer is over, and nobody
    /// is told.
    pub(crate) fn offer_snapshot(
        &mut self,
        life: Life,
        offer: &SnapshotOffer<C::Message>,
    ) -> Result<(), Violation> {
        let (now, to) = (self.agenda.now(), offer.to);
        let process = self.process(life).expect("the loop runs in a process");
        let (Some(generation), Some(main)) = (process.generation(to), process.connection(to))
        else {
            return Ok(());
        };
        let pledge = process.replica.core().pledge(to, &offer.message);
        process.log.law.leaves(life.node, PersistSequence(0), &pledge)?;
        self.abandon(life, to);
        self.trace.line(now, || format!("{} ⇒ {to} offers {}", life.node, offer.message));
        self.offers += 1;
        let (number, message) = (self.offers, offer.message.to_bytes());
        let offer = Offer { number, generation, main, message, sending: None };
        let process = self.process(life).expect("it still runs");
        process.snapshots.offers.insert(to, offer);
        let stored = process.machine.flushed_state().applied.index;
        process.snapshots.holds.offered(to, number, stored, ());
        self.agenda.after(Duration::ZERO, Happening::Stream(OfferId { from: life, to, number }));
        Ok(())
    }

    /// A connection to a peer broke, and whatever was offered on it is worth nothing. Not every sender
    /// notices.
    pub(crate) fn forsake_snapshot(&mut self, life: Life, peer: NodeId, generation: Generation) {
        let Some(process) = self.process(life) else { return };
        let offered = process.snapshots.offers.get(&peer);
        if offered.is_some_and(|offer| offer.generation == generation) && self.random.one_in(2) {
            self.abandon(life, peer);
        }
    }

    /// Forgets what was offered to a peer.
    pub(super) fn abandon(&mut self, life: Life, to: NodeId) {
        let process = self.process(life).expect("the caller has seen it");
        let offer = process.snapshots.offers.remove(&to);
        if let Some(Sending { connection, .. }) = offer.and_then(|offer| offer.sending) {
            self.break_stream(connection, Span::millis(0, 5));
        }
    }

    fn offer_mut(&mut self, id: OfferId) -> Option<&mut Offer> {
        let offer = self.process(id.from)?.snapshots.offers.get_mut(&id.to)?;
        (offer.number == id.number).then_some(offer)
    }

    /// Looks at the store and dials the peer, if the store holds everything that the log has forgotten:
    /// it may lag behind a snapshot that is being installed here.
    pub(crate) fn begin_stream(&mut self, id: OfferId) -> Result<(), Violation> {
        let claims_more = mutant::on(Mutant::SnapshotClaimsMore);
        if self.offer_mut(id).is_none() {
            return Ok(());
        }
        let process = self.process(id.from).expect("it has an offer");
        let log = process.replica.core().view().log;
        let view = process.machine.store().view().map_err(|error| {
            Violation::new("the store works", format!("{}: {error}", id.from.node))
        })?;
        let mut state = view.state();
        if state.applied.index < log.first().previous() {
            self.agenda.after(WAIT, Happening::Stream(id));
            return Ok(());
        }
        if !log.contains(state.applied) {
            let details = format!("{} has applied {}", id.from.node, state.applied);
            return Err(Violation::new("a store holds only what was in its log", details));
        }
        if claims_more && let Some(term) = log.term(state.applied.index.next()) {
            state.applied = Position { term, index: state.applied.index.next() };
        }
        let terms = log.terms().range(..=state.applied.index).map(|(&at, &term)| (at, term));
        let terms = terms.collect();
        let peer = &self.nodes[&id.to];
        let peer = peer.process.as_ref().filter(|_| peer.paused.is_none());
        let blocked = self.network.is_blocked(id.from.node, id.to);
        let Some(receiver) = peer.map(|process| process.life).filter(|_| !blocked) else {
            self.snapshot_failed(id);
            return Ok(());
        };
        let connection = self.network.connect_stream(id.from, receiver);
        let offer = self.offer_mut(id).expect("looked at just now");
        let position = state.applied;
        offer.sending = Some(Sending { connection, view, stage: Stage::Offered });
        let (main, message) = (offer.main, offer.message.clone());
        self.counters.snapshots += 1;
        self.trace.line(self.agenda.now(), || {
            format!("{} ⇒ {} a snapshot up to {position}", id.from.node, id.to)
        });
        let offered = Box::new(Offered { main, message, state, terms });
        self.send(connection, id.from.node, Part::Offer(offered));
        let scene =
            Scene { there: Some(id.from), receiver: Some(receiver), connection: Some(connection) };
        self.disturb(Occasion::Snapshot, scene);
        Ok(())
    }

    /// The offer of a peer that goes by a connection.
    fn offer_on(&mut self, life: Life, connection: ConnectionId, to: NodeId) -> Option<OfferId> {
        let offer = self.process(life)?.snapshots.offers.get(&to)?;
        let sending = offer.sending.as_ref()?;
        let id = OfferId { from: life, to, number: offer.number };
        (sending.connection == connection).then_some(id)
    }

    /// The receiver has said what it has.
    pub(super) fn go_on_after(
        &mut self,
        life: Life,
        connection: ConnectionId,
        peer: NodeId,
        up_to: (Revision, Index),
    ) {
        let Some(id) = self.offer_on(life, connection, peer) else { return };
        let offer = self.offer_mut(id).expect("looked up just now");
        if let Some(sending) = &mut offer.sending {
            sending.stage = Stage::Ids { from: RowId::default(), up_to };
        }
        self.plan_part(id, connection);
    }

    fn plan_part(&mut self, id: OfferId, connection: ConnectionId) {
        let delay = self.part_delay();
        self.agenda.after(delay, Happening::SendPart(id, connection));
    }

    /// The next parts are read and sent.
    pub(crate) fn send_part(
        &mut self,
        id: OfferId,
        connection: ConnectionId,
    ) -> Result<(), Violation> {
        if self.offer_on(id.from, connection, id.to) != Some(id) {
            return Ok(());
        }
        let bytes_max = self.surroundings.part_bytes_max;
        let offer = self.offer_mut(id).expect("looked up just now");
        let Some(sending) = &mut offer.sending else { return Ok(()) };
        let parts = sending.next(bytes_max).map_err(|error| {
            Violation::new("the store works", format!("{}: {error}", id.from.node))
        })?;
        let goes_on = !matches!(sending.stage, Stage::Sent);
        for mut part in parts {
            if mutant::on(Mutant::SnapshotLacksKeys) && matches!(part, Part::Remembered(_)) {
                continue;
            }
            if mutant::on(Mutant::SnapshotLacksLeases) && matches!(part, Part::Records(_)) {
                continue;
            }
            if mutant::on(Mutant::SnapshotLacksRow) {
                part = self.spoil(part);
            }
            self.send(connection, id.from.node, part);
        }
        if goes_on {
            self.plan_part(id, connection);
        }
        Ok(())
    }

    fn spoil(&mut self, part: Part) -> Part {
        let Part::Rows(rows) = &part else { return part };
        let Ok(Rows(mut rows)) = Rows::from_bytes(rows.clone()) else { return part };
        if rows.len() < 2 {
            return part;
        }
        let place = self.random.below(rows.len() as u64);
        rows.remove(usize::try_from(place).expect("a part is small"));
        Part::Rows(Rows(rows).to_bytes())
    }

    /// The receiver has dealt with the snapshot.
    pub(super) fn snapshot_done(&mut self, life: Life, connection: ConnectionId, peer: NodeId) {
        if let Some(id) = self.offer_on(life, connection, peer) {
            self.end_snapshot(id);
            self.break_stream(connection, Span::millis(0, 5));
        }
    }

    /// A connection broke, by which a snapshot may have gone.
    pub(super) fn sending_broke(&mut self, life: Life, connection: ConnectionId, peer: NodeId) {
        if let Some(id) = self.offer_on(life, connection, peer) {
            self.counters.broken_off += 1;
            self.snapshot_failed(id);
        }
    }

    fn snapshot_failed(&mut self, id: OfferId) {
        let offer = self.offer_mut(id).expect("the caller has seen it");
        offer.sending = None;
        self.agenda.after(PAUSE, Happening::SnapshotOver(id));
    }

    /// The protocol learns that a snapshot has ended, unless another took its place.
    pub(crate) fn end_snapshot(&mut self, id: OfferId) {
        let Some(offer) = self.offer_mut(id) else { return };
        let generation = offer.generation;
        let process = self.process(id.from).expect("it has an offer");
        process.snapshots.offers.remove(&id.to);
        process.snapshots.holds.ended(id.to, id.number);
        self.tell(id.from, ReplicaInput::SnapshotEnded { peer: id.to, generation });
    }
}
