//! The threads beside the consensus loop: the log writer, the fetcher, the flusher.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use consensus::{Fetch, FetchPurpose, Index, Persist, PersistSequence};
use kvcore::{Store, UNFLUSHED_BYTES_MAX};
use storage::{RealDisk, Retained, SpareRequest, SpareSegment, Wal, WalError, WalReader};
use tokio::sync::mpsc;

use super::driver::DriverInput;
use super::shared::Shared;

/// How often the store is brought up to date. Small and often: a commit's cost grows with what is
/// dirty.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// How often the log is asked what it could forget, whether it is written meanwhile or not.
const RETENTION_INTERVAL: Duration = Duration::from_millis(100);
/// A peer that was sent a snapshot holds the log up until so many times as much is retained as is
/// meant to be, or as much as the store itself has: if the log grows faster than the store can be
/// copied, waiting is of no use.
const PRESSING_FACTOR: u64 = 4;
/// After each part of a segment that is prepared the disk is left alone for so many times as long as
/// that took.
const SPARE_PAUSE_FACTOR: u32 = 3;
/// Rows of the journal that are pruned under one hold of the lock: some 0.1 ms, in which nothing is
/// applied and nothing read.
const PRUNE_ROWS_MAX: usize = 128;
/// The time between two holds.
const PRUNE_PAUSE: Duration = Duration::from_micros(100);
/// Bytes of rows in one commit of the store.
pub(super) const FLUSH_BYTES_MAX: usize = 1 << 20;

/// Makes what the loop asks for durable: everything that waits in one write and one sync.
pub(super) fn write_log<M>(
    mut wal: Wal<RealDisk>,
    queue: &Receiver<Vec<Persist>>,
    segments: (&Sender<SegmentWork>, &Receiver<Option<SpareSegment<RealDisk>>>),
    driver: &mpsc::Sender<DriverInput<M>>,
    shared: &Shared,
) -> Result<(), String> {
    let (wanted, prepared) = segments;
    let mut retention = Retention { looked: Instant::now() };
    loop {
        let received = queue.recv_timeout(RETENTION_INTERVAL);
        if shared.faults.has_crashed() {
            return Ok(());
        }
        match received {
            Ok(mut persists) => {
                while let Ok(more) = queue.try_recv() {
                    persists.extend(more);
                }
                let at_a_time = shared.facts.mechanisms.at_a_time(persists.len());
                for persists in persists.chunks(at_a_time) {
                    let last = append(&mut wal, persists, shared)?;
                    if driver.blocking_send(DriverInput::Persisted(last)).is_err() {
                        return Ok(());
                    }
                }
            }
            // What was written last can be forgotten only once the store has it.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while let Ok(spare) = prepared.try_recv() {
            match spare {
                Some(spare) => wal.offer_spare(spare).map_err(|error| error.to_string())?,
                None => wal.spare_failed(),
            }
        }
        if wal.needs_spare() {
            // Without a spare the log makes its next segment itself, only slower.
            let _ = wanted.send(SegmentWork::Prepare(wal.request_spare()));
        }
        let obsolete = wal.take_obsolete();
        if !obsolete.is_empty() {
            // Without it the next start removes them.
            let _ = wanted.send(SegmentWork::Remove(obsolete));
        }
        if let Some(compact) = retention.look(&wal, shared)
            && driver.blocking_send(compact).is_err()
        {
            return Ok(());
        }
    }
    wal.close().map_err(|error| error.to_string())
}

/// Writes and syncs, and says so in the figures.
fn append(
    wal: &mut Wal<RealDisk>,
    persists: &[Persist],
    shared: &Shared,
) -> Result<PersistSequence, String> {
    let before = wal.statistics();
    wal.append(persists).map_err(|error| error.to_string())?;
    let now = wal.statistics();
    let (fsyncs, fsync_time) = (now.syncs - before.syncs, now.sync_time - before.sync_time);
    shared.metrics.wal_written(now.bytes - before.bytes, fsyncs, fsync_time);
    let micros = u64::try_from(fsync_time.as_micros()).unwrap_or(u64::MAX);
    shared.last_fsync_micros.store(micros, Ordering::Relaxed);
    Ok(persists.last().expect("the loop sends no empty batch").sequence)
}

/// When the log is asked what it could forget.
struct Retention {
    looked: Instant,
}

impl Retention {
    /// What to tell the loop, if the file of a segment could be freed.
    fn look<M>(&mut self, wal: &Wal<RealDisk>, shared: &Shared) -> Option<DriverInput<M>> {
        if self.looked.elapsed() < RETENTION_INTERVAL {
            return None;
        }
        self.looked = Instant::now();
        let retained = shared.retained;
        let flushed = Index(shared.flushed.load(Ordering::Acquire));
        let index = wal.forgettable(retained, flushed)?;
        let store_bytes = std::fs::metadata(shared.store_file()).map_or(0, |file| file.len());
        let factor = PRESSING_FACTOR.max(store_bytes / retained.bytes_max.max(1));
        let pressing = Retained {
            entries: retained.entries.saturating_mul(factor),
            bytes_max: retained.bytes_max.saturating_mul(factor),
        };
        let at_least = wal.forgettable(pressing, flushed).unwrap_or_default();
        Some(DriverInput::Compact { index, at_least })
    }
}

