//! One node: what outlives its process, and the process while it runs.

use std::collections::VecDeque;
use std::time::Duration;

use consensus::invariants::{Durability, read_promise};
use consensus::{
    Consensus, Entry, Index, Mutant, NodeId, Persist, PersistSequence, Pledge, Position, Random,
    Settings, Snapshot, Standing, Time, Violation, mutant,
};
use kvcore::replica::{Replica, ReplicaSettings};
use kvcore::snapshot::Receiving;
use kvcore::store::{Revision, Store, StoreState};
use kvcore::{Machine, MachineOptions};
use storage::{DirectoryId, Identity, Wal, WalError, WalOptions, WalReader};

use crate::agenda::{Happening, Life};
use crate::clock::Clock;
use crate::disk::NodeDisk;
use crate::model::Expected;
use crate::options::{Beginning, SimOptions, Surroundings};
use crate::oracle::Oracle;
use crate::process::{LogWriter, Process};
use crate::shadow::ShadowLog;
use crate::store::Stores;

/// The law that a disk breaks which was made to fail.
pub(crate) const DISK_WORKS: &str = "a node starts, for its disk works";

/// The bytes of rows that a simulated machine keeps in memory beyond need: little, so that reads go
/// to the store.
const MACHINE_CACHE_BYTES: usize = 4 << 10;

/// The most bytes that are read at once when the log is applied at start.
const REPLAY_BYTES_MAX: usize = 64 << 10;

/// A node.
pub(crate) struct Node<C: Consensus> {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    pub(crate) disk: NodeDisk,
    pub(crate) stores: Stores,
    /// Which of the stores is that of its machine.
    pub(crate) store_number: u64,
    directory: DirectoryId,
    wal_options: WalOptions,
    pub(crate) machine_options: MachineOptions,
    /// It is an observer of the cluster.
    pub(crate) observes: bool,
    /// Its disk is not the one with which the cluster formed.
    pub(crate) wiped: bool,
    pub(crate) shadow: ShadowLog,
    /// What the disk held with which the cluster formed, if this is another one.
    lost: Option<ShadowLog>,
    /// How often it was started.
    pub(crate) starts: u64,
    pub(crate) process: Option<Process<C>>,
    /// The number of the pause in which its process is stopped, and what waits for it to go on.
    pub(crate) paused: Option<u64>,
    pub(crate) deferred: VecDeque<Happening>,
    /// Everything that its disk does takes so many times as long, until the slowness of that number
    /// is over.
    pub(crate) slow_disk: (u32, u64),
    /// There is no room on its disk before.
    pub(crate) disk_full_until: Time,
    /// Nothing that its log writer begins is done before.
    pub(crate) disk_stuck_until: Time,
    /// Its loop comes so late to its timers.
    pub(crate) lateness: Duration,
}

/// What a start needs to know besides the node itself.
pub(crate) struct Start<'a> {
    pub(crate) options: &'a SimOptions,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) time: Time,
    pub(crate) seed: u64,
}

/// What a start found that is worth counting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// What it had promised.
    pub(crate) promise: Pledge,
    /// A write that nobody had been told was durable.
    pub(crate) unacknowledged: bool,
    /// A torn write.
    pub(crate) torn: bool,
    /// A snapshot that was durable in the log, and not yet in the machine.
    pub(crate) installed: bool,
}

impl<C: Consensus> Node<C> {
    pub(crate) fn new(
        id: NodeId,
        options: &SimOptions,
        surroundings: &Surroundings,
        random: &mut Random,
    ) -> Self {
        let offset = random.below(1 << 40);
        let directory = DirectoryId(u128::from(random.next_u64()));
        let segment_bytes = surroundings.segment_bytes;
        Self {
            id,
            clock: Clock::new(offset),
            disk: NodeDisk::new(mutant::on(Mutant::SyncLies)),
            stores: Stores::new(options.depth, directory),
            store_number: 0,
            directory,
            machine_options: MachineOptions {
                cache_bytes: MACHINE_CACHE_BYTES,
                idempotency: surroundings.remembers(Some(id)),
            },
            wal_options: WalOptions { segment_bytes, ..WalOptions::small() },
            observes: id.0 > options.nodes,
            wiped: false,
            shadow: ShadowLog::default(),
            lost: None,
            starts: 0,
            process: None,
            paused: None,
            deferred: VecDeque::new(),
            slow_disk: (1, 0),
            disk_full_until: Time(0),
            disk_stuck_until: Time(0),
            lateness: Duration::ZERO,
        }
    }

