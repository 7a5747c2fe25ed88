//! The sender's side.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Generation, Index, NodeId, Snapshot, Term};
use kvcore::Store;
use kvcore::snapshot::{RememberedRows, Rows, StoreView};
use kvcore::store::{RecordKey, RecordRows, Revision, Row, RowId};
use tracing::info;

use super::cancel::Cancellation;
use super::wire::{Channel, Part, SILENCE_MAX};
use crate::node::shared::Shared;
use crate::node::transport::{HelloPurpose, greet_blocking};

/// Bytes of rows that are taken out of the store at a time, and about as much in one frame.
const PORTION_BYTES: usize = 256 << 10;
/// Row addresses in one frame.
const IDS_MAX: usize = 16 << 10;
/// Idempotency keys in one frame, each of some hundred bytes at most.
const REMEMBERED_MAX: usize = 4 << 10;
/// Leases and counters in one part. A counter may have a long name.
const RECORDS_MAX: usize = 64;
/// How long the receiver may take to open what it received: it reads all of it once more.
const FINISHING_MAX: Duration = Duration::from_secs(600);
/// How often the progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// A snapshot that a peer needs.
pub(crate) struct Outgoing {
    /// The peer.
    pub(crate) to: NodeId,
    /// The link that it goes with.
    pub(crate) generation: Generation,
    /// What both ends call that link.
    pub(crate) connection: u64,
    /// What this node's protocol says with it.
    pub(crate) message: Bytes,
    /// The terms of the log.
    pub(crate) terms: BTreeMap<Index, Term>,
    /// The last entry that the log has forgotten: what is sent must hold it.
    pub(crate) forgotten: Index,
    /// How it is ended from outside.
    pub(crate) cancellation: Cancellation,
}

/// Sends what the store holds. Returns whether the peer installed it.
///
/// # Errors
/// Why it broke off.
pub(crate) fn send(shared: &Arc<Shared>, outgoing: &Outgoing) -> Result<bool, String> {
    let store = shared.store();
    let view = store.view().map_err(|error| error.to_string())?;
    let state = view.state();
    if state.applied.index < outgoing.forgotten {
        return Err("the store does not reach the log yet".to_owned());
    }
    let applied = state.applied.index;
    let terms: BTreeMap<_, _> =
        outgoing.terms.range(..=applied).map(|(&first, &term)| (first, term)).collect();
    let snapshot = Snapshot { position: state.applied, terms, handle: 0 };
    if !snapshot.is_consistent() {
        return Err("the leader has changed meanwhile".to_owned());
    }
    let mut channel = dial(shared, outgoing)?;
    let Snapshot { terms, .. } = snapshot;
    channel.say(&Part::Begin { message: outgoing.message.clone(), state, terms })?;
    let Part::After { revision: after, remembered } = channel.hear()? else {
        return Err(unexpected());
    };
    let to = outgoing.to;
    info!("sends a snapshot to {to}: up to entry {applied}, from revision {after} on");
    if after > Revision(0) {
        send_ids(&*view, after, &mut channel)?;
    }
    send_rows(shared, &*view, after, to, &mut channel)?;
    send_remembered(shared, &*view, remembered, &mut channel)?;
    send_records(&*view, &mut channel)?;
    drop(view);
    channel.set_patience(FINISHING_MAX)?;
    let Part::Done { installed } = channel.hear()? else { return Err(unexpected()) };
    shared.metrics.snapshots_sent.inc();
    info!("the snapshot to {to} is whole there: {} bytes, installed: {installed}", channel.bytes);
    Ok(installed)
}

fn unexpected() -> String {
    "it says something unexpected".to_owned()
}

