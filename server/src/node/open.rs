//! Opening a data directory: the log, the store, the state machine, the replica.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use consensus::{Consensus, Index};
use kvcore::replica::{Failure, Replica, ReplicaSettings};
use kvcore::{Machine, MachineOptions, Store};
use storage::{
    DAMAGE_ADVICE, DirectoryId, Identity, RealDisk, RedbStore, RedbStoreOptions, Wal, WalOptions,
    WalReader, remove_other_stores, store_file,
};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::StartError;
use super::config::NodeConfig;
use super::driver::DriverInput;
use super::faults::Faults;
use super::formation::NodeFormation;
use super::giving_way::let_others_run;
use super::handle::{NodeFacts, NodeStatus};
use super::shared::{Clock, Shared};
use super::snapshots::Receiver;
use super::trace::Ring;
use super::workers::FLUSH_BYTES_MAX;
use crate::metrics::Metrics;

/// Bytes of entries read at once when the log is applied at start.
const REPLAY_BYTES: usize = 4 << 20;

/// Aligned election timers fire so many times in an election timeout: just so often that waiting for
/// the next time is not taken for a machine that is late.
const ALIGNED_STEPS: u32 = 8;

/// How often the progress of that is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Recent rows kept in memory after they are in the store; they pin the buffers that they arrived in.
const ROW_CACHE_BYTES: usize = 8 << 20;

/// How a server opens its store.
pub(super) fn machine_options() -> MachineOptions {
    MachineOptions { cache_bytes: ROW_CACHE_BYTES, ..MachineOptions::default() }
}

/// A node that is ready to run.
pub(super) struct Opened<C: Consensus> {
    pub(super) replica: Replica<C>,
    pub(super) parts: Parts,
}

/// What the threads beside the loop work on.
pub(super) struct Parts {
    pub(super) wal: Wal<RealDisk>,
    pub(super) reader: WalReader<RealDisk>,
    pub(super) disk: RealDisk,
    pub(super) shared: Arc<Shared>,
}