    /// Writes what a node has on disk that is older than the simulation: what a snapshot of an empty
    /// store leaves behind.
    pub(crate) fn begin_after(&mut self, beginning: &Beginning) -> Result<(), String> {
        let Beginning { position, promises } = beginning;
        let place = usize::try_from(self.id.0 - 1).expect("a few nodes");
        let terms = [(Index(1), position.term)].into();
        let persist = Persist {
            sequence: PersistSequence(1),
            install: Some(Snapshot { position: *position, terms, handle: 1 }),
            promise: Some(promises[place].clone()),
            commit: position.index,
            ..Persist::default()
        };
        let (mut wal, _) =
            Wal::open(self.disk.clone(), self.wal_options, &self.identity(), self.directory)
                .map_err(|error| error.to_string())?;
        wal.append(std::slice::from_ref(&persist)).map_err(|error| error.to_string())?;
        wal.close().map_err(|error| error.to_string())?;
        self.shadow.asked(persist);
        self.shadow.acknowledged(PersistSequence(1));
        self.store_number = 1;
        let store = self.stores.open(&self.disk, 1).map_err(|error| error.to_string())?;
        let state =
            StoreState { applied: *position, revision: Revision(1), ..StoreState::default() };
        let receiving = Receiving::begin(store, state).map_err(|error| error.to_string())?;
        receiving.finish(self.machine_options).map(drop).map_err(|error| error.to_string())
    }

    /// Everything that it had on disk is gone.
    pub(crate) fn wipe(&mut self, directory: u64) {
        assert!(self.process.is_none(), "a node that runs has its disk");
        self.disk.wipe();
        self.directory = DirectoryId(u128::from(directory));
        self.stores.wipe(self.directory);
        self.store_number = 0;
        let former = std::mem::take(&mut self.shadow);
        self.lost.get_or_insert(former);
        self.wiped = true;
    }

    /// Whether it votes, as its peers and it itself know by its disk.
    pub(crate) fn standing(&self) -> Standing {
        let observes = self.observes && !mutant::on(Mutant::ObserversVote);
        if observes || self.wiped && !mutant::on(Mutant::WipedVotes) {
            Standing::Observer
        } else {
            Standing::Voter
        }
    }

    /// Whether an entry was durable on the disk with which the cluster formed.
    pub(crate) fn held_as_voter(&self, position: Position) -> bool {
        self.lost.as_ref().unwrap_or(&self.shadow).holds(position)
    }

    /// Opens the log only, as a start does that is interrupted.
    pub(crate) fn open_log(&self) -> Result<(), WalError> {
        let opened =
            Wal::open(self.disk.clone(), self.wal_options, &self.identity(), self.directory);
        opened.map(drop)
    }

    fn identity(&self) -> Identity {
        Identity { cluster: "simulated".to_owned(), node: self.id, protocol: C::PROTOCOL }
    }

    /// Starts the process: recovers the log and the store as the server does, and checks what was
    /// found.
    pub(crate) fn start(
        &mut self,
        start: &Start<'_>,
        oracle: &mut Oracle,
    ) -> Result<Found, Violation> {
        assert!(self.process.is_none(), "a node runs once at a time");
        self.starts += 1;
        let id = self.id;
        let failed =
            |what: String| Violation::new("a node starts after any crash", format!("{id}: {what}"));
        let disk_failed = |what: String| Violation::new(DISK_WORKS, format!("{id}: {what}"));
        let (wal, recovery) =
            Wal::open(self.disk.clone(), self.wal_options, &self.identity(), self.directory)
                .map_err(|error| match error {
                    WalError::Io(error) => disk_failed(error.to_string()),
                    error => failed(error.to_string()),
                })?;
        let (mut recovered, number) = (recovery.recovered, recovery.installed);
        let mut reader = wal.reader();
        let log = read_all(&mut reader, recovered.compacted, recovered.last).map_err(failed)?;
        let found = self.shadow.recovered(id, &recovered, number, &log)?;
        let installed = number != self.store_number;
        let (unacknowledged, torn) = (found > 0, recovery.torn_tail.is_some());

        // What a snapshot left behind that never took effect is kept, to go on with.
        self.store_number = number;
        self.stores
            .keep_only(&self.disk, number)
            .map_err(|error| disk_failed(error.to_string()))?;
        let store =
            self.stores.open(&self.disk, number).map_err(|error| disk_failed(error.to_string()))?;
        let mut machine = Machine::open_with(store, self.machine_options)
            .map_err(|error| disk_failed(error.to_string()))?;
        oracle.opened(id, machine.state())?;
        if !self.shadow.holds(machine.applied()) {
            return Err(Violation::new(
                "the store is never ahead of what is durable in the log",
                format!(
                    "{id} has applied {}, its log ends at {}",
                    machine.applied(),
                    recovered.last
                ),
            ));
        }
        if machine.applied().index < recovered.compacted {
            return Err(Violation::new(
                "the store holds what the log has forgotten",
                format!(
                    "{id} has applied {}, its log has forgotten up to {}",
                    machine.applied(),
                    recovered.compacted
                ),
            ));
        }
        let applied = machine.applied().index;
        let known = applied.next()..=recovered.commit;
        for entry in log.iter().filter(|entry| known.contains(&entry.index())) {
            let outcome = machine.apply(entry).map_err(|error| failed(error.to_string()))?;
            let found = Expected::of(&outcome.outcome, machine.store());
            oracle.applied(id, entry, &outcome, found, machine.state())?;
        }
        // The store may know of more than the log's hint: what it holds was committed.
        recovered.commit = recovered.commit.max(machine.applied().index);
        let durable = recovered.clone();
        if mutant::on(Mutant::PromiseForgotten) {
            recovered.promise = None;
        }
        let core = C::start(self.clock.now(start.time), self.settings(start), recovered)
            .map_err(|error| failed(error.to_string()))?;
        let promise = read_promise::<C>(id, durable.promise.as_ref())?.unwrap_or_default();
        let what = Found { promise, unacknowledged, torn, installed };
        let mut law = Durability::default();
        law.started(&core.view(), &durable, promise)?;
        let settings = ReplicaSettings {
            id,
            incarnation: self.starts,
            requests_max: start.surroundings.requests_max,
            request_bytes_max: 1 << 20,
            retain_revisions: start.surroundings.retain_revisions,
            retain_for: start.surroundings.retain_for,
            quota_bytes: start.surroundings.quota_bytes,
            lease_checkpoint_interval: start.surroundings.lease_checkpoint_interval,
            digest_interval: start.surroundings.digest_interval,
        };
        let restored = machine.restored();
        drop(machine.take_progress());
        let replica = Replica::new(core, settings, restored);
        self.process = Some(Process::new(
            Life { node: id, number: self.starts },
            replica,
            LogWriter::new(wal, law),
            reader,
            machine,
        ));
        Ok(what)
    }

