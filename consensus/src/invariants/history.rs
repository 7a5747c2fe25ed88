//! Every entry ever seen, and the one committed sequence.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{View, Violation};
use crate::{Entry, Index, NodeId, Position, Snapshot, Term};

const SAME_ENTRY: &str = "equal positions are equal entries";
const SAME_PREFIX: &str = "equal positions have equal entries before them";
const SAME_COMMITTED: &str = "what is committed is the same everywhere";

/// What is known of the entry at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    /// The fingerprint of the entry, once it was seen in memory or on its way to disk.
    fingerprint: Option<u64>,
    /// The term of the entry before it. By induction equal positions then have equal prefixes.
    previous: Option<Term>,
}

/// The entries of all nodes, by position, and the committed sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History {
    /// Entries behind `settled`. Index first, so that settling cuts off the front.
    seen: BTreeMap<(Index, Term), Seen>,
    /// Where the history begins that is known entry by entry. All before has this term.
    beginning: Position,
    /// What is committed from there on: term and fingerprint.
    committed: Vec<(Term, Option<u64>)>,
    /// The last index committed by leaders of each term or earlier ones.
    committed_by: BTreeMap<Term, Index>,
    /// Every known node has committed up to here; nothing in front of it is compared by position
    /// any more, only with the committed sequence.
    settled: Index,
}

impl History {
    pub(super) fn begin_after(beginning: Position) -> Self {
        Self { beginning, settled: beginning.index, ..Self::default() }
    }

    pub(super) fn committed(&self) -> Index {
        Index(self.beginning.index.0 + self.committed.len() as u64)
    }

    /// How many entries are kept one by one.
    #[cfg(test)]
    pub(super) fn unsettled(&self) -> usize {
        self.seen.len()
    }

    /// The last entry that leaders of terms before this one committed.
    pub(super) fn committed_before(&self, term: Term) -> Position {
        let index =
            self.committed_by.range(..term).next_back().map_or(Index(0), |(_, &index)| index);
        Position { term: self.committed_term(index).unwrap_or(Term(0)), index }
    }

    /// Compares an entry on its way to disk with the one seen at the same position.
    pub(super) fn same_entry(&mut self, id: NodeId, entry: &Entry) -> Result<(), Violation> {
        self.note(id, entry.position, None, Some(fingerprint(entry)))
    }

    /// Compares the part of a node's log behind `common` with all that was seen before.
    pub(super) fn extend(&mut self, view: &View<'_>, common: Index) -> Result<(), Violation> {
        let log = view.log;
        let mut index = common.max(self.beginning.index).min(log.last().index);
        let mut previous = log.term(index).expect("indexes up to the last have a term");
        while index < log.last().index {
            index = index.next();
            let term = log.term(index).expect("indexes up to the last have a term");
            let fingerprint = log.entry(index).map(fingerprint);
            self.note(view.id, Position { term, index }, Some(previous), fingerprint)?;
            previous = term;
        }
        Ok(())
    }

    /// Compares what a node newly knows to be committed with the committed sequence, and continues
    /// the sequence with it when it is the first to know.
    pub(super) fn commit(
        &mut self,
        view: &View<'_>,
        known: Index,
        committing: Term,
    ) -> Result<(), Violation> {
        let mut index = known.max(self.beginning.index);
        while index < view.log.commit() {
            index = index.next();
            let term = view.log.term(index).expect("what is committed is in the log");
            if let Some(committed) = self.committed_term(index) {
                if committed != term {
                    return Err(Violation::new(
                        SAME_COMMITTED,
                        format!(
                            "{} commits {}, but {} is committed",
                            view.id,
                            Position { term, index },
                            Position { term: committed, index }
                        ),
                    ));
                }
                continue;
            }
            let seen = self.seen.get(&(index, term)).and_then(|seen| seen.fingerprint);
            self.committed.push((term, seen));
            self.committed_by.insert(committing, index);
            for (_, last) in self.committed_by.range_mut(committing..) {
                *last = index;
            }
        }
        Ok(())
    }

