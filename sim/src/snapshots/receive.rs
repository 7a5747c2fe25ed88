//! The receiving side of a snapshot.

use std::collections::VecDeque;

use consensus::{Consensus, Index, Snapshot, Violation, Wire};
use kvcore::replica::ReplicaInput;
use kvcore::snapshot::{ReceiveError, Receiving, RememberedRows, Rows};
use kvcore::store::{RecordRows, Revision, Store, StoreError};
use kvcore::{Machine, MachineOptions};

use super::{Offered, Part};
use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::network::ConnectionId;
use crate::node::Node;
use crate::options::Span;
use crate::store::SimulatedStore;

/// A snapshot that is coming in.
pub(super) struct Incoming {
    connection: ConnectionId,
    /// What came and was not taken yet; the first is being taken.
    queue: VecDeque<Part>,
    /// What it is of, once there is a store for it.
    begun: Option<(Box<Offered>, Receiving<SimulatedStore>)>,
}

/// A snapshot that came in as a whole and is durable, in a store of its own.
pub(crate) struct Received {
    /// The number of the store.
    pub(super) handle: u64,
    pub(super) connection: ConnectionId,
    pub(super) machine: Machine<SimulatedStore>,
}

impl Incoming {
    /// Writes what is being taken; nobody is left to be told what came of it.
    pub(super) fn write_last_gasp(mut self, options: MachineOptions) {
        let (part, begun) = (self.queue.pop_front(), self.begun.take());
        let Some((_, mut receiving)) = begun else { return };
        let _ = match part {
            Some(Part::Ids(ids)) => receiving.keep_only(&ids),
            Some(Part::Rows(rows)) => match Rows::from_bytes(rows) {
                Ok(Rows(rows)) => receiving.take(rows),
                Err(_) => Ok(()),
            },
            Some(Part::Remembered(rows)) => match RememberedRows::from_bytes(rows) {
                Ok(RememberedRows(rows)) => receiving.take_remembered(rows),
                Err(_) => Ok(()),
            },
            Some(Part::Records(records)) => match RecordRows::from_bytes(records) {
                Ok(RecordRows(records)) => receiving.take_records(records),
                Err(_) => Ok(()),
            },
            Some(Part::End) => receiving.finish(options).map(drop),
            _ => Ok(()),
        };
    }
}

/// What came of a part.
enum Taken {
    /// The receiver says what it has.
    Begun {
        after: (Revision, Index),
        resumed: bool,
    },
    Nothing,
    /// It is whole.
    Whole(Box<Offered>, Box<Received>),
}

impl<C: Consensus> Cluster<C> {
    /// A part came in. One snapshot comes in at a time: a newer one takes the place of an older one,
    /// unless that is whole already.
    pub(super) fn receive_part(&mut self, life: Life, connection: ConnectionId, part: Part) {
        let process = self.process(life).expect("looked up by the caller");
        let snapshots = &mut process.snapshots;
        if let Part::Offer(offered) = &part {
            let busy = snapshots.received.is_some() || snapshots.installing.is_some();
            // It may have been offered to an earlier life of this node.
            if busy || !process.generations.contains_key(&offered.main) {
                return self.break_stream(connection, Span::millis(0, 5));
            }
            let incoming = Incoming { connection, queue: [part].into(), begun: None };
            let former = snapshots.incoming.replace(incoming);
            self.plan_taking(life, connection);
            if let Some(former) = former {
                self.break_stream(former.connection, Span::millis(0, 5));
            }
            return;
        }
        let incoming = snapshots.incoming.as_mut();
        let Some(incoming) = incoming.filter(|it| it.connection == connection) else { return };
        incoming.queue.push_back(part);
        if incoming.queue.len() == 1 {
            self.plan_taking(life, connection);
        }
    }

    fn plan_taking(&mut self, life: Life, connection: ConnectionId) {
        let slow = self.nodes[&life.node].slow_disk.0.min(20);
        let delay = self.part_delay() * slow;
        self.agenda.after(delay, Happening::TakePart(life, connection));
    }

    /// The connection broke by which a snapshot came. What came of it stays.
    pub(super) fn receiving_broke(&mut self, life: Life, connection: ConnectionId) {
        let incoming = &mut self.process(life).expect("seen by the caller").snapshots.incoming;
        if incoming.as_ref().is_some_and(|incoming| incoming.connection == connection) {
            *incoming = None;
        }
    }

