//! Writing to the log.
//!
//! The disk is a real one. Its sync belongs to what is timed, as it does to every write of a node; of
//! instructions only those of this program are counted, so that neither the write nor the sync is among
//! them, which the kernel does.

use bytes::Bytes;
use consensus::{
    Entry, Index, NodeId, Payload, Persist, PersistSequence, Position, Protocol, WallTime,
};
use storage::{DirectoryId, Identity, RealDisk, Wal, WalOptions};
use tempfile::TempDir;

use super::{BATCH, Path, put};

/// After so many batches the log begins anew: the disk is not to fill.
const BATCHES_MAX: u64 = 4_000;

/// A log in a directory of its own.
struct Log {
    wal: Wal<RealDisk>,
    batches: u64,
    /// Held for its end: it removes the files.
    _directory: TempDir,
}

impl Log {
    fn create() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("the directory is new");
        let identity =
            Identity { cluster: "bench".to_owned(), node: NodeId(1), protocol: Protocol::Raft };
        let (wal, _) = Wal::open(disk, WalOptions::default(), &identity, DirectoryId(1))
            .expect("a log in a new directory");
        Self { wal, batches: 0, _directory: directory }
    }

    /// What a thread beside the log does in a node: the next segment is there before it is needed.
    fn prepare_segment(&mut self) {
        if self.wal.needs_spare() {
            let spare = self.wal.request_spare().create(|| ()).expect("the disk has room");
            self.wal.offer_spare(spare).expect("one was wanted");
        }
    }
}

/// A batch is made durable.
pub(crate) struct Append {
    log: Log,
    commands: Vec<Bytes>,
}

impl Path for Append {
    type Work = [Persist; 1];
    type Done = ();

    const ELEMENTS: u64 = BATCH;

    fn prepare() -> Self {
        Self { log: Log::create(), commands: (0..BATCH).map(put).collect() }
    }

    fn next(&mut self) -> [Persist; 1] {
        if self.log.batches == BATCHES_MAX {
            self.log = Log::create();
        }
        self.log.prepare_segment();
        let first = self.log.batches * BATCH + 1;
        self.log.batches += 1;
        let entries = (first..).zip(&self.commands).map(|(index, command)| Entry {
            position: Position::new(1, index),
            wall: WallTime(index),
            payload: Payload::Command(command.clone()),
        });
        [Persist {
            sequence: PersistSequence(self.log.batches),
            entries: entries.collect(),
            commit: Index(first - 1),
            ..Persist::default()
        }]
    }

    fn run(&mut self, work: [Persist; 1]) {
        self.log.wal.append(&work).expect("the disk works");
        // Freed by the thread of the log, as here.
        drop(work);
    }

    fn check(&mut self, (): ()) {
        assert_eq!(self.log.wal.last(), Index(self.log.batches * BATCH), "all of it is durable");
    }
}