    /// Compares a delivered entry with the committed sequence.
    pub(super) fn is_committed(&self, id: NodeId, entry: &Entry) -> Result<(), Violation> {
        let committed = self.committed_at(entry.index());
        let equal = committed.is_some_and(|(term, expected)| {
            term == entry.term() && expected.is_none_or(|expected| expected == fingerprint(entry))
        });
        if equal {
            return Ok(());
        }
        Err(Violation::new(
            "deliveries are the committed entries, each once, in order",
            format!("{id} delivers {}, committed there is {committed:?}", entry.position),
        ))
    }

    /// Compares the terms that lead to a snapshot with the committed sequence.
    pub(super) fn is_committed_up_to(
        &self,
        id: NodeId,
        snapshot: &Snapshot,
    ) -> Result<(), Violation> {
        let last = snapshot.position.index;
        let ends = snapshot.terms.keys().skip(1).map(|first| first.previous());
        let ends = ends.chain(std::iter::once(last));
        for ((&first, &term), end) in snapshot.terms.iter().zip(ends) {
            let begun = self.beginning.index.min(end);
            for index in (first.max(begun).0..=end.0).map(Index) {
                if self.committed_term(index) != Some(term) {
                    return Err(Violation::new(
                        "a snapshot holds what was committed up to its position",
                        format!(
                            "{id} installs {}, with {} before it; committed there is {:?}",
                            snapshot.position,
                            Position { term, index },
                            self.committed_term(index)
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Every known node has committed up to here: forget the other entries in front.
    pub(super) fn settle(&mut self, settled: Index) {
        // In large steps, because each splits a tree.
        if settled.0 < self.settled.0 + 1024 {
            return;
        }
        self.settled = settled;
        self.seen = self.seen.split_off(&(settled.next(), Term(0)));
    }

    fn note(
        &mut self,
        id: NodeId,
        position: Position,
        previous: Option<Term>,
        fingerprint: Option<u64>,
    ) -> Result<(), Violation> {
        if position.index <= self.settled {
            return self.note_settled(id, position, fingerprint);
        }
        let key = (position.index, position.term);
        let seen = self.seen.entry(key).or_insert(Seen { fingerprint, previous });
        if differ(seen.fingerprint, fingerprint) {
            return Err(Violation::new(SAME_ENTRY, format!("{id} holds another {position}")));
        }
        if differ(seen.previous, previous) {
            return Err(Violation::new(
                SAME_PREFIX,
                format!(
                    "{id} has {position} behind an entry of {previous:?}, not {:?}",
                    seen.previous
                ),
            ));
        }
        seen.fingerprint = seen.fingerprint.or(fingerprint);
        seen.previous = seen.previous.or(previous);
        Ok(())
    }

    /// A node that comes back may hold old entries of deposed leaders in the settled part until its
    /// leader repairs it, so a different term is no violation here; the same term must be the same
    /// entry.
    fn note_settled(
        &self,
        id: NodeId,
        position: Position,
        fingerprint: Option<u64>,
    ) -> Result<(), Violation> {
        let (term, committed) =
            self.committed_at(position.index).expect("what is settled is committed");
        if term == position.term && differ(committed, fingerprint) {
            return Err(Violation::new(SAME_ENTRY, format!("{id} holds another {position}")));
        }
        Ok(())
    }

    fn committed_at(&self, index: Index) -> Option<(Term, Option<u64>)> {
        let Some(offset) = index.0.checked_sub(self.beginning.index.0 + 1) else {
            return (index > Index(0)).then_some((self.beginning.term, None));
        };
        self.committed.get(usize::try_from(offset).ok()?).copied()
    }

    pub(super) fn committed_term(&self, index: Index) -> Option<Term> {
        self.committed_at(index).map(|(term, _)| term)
    }
}

fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
}

fn fingerprint(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    hasher.finish()
}
