//! Applying what is committed, and answering those who asked this node for it.
//!
//! The applier is a thread beside the consensus loop, so that nothing that takes long to apply holds
//! up the protocol. Waking it costs more than applying one write, though, and on a quiet node every
//! write would pay for that. So the loop applies a few simple writes itself, as long as the applier
//! has nothing to do and the state machine is free: neither can make it wait.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, TryLockError};
use std::time::Duration;

use consensus::Entry;
use kvcore::{Applied, DecodedEntry, Machine, Outcome, Progress, RequestId, Revision};
use storage::RedbStore;
use tokio::sync::mpsc;

use super::driver::DriverInput;
use super::handle::Written;
use super::shared::{Ended, Shared};
use super::snapshots::ReceivedSnapshot;

/// Entries applied under one hold of the lock, so that readers come in between.
const APPLY_ENTRIES_MAX: usize = 256;
/// How often the applier looks whether the store has caught up.
const STORE_WAIT: Duration = Duration::from_millis(5);
/// Entries that the loop applies itself.
pub(super) const AT_ONCE_ENTRIES_MAX: usize = 8;

/// What is put in the applier's queue.
pub(crate) enum ApplierWork {
    /// Entries to be applied.
    Apply(Vec<Entry>),
    /// A state machine that takes the place of the present one.
    Install(Box<ReceivedSnapshot>),
}

/// Applies entries. There are two, that of the thread and that of the loop; at most one of them has
/// something to do at a time.
pub(crate) struct Applier {
    shared: Arc<Shared>,
    ended: Vec<(RequestId, Ended)>,
}

impl Applier {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, ended: Vec::new() }
    }

    /// Applies what comes, until nothing comes any more.
    pub(super) fn run<M>(
        mut self,
        queue: &Receiver<ApplierWork>,
        driver: &mpsc::Sender<DriverInput<M>>,
    ) -> Result<(), String> {
        while let Ok(work) = queue.recv() {
            let entries = match work {
                ApplierWork::Apply(entries) => entries,
                ApplierWork::Install(received) => {
                    let applied = self.install(*received)?;
                    self.tell(applied.revision);
                    if driver.blocking_send(DriverInput::Applied(applied)).is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            for portion in entries.chunks(APPLY_ENTRIES_MAX) {
                self.wait_for_the_store();
                let shared = Arc::clone(&self.shared);
                let mut machine = shared.machine.write().expect("no holder of this lock panics");
                let applied = self.apply(&mut machine, portion.iter().map(DecodedEntry::of))?;
                drop(machine);
                self.tell(applied.revision);
                if driver.blocking_send(DriverInput::Applied(applied)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Puts a received state machine in the place of the present one.
    fn install(&self, received: ReceivedSnapshot) -> Result<Progress, String> {
        let ReceivedSnapshot { snapshot, machine: mut new, decided } = received;
        let shared = &*self.shared;
        new.announce_leases();
        let applied = new.take_progress();
        shared.note(&applied);
        let mut machine = shared.machine.write().expect("no holder of this lock panics");
        assert!(applied.index > machine.applied().index, "a snapshot only replaces what is older");
        *shared.store.write().expect("no holder of this lock panics") = Arc::clone(new.store());
        let old = std::mem::replace(&mut *machine, new);
        shared.flushed.store(applied.index.0, Ordering::Release);
        drop(machine);
        // It takes a while to free a large index.
        drop(old);
        shared.receiver.installed(snapshot.handle)?;
        // The session may be gone with its link.
        let _ = decided.send(true);
        Ok(applied)
    }

    /// Lets the flusher catch up when too much waits for the store, so that memory stays bounded; the
    /// protocol delivers only so much ahead of what is applied. A node that stops does not wait: its
    /// flusher may be gone.
    fn wait_for_the_store(&self) {
        let is_behind = || {
            let machine = self.shared.machine.read().expect("no holder of this lock panics");
            machine.is_behind()
        };
        while is_behind() && !self.shared.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(STORE_WAIT);
        }
    }

    /// Applies the entries if that can be done at once: if they are few, each takes constant time
    /// and no look at the store, nothing waits for the store to catch up, and nobody uses the state
    /// machine just now.
    pub(super) fn try_apply(&mut self, entries: &[Entry]) -> Result<Option<Progress>, String> {
        if entries.len() > AT_ONCE_ENTRIES_MAX {
            return Ok(None);
        }
        let entries: Vec<_> = entries.iter().map(DecodedEntry::of).collect();
        if !entries.iter().all(DecodedEntry::takes_constant_time) {
            return Ok(None);
        }
        let shared = Arc::clone(&self.shared);
        let mut machine = match shared.machine.try_write() {
            Ok(machine) => machine,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Poisoned(_)) => panic!("no holder of this lock panics"),
        };
        if machine.is_behind() {
            return Ok(None);
        }
        let applied = self.apply(&mut machine, entries.into_iter())?;
        drop(machine);
        self.tell(applied.revision);
        Ok(Some(applied))
    }

    fn apply<'a>(
        &mut self,
        machine: &mut Machine<Arc<RedbStore>>,
        entries: impl ExactSizeIterator<Item = DecodedEntry<'a>>,
    ) -> Result<Progress, String> {
        let shared = &*self.shared;
        shared.metrics.applied_entries.inc_by(entries.len() as u64);
        for entry in entries {
            let applied = machine.apply_decoded(entry).map_err(|error| error.to_string())?;
            match applied.outcome {
                _ if applied.repeated => 0,
                Outcome::Put(_) => shared.metrics.applied_puts.inc(),
                Outcome::Deleted(_) => shared.metrics.applied_deletes.inc(),
                _ => 0,
            };
            let Some(header) = applied.header else { continue };
            if header.origin == shared.facts.id && header.incarnation == shared.incarnation {
                let Applied { outcome, revision, repeated, .. } = applied;
                let written = Written { outcome, revision, repeated };
                self.ended.push((header.request, Ended::Written(written)));
            }
        }
        let progress = machine.take_progress();
        shared.note(&progress);
        Ok(progress)
    }

    /// Wakes those who watch, and answers those who asked: whoever has an answer finds the revision
    /// that it names.
    fn tell(&mut self, revision: Revision) {
        self.shared.revisions.send_if_modified(|known| {
            let changed = *known != revision;
            *known = revision;
            changed
        });
        if !self.ended.is_empty() {
            self.shared.waiting.end(self.ended.drain(..));
        }
    }
}