    fn settings(&self, start: &Start<'_>) -> Settings {
        let surroundings = start.surroundings;
        let options = start.options;
        let all_count = mutant::on(Mutant::ObserversVote);
        let last_voter = if all_count { options.members() } else { options.nodes };
        let voters = (1..=last_voter).map(NodeId);
        let mut settings = Settings {
            seed: start.seed,
            observers: (last_voter + 1..=options.members()).map(NodeId).collect(),
            standing: self.standing(),
            heartbeat_interval: surroundings.election_timeout / 6,
            election_timeout: surroundings.election_timeout,
            suspect_on_connection_loss: surroundings.suspect_on_connection_loss,
            message_bytes_max: surroundings.message_bytes_max,
            inflight_messages_max: surroundings.inflight_messages_max,
            memory_log_bytes_max: surroundings.memory_log_bytes_max,
            uncommitted_bytes_max: surroundings.uncommitted_bytes_max,
            unapplied_bytes_max: surroundings.unapplied_bytes_max,
            ..Settings::new(self.id, voters)
        };
        for ablation in &options.ablations {
            ablation.take_from(&mut settings);
        }
        settings
    }

    /// Writes what the log writer and the flusher have under way, on a disk that is about to lose
    /// its power: it may come to nothing, to a part, or to all of it.
    pub(crate) fn write_last_gasps(&mut self, random: &mut Random) {
        let Some(process) = &mut self.process else { return };
        self.disk.power_lasts(if random.one_in(2) { 0 } else { random.below(6) });
        let log_first = random.one_in(2);
        if random.one_in(2) {
            process.snapshots.write_last_gasp(self.machine_options);
        }
        for log in [log_first, !log_first] {
            // Whatever comes of it, nobody is left to be told.
            if log && !process.log.writing.is_empty() && !random.one_in(3) {
                let _ = process.log.wal.append(&process.log.writing);
            }
            if !log
                && let Some(batch) = process.flushing.take()
                && random.one_in(2)
            {
                let _ = process.machine.store().write(&batch);
            }
        }
    }

    /// The last entry that is durable here as it is in memory.
    pub(crate) fn durable(&self) -> Index {
        self.process
            .as_ref()
            .map_or(Index(0), |process| process.replica.core().view().log.durable())
    }
}

/// The entries behind those that were forgotten.
fn read_all(
    reader: &mut WalReader<NodeDisk>,
    compacted: Index,
    last: Index,
) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = compacted.next();
    while next <= last {
        let more =
            reader.entries(next, last, REPLAY_BYTES_MAX).map_err(|error| error.to_string())?;
        entries.extend(more);
        next = entries.last().map_or(next, |entry| entry.index().next());
    }
    Ok(entries)
}