/// What is done about the files of the log beside writing it.
pub(super) enum SegmentWork {
    /// Prepare a segment ahead of its use.
    Prepare(SpareRequest<RealDisk>),
    /// Remove segments that nothing needs any more.
    Remove(Vec<String>),
}

/// Prepares and removes segments of the log. `None` says that one could not be prepared.
pub(super) fn keep_segments(
    disk: &RealDisk,
    queue: &Receiver<SegmentWork>,
    prepared: &Sender<Option<SpareSegment<RealDisk>>>,
) -> Result<(), String> {
    while let Ok(work) = queue.recv() {
        let request = match work {
            SegmentWork::Prepare(request) => request,
            SegmentWork::Remove(names) => {
                storage::remove_obsolete(disk, &names).map_err(|error| error.to_string())?;
                continue;
            }
        };
        let mut began = Instant::now();
        let leave_the_disk_to_the_log = || {
            std::thread::sleep(began.elapsed() * SPARE_PAUSE_FACTOR);
            began = Instant::now();
        };
        let spare = request.create(leave_the_disk_to_the_log).map_err(|error| {
            tracing::warn!("cannot prepare the next segment of the log: {error}");
        });
        if prepared.send(spare.ok()).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads old entries from the log on disk.
pub(super) fn fetch<M>(
    mut reader: WalReader<RealDisk>,
    queue: &Receiver<Fetch>,
    driver: &mpsc::Sender<DriverInput<M>>,
) -> Result<(), String> {
    // Each reads on where it was.
    let mut for_peers = reader.clone();
    while let Ok(Fetch { purpose, first, last, bytes_max }) = queue.recv() {
        let reader = match purpose {
            FetchPurpose::Deliver => &mut reader,
            FetchPurpose::Replicate(_) => &mut for_peers,
        };
        let entries = match reader.entries(first, last, bytes_max) {
            Ok(entries) => entries,
            // What was to be sent to a peer may have been truncated meanwhile.
            Err(WalError::Missing(_)) => Vec::new(),
            Err(error) => return Err(error.to_string()),
        };
        if driver.blocking_send(DriverInput::Fetched { purpose, entries }).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Brings the store up to what is applied and durable, in small steps, until told to stop; then once
/// more.
pub(super) fn flush(stop: &Receiver<()>, shared: &Arc<Shared>) -> Result<(), String> {
    loop {
        let stopping = match stop.recv_timeout(FLUSH_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        if shared.faults.has_crashed() {
            return Ok(());
        }
        while let Some(left) = flush_once(shared)? {
            // What compaction freed is removed little by little, and what is less than a commit waits
            // for more: both leave the disk to the log.
            let enough = if stopping { left.any } else { left.bytes >= FLUSH_BYTES_MAX };
            if !enough {
                break;
            }
            if !stopping {
                std::thread::sleep(left.pause());
            }
        }
        if stopping {
            return Ok(());
        }
    }
}

/// What waits for the store after a commit.
struct Unflushed {
    /// Whether there is anything that could be written at once.
    any: bool,
    /// The bytes of all that waits.
    bytes: usize,
    /// How long the commit took.
    took: Duration,
}

impl Unflushed {
    /// How long to wait before the next commit of a node that has more to write. Its store shares the
    /// disk with its log, and maybe with those of the nodes that serve meanwhile: so it rests as long
    /// as it worked, but the less, the nearer it is to holding up what is applied. For then committed
    /// entries gather in memory, and answers wait.
    fn pause(&self) -> Duration {
        let filled = self.bytes as f64 / UNFLUSHED_BYTES_MAX as f64;
        self.took.mul_f64(1.0 - filled.min(1.0))
    }
}

/// Makes one commit; `None` when there is nothing to write.
fn flush_once(shared: &Shared) -> Result<Option<Unflushed>, String> {
    let (batch, store) = {
        let machine = shared.machine.read().expect("no holder of this lock panics");
        let batch = machine.flush_batch(shared.durable(), FLUSH_BYTES_MAX);
        (batch, Arc::clone(machine.store()))
    };
    let Some(batch) = batch else { return Ok(None) };
    let began = Instant::now();
    store.write(&batch).map_err(|error| error.to_string())?;
    let took = began.elapsed();
    shared.metrics.store_commit_seconds.observe(took.as_secs_f64());
    shared.metrics.store_rows_written.inc_by(batch.added.len() as u64);
    let (left, mut rows) = {
        let mut machine = shared.machine.write().expect("no holder of this lock panics");
        let mut rows = 0;
        // A snapshot may have taken its place meanwhile.
        if Arc::ptr_eq(machine.store(), &store) {
            rows = machine.flushed(&batch);
            shared.flushed.store(batch.state.applied.index.0, Ordering::Release);
        }
        let any = machine.has_unflushed(shared.durable());
        (Unflushed { any, bytes: machine.statistics().unflushed_bytes, took }, rows)
    };
    while rows > 0 {
        let portion = rows.min(PRUNE_ROWS_MAX);
        rows -= portion;
        let mut machine = shared.machine.write().expect("no holder of this lock panics");
        let goes_on = Arc::ptr_eq(machine.store(), &store) && machine.prune(portion);
        shared.note_stored_bytes(machine.stored_bytes());
        drop(machine);
        if !goes_on {
            break;
        }
        // Whoever waits for the machine would be woken only after it was taken again.
        std::thread::sleep(PRUNE_PAUSE);
    }
    Ok(Some(left))
}