fn dial(shared: &Arc<Shared>, outgoing: &Outgoing) -> Result<Channel, String> {
    let Outgoing { to, connection, .. } = *outgoing;
    let address = shared.facts.members.get(&to).ok_or("it is no member")?;
    if let Some(fault) = shared.faults.separates(shared.facts.id, to) {
        return Err(format!("{fault} lets nothing through"));
    }
    let addresses = address.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut problem = format!("{address} is no address");
    for address in addresses {
        let mut stream = match TcpStream::connect_timeout(&address, SILENCE_MAX) {
            Ok(stream) => stream,
            Err(error) => {
                problem = error.to_string();
                continue;
            }
        };
        outgoing.cancellation.watch(&stream).map_err(|error| error.to_string())?;
        let hello = shared.hello(to, connection, HelloPurpose::Snapshot);
        let received = greet_blocking(&mut stream, &hello, SILENCE_MAX)?;
        return Channel::new(shared, to, stream, received);
    }
    Err(problem)
}

/// Tells which rows up to a revision are here, so that the receiver can tell which were compacted.
fn send_ids(view: &dyn StoreView, up_to: Revision, channel: &mut Channel) -> Result<(), String> {
    let mut from = RowId::default();
    loop {
        let mut ids = view.ids(from, IDS_MAX).map_err(|error| error.to_string())?;
        let found = ids.len();
        ids.retain(|id| id.revision <= up_to);
        let is_last = found < IDS_MAX || ids.len() < found;
        if let Some(last) = ids.last() {
            from = RowId { revision: last.revision, place: last.place + 1 };
            channel.say(&Part::Ids(ids))?;
        }
        if is_last {
            return channel.say(&Part::Ids(Vec::new()));
        }
    }
}

fn send_rows(
    shared: &Shared,
    view: &dyn StoreView,
    mut after: Revision,
    to: NodeId,
    channel: &mut Channel,
) -> Result<(), String> {
    let last = view.state().revision;
    let mut told = Instant::now();
    loop {
        let before = channel.bytes;
        let portion = view.portion(after, PORTION_BYTES).map_err(|error| error.to_string())?;
        if let Some((id, _)) = portion.rows.last() {
            after = id.revision;
        }
        send_portion(portion.rows, portion.is_last, channel)?;
        shared.metrics.snapshot_sent_bytes.inc_by(channel.bytes - before);
        if portion.is_last {
            return Ok(());
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            info!("snapshot to {to}: revision {after} of {last}, {} bytes", channel.bytes);
        }
    }
}

/// Sends leases and counters.
fn send_records(view: &dyn StoreView, channel: &mut Channel) -> Result<(), String> {
    let mut after: Option<RecordKey> = None;
    loop {
        let records =
            view.records(after.as_ref(), RECORDS_MAX).map_err(|error| error.to_string())?;
        after = records.last().map(|record| record.key.clone());
        channel.say(&Part::Records(RecordRows(records)))?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Sends what is remembered of the idempotency keys of entries after this one.
fn send_remembered(
    shared: &Shared,
    view: &dyn StoreView,
    mut after: Index,
    channel: &mut Channel,
) -> Result<(), String> {
    loop {
        let before = channel.bytes;
        let rows = view.remembered(after, REMEMBERED_MAX).map_err(|error| error.to_string())?;
        let last = rows.last().map(|row| row.index);
        channel.say(&Part::Remembered(RememberedRows(rows)))?;
        shared.metrics.snapshot_sent_bytes.inc_by(channel.bytes - before);
        let Some(last) = last else { return Ok(()) };
        after = last;
    }
}

/// Sends rows in frames of a bounded size: a single revision may be of any number of rows.
fn send_portion(
    mut rows: Vec<(RowId, Row)>,
    is_last: bool,
    channel: &mut Channel,
) -> Result<(), String> {
    loop {
        let mut bytes = 0;
        let fitting = rows.iter().take_while(|(_, row)| {
            let fits = bytes < PORTION_BYTES;
            bytes += row.key.len() + row.value.as_ref().map_or(0, Bytes::len) + 64;
            fits
        });
        let count = fitting.count();
        let rest = rows.split_off(count);
        let is_whole = rest.is_empty();
        channel.say(&Part::Rows { rows: Rows(rows), is_whole, is_last: is_last && is_whole })?;
        if is_whole {
            return Ok(());
        }
        rows = rest;
    }
}
