//! The receiver's side.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc as thread_channel};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use consensus::codec::Wire;
use consensus::{Generation, Index, NodeId, Snapshot, Term};
use kvcore::Machine;
use kvcore::Revision;
use kvcore::snapshot::{ReceiveError, Receiving, RememberedRows, Rows};
use kvcore::store::{RecordRows, Row, RowId, Store, StoreState};
use storage::{
    DirectoryId, RealDisk, RedbStore, RedbStoreOptions, remove_other_stores, remove_store,
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::cancel::Cancellation;
use super::wire::{Channel, Part};
use crate::node::driver::DriverInput;
use crate::node::giving_way::let_others_run;
use crate::node::open::machine_options;
use crate::node::shared::Shared;

/// Bytes of rows that are written in one transaction. Each waits for the disk once, and holds what it
/// writes in memory. After each the disk is left to others for as long as it took: the log of this node
/// and of others on the same disk waits behind what is written here.
const TRANSACTION_BYTES: usize = 512 << 10;

/// Where received snapshots go, one at a time: the store after the one in use.
pub(crate) struct Receiver {
    disk: RealDisk,
    directory: DirectoryId,
    cache_bytes: usize,
    /// The number of the store in use.
    number: AtomicU64,
    /// Held by whoever receives, until it is decided what becomes of what was received.
    place: Mutex<()>,
}

impl Receiver {
    pub(crate) fn new(
        disk: RealDisk,
        directory: DirectoryId,
        cache_bytes: usize,
        number: u64,
    ) -> Self {
        Self { disk, directory, cache_bytes, number: AtomicU64::new(number), place: Mutex::new(()) }
    }

    /// The number of the store in use.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The store of this number is in use from now on: the one before it goes.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn installed(&self, number: u64) -> Result<(), String> {
        self.number.store(number, Ordering::Release);
        remove_other_stores(&self.disk, number).map_err(|error| error.to_string())
    }

    fn open(&self, number: u64) -> Result<Arc<RedbStore>, String> {
        let options = RedbStoreOptions {
            number,
            cache_bytes: self.cache_bytes,
            between: let_others_run,
            ..RedbStoreOptions::new(self.directory)
        };
        let opened = RedbStore::open(&self.disk, options).or_else(|problem| {
            // It was of no use before it was whole.
            warn!("begins a snapshot anew: {problem}");
            remove_store(&self.disk, number).map_err(|error| error.to_string())?;
            RedbStore::open(&self.disk, options).map_err(|error| error.to_string())
        });
        Ok(Arc::new(opened?))
    }
}

/// A connection that a snapshot is about to come by.
pub(crate) struct Incoming {
    /// The sender.
    pub(crate) peer: NodeId,
    /// The link that it comes with.
    pub(crate) generation: Generation,
    pub(crate) stream: TcpStream,
    /// What came behind the greeting.
    pub(crate) rest: BytesMut,
    /// How it is ended from outside.
    pub(crate) cancellation: Cancellation,
}

/// A snapshot that is durable here as a whole, for the protocol to decide about.
pub(crate) struct ReceivedSnapshot {
    pub(crate) snapshot: Snapshot,
    /// What it is of use for, once it is installed.
    pub(crate) machine: Machine<Arc<RedbStore>>,
    /// Hears whether it was installed.
    pub(crate) decided: thread_channel::Sender<bool>,
}

