//! The threads beside the consensus loop: the log writer, the fetcher, the flusher.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use consensus::{Fetch, Persist};
use storage::{RealDisk, SpareRequest, SpareSegment, Wal, WalError, WalReader};
use tokio::sync::mpsc;

use super::driver::DriverInput;
use super::shared::Shared;

/// How often the store is brought up to date. Small and often: a commit's cost grows with what is
/// dirty.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of rows in one commit of the store.
pub(super) const FLUSH_BYTES_MAX: usize = 4 << 20;

/// Makes what the loop asks for durable: everything that waits in one write and one sync.
pub(super) fn write_log<M>(
    mut wal: Wal<RealDisk>,
    queue: &Receiver<Vec<Persist>>,
    spares: (&Sender<SpareRequest<RealDisk>>, &Receiver<Option<SpareSegment<RealDisk>>>),
    driver: &mpsc::Sender<DriverInput<M>>,
    shared: &Shared,
) -> Result<(), String> {
    let (wanted, prepared) = spares;
    while let Ok(mut persists) = queue.recv() {
        while let Ok(more) = queue.try_recv() {
            persists.extend(more);
        }
        let last = persists.last().expect("the loop sends no empty batch").sequence;
        let before = wal.statistics();
        wal.append(&persists).map_err(|error| error.to_string())?;
        let now = wal.statistics();
        let (fsyncs, fsync_time) = (now.syncs - before.syncs, now.sync_time - before.sync_time);
        shared.metrics.wal_written(now.bytes - before.bytes, fsyncs, fsync_time);
        let micros = u64::try_from(fsync_time.as_micros()).unwrap_or(u64::MAX);
        shared.last_fsync_micros.store(micros, Ordering::Relaxed);
        if driver.blocking_send(DriverInput::Persisted(last)).is_err() {
            return Ok(());
        }
        while let Ok(spare) = prepared.try_recv() {
            match spare {
                Some(spare) => wal.offer_spare(spare).map_err(|error| error.to_string())?,
                None => wal.spare_failed(),
            }
        }
        if wal.needs_spare() {
            // Without a spare the log makes its next segment itself, only slower.
            let _ = wanted.send(wal.request_spare());
        }
    }
    wal.close().map_err(|error| error.to_string())
}

/// Prepares segments of the log ahead of their use. `None` says that one could not be prepared.
pub(super) fn prepare_segments(
    wanted: &Receiver<SpareRequest<RealDisk>>,
    prepared: &Sender<Option<SpareSegment<RealDisk>>>,
) {
    while let Ok(request) = wanted.recv() {
        let spare = request.create().map_err(|error| {
            tracing::warn!("cannot prepare the next segment of the log: {error}");
        });
        if prepared.send(spare.ok()).is_err() {
            return;
        }
    }
}

/// Reads old entries from the log on disk.
pub(super) fn fetch<M>(
    mut reader: WalReader<RealDisk>,
    queue: &Receiver<Fetch>,
    driver: &mpsc::Sender<DriverInput<M>>,
) -> Result<(), String> {
    while let Ok(Fetch { purpose, first, last, bytes_max }) = queue.recv() {
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
        loop {
            let batch = {
                let machine = shared.machine.read().expect("no holder of this lock panics");
                machine.flush_batch(shared.durable(), FLUSH_BYTES_MAX)
            };
            let Some(batch) = batch else { break };
            let began = Instant::now();
            kvcore::Store::write(&*shared.store, &batch).map_err(|error| error.to_string())?;
            shared.metrics.store_commit_seconds.observe(began.elapsed().as_secs_f64());
            shared.metrics.store_rows_written.inc_by(batch.added.len() as u64);
            let mut machine = shared.machine.write().expect("no holder of this lock panics");
            machine.flushed(&batch);
        }
        if stopping {
            return Ok(());
        }
    }
}