/// Opens everything, applies what is known to be committed, and starts the protocol.
pub(super) fn open<C: Consensus>(
    config: &NodeConfig,
    inbox: mpsc::Sender<DriverInput<C::Message>>,
) -> Result<Opened<C>, StartError> {
    let fail = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let directory = &config.data_directory;
    let disk = RealDisk::open(directory).map_err(|error| {
        StartError(format!("cannot use the data directory {}: {error}", directory.display()))
    })?;
    let chance = u64::try_from(random()? >> 64).expect("64 of 128 bits");
    let faults = Arc::new(Faults::new(config.id, chance));
    let disk = if config.faults.enabled {
        disk.with_sync_faults(Arc::<Faults>::clone(&faults))
    } else {
        disk
    };
    let identity = Identity {
        cluster: config.cluster_name.clone(),
        node: config.id,
        protocol: config.protocol,
    };
    let new_directory = DirectoryId(random()?);
    let wal_options = WalOptions { sync: config.mechanisms.fsync, ..WalOptions::default() };
    let (wal, recovery) = Wal::open(disk.clone(), wal_options, &identity, new_directory)
        .map_err(|error| fail(&error))?;
    if let Some(torn) = &recovery.torn_tail {
        warn!(
            "{}: cut a torn write of {} bytes at offset {}; it was never acknowledged",
            torn.location, torn.bytes, torn.offset
        );
    }
    let voters = config.voters().collect();
    let formation = NodeFormation::open(disk.clone(), recovery.directory, config.id, voters);
    let formation =
        formation.map_err(|problem| StartError(format!("{}: {problem}", directory.display())))?;
    if config.observers.contains(&config.id) {
        info!(
            "this node observes, as its --cluster says: it is kept up to date and serves reads, \
             watches and writes, but never votes, acknowledges or counts for a quorum"
        );
    }
    let mut options = RedbStoreOptions::new(recovery.directory);
    options.cache_bytes = config.store_cache_bytes;
    options.between = let_others_run;
    options.number = recovery.installed;
    remove_other_stores(&disk, options.number).map_err(|error| fail(&error))?;
    let store = Arc::new(RedbStore::open(&disk, options).map_err(|error| fail(&error))?);
    let mut machine =
        Machine::open_with(Arc::clone(&store), machine_options()).map_err(|error| {
            StartError(format!(
                "{}: the store {} can not be used: {error}",
                directory.display(),
                store_file(options.number)
            ))
        })?;
    let mut recovered = recovery.recovered;
    if machine.applied().index < recovered.compacted {
        return Err(StartError(format!(
            "{}: the store {} has applied entry {}, but the log begins behind entry {}: the store \
             lost what was durable; {DAMAGE_ADVICE}",
            directory.display(),
            store_file(options.number),
            machine.applied().index,
            recovered.compacted
        )));
    }
    if machine.applied().index > recovered.last {
        return Err(StartError(format!(
            "{}: the store has applied entry {}, but the log ends at {}: the log lost entries that \
             were durable; {DAMAGE_ADVICE}",
            directory.display(),
            machine.applied().index,
            recovered.last
        )));
    }
    // The store holds only what was committed, and may know of more than the log's own hint.
    recovered.commit = recovered.commit.max(machine.applied().index);
    let mut reader = wal.reader();
    replay(&mut machine, &mut reader, recovered.commit)?;
    let (revision, compacted) = (machine.revision(), machine.compacted());
    info!(
        "log: {} entries, {} known committed; store: revision {}, compacted at {}",
        recovered.last, recovered.commit, revision, compacted
    );
    let clock = Clock::start();
    let seed = u64::try_from(random()? >> 64).expect("64 of 128 bits");
    let incarnation = u64::try_from(random()? >> 64).expect("64 of 128 bits");
    let mut settings = config.settings(seed);
    settings.standing = formation.standing();
    let core = C::start(clock.now(), settings, recovered).map_err(|error| fail(&error))?;
    let settings = ReplicaSettings {
        id: config.id,
        incarnation,
        requests_max: config.requests_pending_max,
        request_bytes_max: 64 << 20,
        retain_revisions: config.retain_revisions,
        retain_for: config.retain_for,
        quota_bytes: config.quota_bytes,
        lease_checkpoint_interval: config.lease_checkpoint_interval,
        digest_interval: config.digest_interval,
    };
    let restored = machine.restored();
    drop(machine.take_progress());
    let replica = Replica::new(core, settings, restored);
    let status = replica.status();
    let clients = move |input| {
        inbox.try_send(DriverInput::Client(input)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Failure::ShuttingDown,
        })
    };
    let shared = Arc::new(Shared {
        facts: NodeFacts {
            id: config.id,
            protocol: config.protocol,
            cluster: config.cluster_name.clone(),
            members: config.members.clone(),
            observers: config.observers.clone(),
            directory: recovery.directory.0,
            data_directory: directory.clone(),
            started: Instant::now(),
            mechanisms: config.mechanisms,
        },
        formation,
        clock,
        incarnation,
        clients: Box::new(clients),
        stopping: AtomicBool::new(false),
        status: RwLock::new(Arc::new(NodeStatus {
            position: replica.core().describe(status.last),
            applied: machine.applied().index,
            last_fsync: Duration::ZERO,
            requests_pending: 0,
            persists_pending: 0,
            trouble: Some("starting".to_owned()),
            consensus: status,
        })),
        durable: AtomicU64::new(machine.applied().index.0),
        flushed: AtomicU64::new(machine.flushed_state().applied.index.0),
        stored_bytes: AtomicU64::new(machine.stored_bytes()),
        quota_bytes: config.quota_bytes,
        is_corrupt: AtomicBool::new(!machine.alarms().is_empty()),
        retained: config.retained_log,
        machine: Arc::new(RwLock::new(machine)),
        store: RwLock::new(store),
        receiver: Receiver::new(
            disk.clone(),
            recovery.directory,
            config.store_cache_bytes,
            recovery.installed,
        ),
        metrics: Arc::new(Metrics::new()),
        revisions: watch::Sender::new(revision),
        last_fsync_micros: AtomicU64::new(0),
        links: Arc::default(),
        waiting: Arc::default(),
        requests: AtomicU64::new(0),
        ring: Arc::new(Ring::new(clock.host())),
        questions: Mutex::new(HashMap::new()),
        question_numbers: AtomicU64::new(0),
        faults,
        fault_settings: config.faults,
        crash_orders: watch::Sender::new(None),
        aligned: AtomicBool::new(false),
        timer_step: config.election_timeout / ALIGNED_STEPS,
    });
    Ok(Opened { replica, parts: Parts { wal, reader, disk, shared } })
}