/// Receives a snapshot and has the loop decide about it.
///
/// # Errors
/// Why it broke off.
pub(crate) fn receive<M: Wire>(
    shared: &Arc<Shared>,
    incoming: Incoming,
    driver: &mpsc::Sender<DriverInput<M>>,
) -> Result<(), String> {
    let Incoming { peer, generation, stream, rest, cancellation } = incoming;
    let receiver = &shared.receiver;
    let place = receiver.place.lock().expect("no holder of this lock panics");
    cancellation.watch(&stream).map_err(|error| error.to_string())?;
    let mut channel = Channel::new(shared, peer, stream, rest)?;
    let Part::Begin { message, state, terms } = channel.hear()? else { return Err(unexpected()) };
    let message = M::from_bytes(message).map_err(|error| error.to_string())?;
    let number = receiver.number() + 1;
    let snapshot = checked(state, terms, number)?;
    let began = Instant::now();
    info!("receives a snapshot from {peer}: up to entry {}", state.applied.index);
    let machine = match receive_store(receiver, number, state, &mut channel) {
        Ok(machine) => machine,
        Err(Problem::BrokeOff(problem)) => return Err(problem),
        Err(Problem::Useless(problem)) => {
            remove_store(&receiver.disk, number).map_err(|error| error.to_string())?;
            return Err(format!("{problem}; what was received is removed"));
        }
    };
    shared.metrics.snapshots_received.inc();
    shared.metrics.snapshot_received_bytes.inc_by(channel.bytes);
    if cancellation.is_cancelled() {
        return Err("the link ended".to_owned());
    }
    let (decided, decision) = thread_channel::channel();
    let received = Box::new(ReceivedSnapshot { snapshot, machine, decided });
    let input = DriverInput::SnapshotReceived { peer, generation, message, received };
    driver.blocking_send(input).map_err(|_| "shutting down".to_owned())?;
    let installed = decision.recv().map_err(|_| "shutting down".to_owned())?;
    if !installed {
        remove_store(&receiver.disk, number).map_err(|error| error.to_string())?;
    }
    drop(place);
    info!(
        "the snapshot from {peer} is dealt with after {:?}: {} bytes, installed: {installed}",
        began.elapsed(),
        channel.bytes
    );
    channel.say(&Part::Done { installed })
}

fn unexpected() -> String {
    "it says something unexpected".to_owned()
}

fn checked(
    state: StoreState,
    terms: BTreeMap<Index, Term>,
    number: u64,
) -> Result<Snapshot, String> {
    let snapshot = Snapshot { position: state.applied, terms, handle: number };
    if !snapshot.is_consistent() {
        return Err("its terms do not end with that of its position".to_owned());
    }
    Ok(snapshot)
}

/// Why nothing came of it.
enum Problem {
    /// What is here can be gone on with.
    BrokeOff(String),
    /// What is here is worth nothing.
    Useless(String),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::BrokeOff(problem)
    }
}

impl From<ReceiveError> for Problem {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Store(error) => Self::BrokeOff(error.to_string()),
            useless => Self::Useless(useless.to_string()),
        }
    }
}

fn receive_store(
    receiver: &Receiver,
    number: u64,
    state: StoreState,
    channel: &mut Channel,
) -> Result<Machine<Arc<RedbStore>>, Problem> {
    let mut store = receiver.open(number)?;
    let left = store.state().map_err(ReceiveError::Store)?;
    if !Receiving::<Arc<RedbStore>>::may_go_on(&left, &state) {
        drop(store);
        remove_store(&receiver.disk, number).map_err(|error| error.to_string())?;
        store = receiver.open(number)?;
    }
    let mut receiving = Receiving::begin(store, state).map_err(ReceiveError::Store)?;
    let after = receiving.after();
    channel.say(&Part::After { revision: after, remembered: receiving.remembered_after() })?;
    if after > Revision(0) {
        loop {
            let Part::Ids(ids) = channel.hear()? else { return Err(unexpected().into()) };
            receiving.keep_only(&ids)?;
            if ids.is_empty() {
                break;
            }
        }
    }
    let mut waiting: Vec<(RowId, Row)> = Vec::new();
    let mut bytes = 0;
    loop {
        let part = channel.hear()?;
        let Part::Rows { rows: Rows(rows), is_whole, is_last } = part else {
            return Err(unexpected().into());
        };
        bytes += rows.iter().map(|(_, row)| row_bytes(row)).sum::<usize>();
        waiting.extend(rows);
        if is_last || (is_whole && bytes >= TRANSACTION_BYTES) {
            let began = Instant::now();
            receiving.take(std::mem::take(&mut waiting))?;
            bytes = 0;
            std::thread::sleep(began.elapsed());
        }
        if is_last {
            break;
        }
    }
    loop {
        let Part::Remembered(RememberedRows(rows)) = channel.hear()? else {
            return Err(unexpected().into());
        };
        if rows.is_empty() {
            break;
        }
        receiving.take_remembered(rows)?;
    }
    loop {
        let Part::Records(RecordRows(records)) = channel.hear()? else {
            return Err(unexpected().into());
        };
        if records.is_empty() {
            return Ok(receiving.finish(machine_options())?);
        }
        receiving.take_records(records)?;
    }
}

fn row_bytes(row: &Row) -> usize {
    row.key.len() + row.value.as_ref().map_or(0, Bytes::len)
}
