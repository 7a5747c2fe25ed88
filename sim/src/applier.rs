//! The applier of a node, and the flusher that carries what was applied over to the store.

use std::time::Duration;

use consensus::{Consensus, Index, Mutant, NodeId, Violation, mutant};
use kvcore::Outcome;
use kvcore::replica::ReplicaInput;
use kvcore::store::Store;

use crate::agenda::{Happening, Life};
use crate::cluster::Cluster;
use crate::model::Expected;
use crate::tenant;

/// The most entries that the applier takes at once.
const APPLY_ENTRIES_MAX: usize = 32;
/// The most bytes of rows that the flusher writes at once.
const FLUSH_BYTES_MAX: usize = 16 << 10;

impl<C: Consensus> Cluster<C> {
    /// The applier goes on if there is something for it, and nothing under way.
    pub(crate) fn go_on_applying(&mut self, life: Life) {
        let slow = self.nodes[&life.node].slow_disk.0.min(20);
        let process = self.process(life).expect("entries are applied by a process");
        let idle = process.unapplied.is_empty() && process.snapshots.installing.is_none();
        if process.applying || idle {
            return;
        }
        process.applying = true;
        let delay = self.surroundings.apply_delay.draw(&mut self.random) * slow;
        self.agenda.after(delay, Happening::Apply(life));
    }

    /// The applier takes some entries, and answers the clients whose writes they are.
    pub(crate) fn apply(&mut self, life: Life) -> Result<(), Violation> {
        let skips = mutant::on(Mutant::SkipsEntry) && self.random.one_in(50);
        let Some(process) = self.process(life) else { return Ok(()) };
        process.applying = false;
        if process.snapshots.installing.is_some() {
            self.swap_machine(life)?;
        }
        let Some(process) = self.process(life) else { return Ok(()) };
        let count = process.unapplied.len().min(APPLY_ENTRIES_MAX);
        let entries: Vec<_> = process.unapplied.drain(..count).collect();
        for mut entry in entries {
            if skips {
                entry.payload = consensus::Payload::Empty;
            }
            let process = self.process(life).expect("it still runs");
            let unchecked =
                mutant::on(Mutant::CheckedWhereAsked).then(|| tenant::unchecked(&entry, life.node));
            let applied = process.machine.apply(unchecked.as_ref().unwrap_or(&entry));
            let applied = applied.map_err(|error| {
                Violation::new("the store works", format!("{}: {error}", life.node))
            })?;
            let state = process.machine.state();
            let compared = applied.outcome == Outcome::DigestsCompared;
            let found = Expected::of(&applied.outcome, process.machine.store());
            self.trace.fold((entry.position, state));
            let expected = self.oracle.applied(life.node, &entry, &applied, found, state)?;
            self.counters.digests_compared += u64::from(compared);
            self.check_told(life, entry.index())?;
            self.answer_write(life, &applied, expected);
            self.note_leases()?;
        }
        self.end_late_alarms();
        let process = self.process(life).expect("it still runs");
        let progress = process.machine.take_progress();
        self.tell(life, ReplicaInput::Applied(progress));
        self.go_on_applying(life);
        Ok(())
    }

    /// The first to apply an entry tells of what that changed what the model tells; whoever comes later has
    /// the same state.
    fn check_told(&self, life: Life, index: Index) -> Result<(), Violation> {
        if index != self.oracle.applied_max() {
            return Ok(());
        }
        let process = self.nodes[&life.node].process.as_ref().expect("it still runs");
        self.oracle.model.check_changed(&process.machine).map_err(|what| told(life.node, &what))
    }

    /// A cluster at rest tells the same of every key at every node.
    pub(crate) fn check_told_at_rest(&self) -> Result<(), Violation> {
        self.nodes.iter().try_for_each(|(&id, node)| {
            let process = node.process.as_ref().expect("at rest all nodes run");
            self.oracle.model.check_stats(&process.machine).map_err(|what| told(id, &what))
        })
    }

    /// The flusher begins a write of the store, if there is something to write.
    pub(crate) fn flush_store(&mut self, life: Life) {
        let slow = self.nodes[&life.node].slow_disk.0.min(20);
        let durable = self.nodes[&life.node].durable();
        let ahead = mutant::on(Mutant::StoreAheadOfLog);
        let Some(process) = self.process(life) else { return };
        let durable = if ahead { process.machine.applied().index } else { durable };
        process.flushing = process.machine.flush_batch(durable, FLUSH_BYTES_MAX);
        let (happening, delay) = if process.flushing.is_some() {
            (Happening::StoreWritten(life), self.surroundings.store_delay.draw(&mut self.random))
        } else {
            (Happening::FlushStore(life), self.surroundings.flush_interval.draw(&mut self.random))
        };
        self.agenda.after(delay * slow, happening);
    }

    /// The store's write is done.
    pub(crate) fn store_written(&mut self, life: Life) -> Result<(), Violation> {
        let disk_fails = self.nodes[&life.node].disk.may_fail();
        let Some(process) = self.process(life) else { return Ok(()) };
        let Some(batch) = process.flushing.take() else {
            // A snapshot took the place of the store meanwhile.
            self.agenda.after(Duration::ZERO, Happening::FlushStore(life));
            return Ok(());
        };
        if let Err(error) = process.machine.store().write(&batch) {
            if disk_fails {
                self.stop_for_disk_failure(life.node);
                return Ok(());
            }
            return Err(Violation::new("the store works", format!("{}: {error}", life.node)));
        }
        let rows = process.machine.flushed(&batch);
        process.machine.prune(rows);
        self.counters.store_writes += 1;
        self.compact_log(life);
        let delay = self.surroundings.flush_interval.draw(&mut self.random);
        self.agenda.after(delay, Happening::FlushStore(life));
        Ok(())
    }
}

fn told(id: NodeId, what: &str) -> Violation {
    Violation::new("a key and its children are told of as the model tells", format!("{id}: {what}"))
}
