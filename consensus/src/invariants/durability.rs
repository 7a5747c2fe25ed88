//! The check of the driver itself, and of what the protocol lets it send: nothing leaves before it
//! is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{View, Violation};
use crate::{
    Consensus, Index, NodeId, Persist, PersistSequence, Pledge, Position, Recovered, Snapshot, Term,
};

const LEAVES: &str = "nothing leaves before what it promises is durable";

/// What a promise says, as a node wrote or found it.
///
/// # Errors
/// When the protocol can not read it.
pub fn read_promise<C: Consensus>(
    id: NodeId,
    promise: Option<&Bytes>,
) -> Result<Option<Pledge>, Violation> {
    promise.cloned().map(C::read_promise).transpose().map_err(|error| {
        Violation::new("a promise can be read", format!("{id}: {promise:?}: {error}"))
    })
}

/// Follows the writes of one node and judges what leaves it, by the tag that it waited for and by
/// what it says. A driver under test calls it where a write is really durable and where a frame
/// really leaves, not where either is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durability {
    asked: PersistSequence,
    durable: PersistSequence,
    /// Writes that are not durable yet.
    under_way: VecDeque<Write>,
    /// The promises that were ever durable in this life, in order.
    promises: Vec<Pledge>,
    /// The durable log: the first index of every run of equal terms, and the last index.
    terms: BTreeMap<Index, Term>,
    last: Index,
    /// Entries that were durable in this life and then removed. What vouched for them was true when
    /// it became free to leave, and may leave later.
    removed: BTreeSet<Position>,
}

/// What a write makes durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    sequence: PersistSequence,
    install: Option<Snapshot>,
    truncate_from: Option<Index>,
    entries: Vec<Position>,
    promise: Option<Pledge>,
}

impl Durability {
    /// A node starts from what it found, of which this is the promise.
    ///
    /// # Errors
    /// When a promise that was durable is forgotten.
    pub fn started(
        &mut self,
        view: &View<'_>,
        recovered: &Recovered,
        promise: Pledge,
    ) -> Result<(), Violation> {
        let former = self.promises.last().copied().unwrap_or_default();
        let joined = view.joined.unwrap_or(promise.joined);
        let kept = follows(&promise, &former)
            && view.promised >= promise.promised
            && joined >= promise.joined;
        if !kept {
            return Err(Violation::new(
                "promises never go back, not even across a restart",
                format!(
                    "{} had {former:?} durable, found {promise:?}, and starts in {} having joined \
                     {joined}",
                    view.id, view.promised
                ),
            ));
        }
        *self = Self {
            promises: vec![promise],
            terms: recovered.terms.clone(),
            last: recovered.last,
            ..Self::default()
        };
        Ok(())
    }

    /// A write was handed to the disk, with what the promise in it says.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn asked(
        &mut self,
        id: NodeId,
        persist: &Persist,
        promise: Option<Pledge>,
    ) -> Result<(), Violation> {
        let sequence = persist.sequence;
        if sequence != self.asked.next() {
            return Err(Violation::new(
                "writes are numbered densely",
                format!("{id} writes {sequence} after {}", self.asked),
            ));
        }
        self.asked = sequence;
        self.under_way.push_back(Write {
            sequence,
            install: persist.install.clone(),
            truncate_from: persist.truncate_from,
            entries: persist.entries.iter().map(|entry| entry.position).collect(),
            promise,
        });
        Ok(())
    }

    /// Everything up to this write is on stable storage.
    ///
    /// # Errors
    /// When it was never asked for, or was durable before, or a promise in it goes back.
    pub fn completed(&mut self, id: NodeId, sequence: PersistSequence) -> Result<(), Violation> {
        if sequence > self.asked || sequence <= self.durable {
            return Err(Violation::new(
                "writes become durable once, in order",
                format!("{id} completes {sequence} after {} of {}", self.durable, self.asked),
            ));
        }
        self.durable = sequence;
        while let Some(write) = self.under_way.pop_front_if(|write| write.sequence <= sequence) {
            self.apply(id, write)?;
        }
        Ok(())
    }

    /// A message leaves that waited for this write and promises this much.
    ///
    /// # Errors
    /// When the write, or what is promised, is not durable.
    pub fn leaves(
        &self,
        id: NodeId,
        after: PersistSequence,
        pledge: &Pledge,
    ) -> Result<(), Violation> {
        if after > self.durable {
            let details = format!("{id} sends what waits for {after} when {} is", self.durable);
            return Err(Violation::new(LEAVES, details));
        }
        let promise = self.promises.last().copied().unwrap_or_default();
        let voted = |vote| {
            let same = |made: &&Pledge| made.promised == pledge.promised && made.vote == Some(vote);
            self.promises.iter().rev().find(same).is_some()
        };
        let kept = promise.promised >= pledge.promised
            && promise.joined >= pledge.joined
            && pledge.vote.is_none_or(voted)
            && (self.holds(pledge.last) || self.removed.contains(&pledge.last));
        if kept {
            return Ok(());
        }
        let (last, details) = (self.position(self.last), "its tag, which it did wait for,");
        Err(Violation::new(
            LEAVES,
            format!(
                "{id} sends {pledge:?}; durable is {promise:?} up to {last}; {details} {after}"
            ),
        ))
    }

    fn apply(&mut self, id: NodeId, write: Write) -> Result<(), Violation> {
        if let Some(snapshot) = write.install {
            // Up to the first run of terms that is another, both are the same.
            let runs = self.terms.iter().zip(&snapshot.terms);
            let same = runs.take_while(|(former, new)| former == new).count();
            let firsts =
                self.terms.keys().nth(same).into_iter().chain(snapshot.terms.keys().nth(same));
            let differs = firsts.min().copied().unwrap_or(snapshot.position.index.next());
            let differs = differs.min(snapshot.position.index.next());
            let former = (differs.0..=self.last.0).map(|it| self.position(Index(it)));
            let former: Vec<Position> = former.collect();
            (self.terms, self.last) = (snapshot.terms, snapshot.position.index);
            let gone: Vec<Position> =
                former.into_iter().filter(|&position| !self.holds(position)).collect();
            self.removed.extend(gone);
        }
        if let Some(from) = write.truncate_from {
            let mut index = from;
            while index <= self.last {
                self.removed.insert(self.position(index));
                index = index.next();
            }
            self.terms.split_off(&from);
            self.last = self.last.min(from.previous());
        }
        for position in write.entries {
            if self.position(self.last).term != position.term {
                self.terms.insert(position.index, position.term);
            }
            self.last = position.index;
        }
        let Some(promise) = write.promise else { return Ok(()) };
        let former = self.promises.last().copied().unwrap_or_default();
        if !follows(&promise, &former) {
            return Err(Violation::new(
                "promises never go back, not even across a restart",
                format!("{id} writes {promise:?} over {former:?}"),
            ));
        }
        self.promises.push(promise);
        Ok(())
    }

    fn holds(&self, position: Position) -> bool {
        position.index <= self.last && self.position(position.index) == position
    }

    /// The entry at an index within the durable log.
    fn position(&self, index: Index) -> Position {
        let run = self.terms.range(..=index).next_back();
        Position { term: run.map_or(Term(0), |(_, &term)| term), index }
    }
}

/// Whether a promise may come after another: nothing goes back, and a vote stands for its term.
fn follows(promise: &Pledge, former: &Pledge) -> bool {
    let stands = former.vote.is_none() || promise.vote == former.vote;
    promise.promised >= former.promised
        && promise.joined >= former.joined
        && (promise.promised > former.promised || stands)
}