/// Applies what the log knows to be committed and the store does not have yet. That may be the whole
/// log, so the store is written on the way: everything in the log is durable by now.
fn replay(
    machine: &mut Machine<Arc<RedbStore>>,
    reader: &mut WalReader<RealDisk>,
    commit: Index,
) -> Result<(), StartError> {
    let fail = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let mut told = Instant::now();
    while machine.applied().index < commit {
        let first = machine.applied().index.next();
        let entries = reader
            .entries(first, commit, REPLAY_BYTES)
            .map_err(|error| StartError(format!("cannot read the log to apply it: {error}")))?;
        for entry in &entries {
            machine.apply(entry).map_err(|error| fail(&error))?;
            while machine.is_behind() {
                let batch = machine.flush_batch(commit, FLUSH_BYTES_MAX);
                let batch = batch.expect("what waits for the store can be written");
                machine.store().write(&batch).map_err(|error| fail(&error))?;
                let rows = machine.flushed(&batch);
                machine.prune(rows);
            }
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            info!("applying the log: entry {} of {commit}", machine.applied().index);
        }
    }
    Ok(())
}

/// 128 bits of the system's randomness.
fn random() -> Result<u128, StartError> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| StartError(format!("cannot read /dev/urandom: {error}")))?;
    Ok(u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use consensus::codec::Wire;
    use consensus::{Entry, NodeId, Payload, Persist, Position, Protocol, WallTime};
    use kvcore::{Command, Envelope, MemoryStore, RequestId, UNFLUSHED_BYTES_MAX};

    use super::*;

    /// A log of `count` writes of 4 KiB to 1000 keys, with a deletion and a compaction now and then.
    fn entries(count: u64) -> impl Iterator<Item = Entry> {
        (1..=count).map(|index| {
            let key = Bytes::from(format!("key-{}", index % 1000));
            let command = match index % 1000 {
                0 => Command::Compact { revision: kvcore::Revision(index / 2) },
                500 => Command::delete(kvcore::Keys::Prefix(key)),
                _ => Command::put(key, index.to_string().repeat(4096 / 5)),
            };
            let (origin, incarnation, request) = (NodeId(1), 1, RequestId(index));
            let envelope = Envelope { origin, incarnation, request, idempotency: None, command };
            Entry {
                position: Position::new(1, index),
                wall: WallTime(index),
                payload: Payload::Command(envelope.to_bytes()),
            }
        })
    }

    fn open_store(disk: &RealDisk, directory: DirectoryId) -> Machine<Arc<RedbStore>> {
        let store = RedbStore::open(disk, RedbStoreOptions::new(directory)).expect("it opens");
        Machine::open_with(Arc::new(store), machine_options()).expect("it is whole")
    }

    #[test]
    fn a_store_that_was_removed_is_rebuilt_from_the_log_in_bounded_memory() {
        const ENTRIES: u64 = 20_000;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("it opens");
        let identity =
            Identity { cluster: "test".to_owned(), node: NodeId(1), protocol: Protocol::Null };
        let number = DirectoryId(7);
        let (mut wal, _) =
            Wal::open(disk.clone(), WalOptions::default(), &identity, number).expect("a new log");
        let mut expected = Machine::open(MemoryStore::new()).expect("a new store opens");
        let all: Vec<Entry> = entries(ENTRIES).collect();
        for some in all.chunks(500) {
            let persist = Persist { entries: some.to_vec(), ..Persist::default() };
            wal.append(&[persist]).expect("the disk works");
            for entry in some {
                expected.apply(entry).expect("the store in memory does not fail");
            }
        }
        assert!(expected.statistics().unflushed_bytes > 2 * UNFLUSHED_BYTES_MAX);

        let mut reader = wal.reader();
        let mut machine = open_store(&disk, number);
        replay(&mut machine, &mut reader, Index(ENTRIES)).expect("everything works");
        assert_eq!(machine.state(), expected.state(), "the digest included");
        let flushed = machine.flushed_state().applied.index;
        assert!(flushed > Index(ENTRIES / 2), "only {flushed} is in the store");
        let statistics = machine.statistics();
        assert!(!machine.is_behind());
        assert!(statistics.overlay_bytes <= UNFLUSHED_BYTES_MAX + ROW_CACHE_BYTES);
        assert!(statistics.versions < 16_000, "what was compacted is pruned on the way");

        // The part that was written is whole, and the rest is applied again.
        drop(machine);
        let mut again = open_store(&disk, number);
        assert_eq!(again.applied().index, flushed);
        replay(&mut again, &mut reader, Index(ENTRIES)).expect("everything works");
        assert_eq!(again.state(), expected.state());
    }
}