    /// The first part of those that came is written.
    pub(crate) fn take_part(
        &mut self,
        life: Life,
        connection: ConnectionId,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(life) else { return Ok(()) };
        let incoming = process.snapshots.incoming.as_ref();
        if incoming.is_none_or(|incoming| incoming.connection != connection) {
            return Ok(());
        }
        let node = self.nodes.get_mut(&life.node).expect("every life has its node");
        let taken = match take(node) {
            Ok(taken) => taken,
            Err(ReceiveError::Store(error)) => return self.store_failed(life, error.to_string()),
            // Rows are the same everywhere, so that it can go on after any break with any sender.
            Err(error) => {
                let details = format!("{}: {error}", life.node);
                return Err(Violation::new("a snapshot arrives as it was sent", details));
            }
        };
        match taken {
            Taken::Begun { after, resumed } => {
                self.counters.resumed += u64::from(resumed);
                let now = self.agenda.now();
                let (revision, index) = after;
                self.trace.line(now, || format!("{} has revisions up to {revision}", life.node));
                self.send(connection, life.node, Part::After(revision, index));
            }
            Taken::Nothing => {}
            Taken::Whole(offered, received) => {
                return self.snapshot_received(life, *offered, *received);
            }
        }
        let process = self.process(life).expect("it still runs");
        let incoming = process.snapshots.incoming.as_ref().expect("it is not whole yet");
        if !incoming.queue.is_empty() {
            self.plan_taking(life, connection);
        }
        Ok(())
    }

    /// The protocol is told of a snapshot that is whole.
    fn snapshot_received(
        &mut self,
        life: Life,
        offered: Offered,
        received: Received,
    ) -> Result<(), Violation> {
        let ends = self.network.ends(received.connection).map(|end| end.node);
        let peer = if ends[0] == life.node { ends[1] } else { ends[0] };
        let (handle, position) = (received.handle, offered.state.applied);
        let message = C::Message::from_bytes(offered.message).map_err(|error| {
            let details = format!("{peer} to {}: {error}", life.node);
            Violation::new("what is sent can be read", details)
        })?;
        self.trace.line(self.agenda.now(), || {
            format!("{} ⇐ {peer} {message} up to {position}", life.node)
        });
        let snapshot = Snapshot { position, terms: offered.terms, handle };
        let process = self.process(life).expect("it still runs");
        let generation = process.generations[&offered.main];
        process.snapshots.received = Some(received);
        let input = ReplicaInput::SnapshotReceived { peer, generation, snapshot, message };
        self.tell(life, input);
        Ok(())
    }
}

/// Takes the first part that came in.
fn take<C: Consensus>(node: &mut Node<C>) -> Result<Taken, ReceiveError> {
    let snapshots = &mut node.process.as_mut().expect("seen by the caller").snapshots;
    let incoming = snapshots.incoming.as_mut().expect("seen by the caller");
    let part = incoming.queue.pop_front().expect("a part is being taken");
    let store = |error: std::io::Error| ReceiveError::Store(StoreError(error.to_string()));
    let handle = node.store_number + 1;
    if let Part::Offer(offered) = part {
        let mut store_here = node.stores.open(&node.disk, handle)?;
        if !Receiving::<SimulatedStore>::may_go_on(&store_here.state()?, &offered.state) {
            drop(store_here);
            node.stores.remove(&node.disk, handle).map_err(store)?;
            store_here = node.stores.open(&node.disk, handle)?;
        }
        let receiving = Receiving::begin(store_here, offered.state)?;
        let after = (receiving.after(), receiving.remembered_after());
        incoming.begun = Some((offered, receiving));
        return Ok(Taken::Begun { after, resumed: after.0 > Revision(0) });
    }
    let Some((_, receiving)) = &mut incoming.begun else { return Ok(Taken::Nothing) };
    match part {
        Part::Ids(ids) => receiving.keep_only(&ids)?,
        Part::Rows(rows) => {
            let rows = Rows::from_bytes(rows);
            let Rows(rows) = rows.map_err(|error| ReceiveError::Rows(error.to_string()))?;
            receiving.take(rows)?;
        }
        Part::Remembered(rows) => {
            let rows = RememberedRows::from_bytes(rows);
            let RememberedRows(rows) =
                rows.map_err(|error| ReceiveError::Rows(error.to_string()))?;
            receiving.take_remembered(rows)?;
        }
        Part::Records(records) => {
            let records = RecordRows::from_bytes(records);
            let RecordRows(records) =
                records.map_err(|error| ReceiveError::Rows(error.to_string()))?;
            receiving.take_records(records)?;
        }
        Part::End => {
            let incoming = snapshots.incoming.take().expect("looked at just now");
            let (offered, receiving) = incoming.begun.expect("looked at just now");
            let machine = receiving.finish(node.machine_options)?;
            let connection = incoming.connection;
            let received = Received { handle, connection, machine };
            return Ok(Taken::Whole(offered, Box::new(received)));
        }
        Part::Offer(_) | Part::After(..) | Part::Done | Part::Broken => {}
    }
    Ok(Taken::Nothing)
}
