//! What the log says, taken together: the same laws hold when it is written and when it is read.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, Persist, Snapshot, Term};

/// No log comes near this entry: a century at a billion a second is fewer. A number beyond it is damage
/// that its checksum covers, and going on from there would only bring overflows.
const INDEX_MAX: Index = Index(1 << 62);

/// What all persists so far amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogState {
    pub(super) promise: Option<Bytes>,
    /// The index of the first entry of each term, of the entries that were forgotten too.
    pub(super) terms: BTreeMap<Index, Term>,
    pub(super) last: Index,
    pub(super) commit: Index,
    /// The last entry that was forgotten.
    pub(super) compacted: Index,
    /// The handle of the snapshot that was installed last; zero when there was none.
    pub(super) installed: u64,
}

impl LogState {
    /// Takes a persist into account, or says which law it breaks.
    pub(super) fn apply(&mut self, persist: &Persist) -> Result<(), String> {
        if let Some(snapshot) = &persist.install {
            self.install(snapshot)?;
        }
        if let Some(index) = persist.truncate_from {
            self.truncate(index)?;
        }
        for entry in &persist.entries {
            self.append(entry.index(), entry.term())?;
        }
        if let Some(promise) = &persist.promise {
            // A copy, because the original shares the memory of the batch that it came with.
            self.promise = Some(Bytes::copy_from_slice(promise));
        }
        if persist.commit > self.last {
            return Err(format!(
                "the commit position {} is never ahead of the last entry {}",
                persist.commit, self.last
            ));
        }
        self.commit = self.commit.max(persist.commit);
        if let Some(index) = persist.compact_to {
            self.compact(index)?;
        }
        Ok(())
    }

    /// Says which law a state breaks that was read.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { last, commit, compacted, .. } = self;
        check_index(*last)?;
        if compacted > commit || commit > last {
            return Err(format!(
                "what is forgotten (up to {compacted}) is committed (up to {commit}), and what is \
                 committed is in the log (up to {last})"
            ));
        }
        Ok(())
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        let index = snapshot.position.index;
        check_index(index)?;
        if index <= self.commit {
            let commit = self.commit;
            return Err(format!(
                "a snapshot at entry {index} replaces nothing that is committed (up to {commit})"
            ));
        }
        self.terms.clone_from(&snapshot.terms);
        (self.last, self.commit, self.compacted) = (index, index, index);
        self.installed = snapshot.handle;
        Ok(())
    }

    fn compact(&mut self, index: Index) -> Result<(), String> {
        if index > self.commit {
            let commit = self.commit;
            return Err(format!(
                "entry {index} is not committed (up to {commit}) and not forgotten"
            ));
        }
        self.compacted = self.compacted.max(index);
        Ok(())
    }

    fn truncate(&mut self, index: Index) -> Result<(), String> {
        if index > self.last.next() {
            let last = self.last;
            return Err(format!("no entry {index} can be removed from a log that ends at {last}"));
        }
        if index <= self.commit {
            let commit = self.commit;
            return Err(format!("entry {index} is committed (up to {commit}) and never removed"));
        }
        self.terms.split_off(&index);
        self.last = index.previous();
        Ok(())
    }

    fn append(&mut self, index: Index, term: Term) -> Result<(), String> {
        if index != self.last.next() {
            return Err(format!("entry {index} does not follow {} without a gap", self.last));
        }
        match self.terms.last_key_value() {
            Some((_, latest)) if term < *latest => {
                return Err(format!("entry {index} has term {term}, after an entry of {latest}"));
            }
            Some((_, latest)) if term == *latest => {}
            _ => {
                self.terms.insert(index, term);
            }
        }
        check_index(index)?;
        self.last = index;
        Ok(())
    }
}

fn check_index(index: Index) -> Result<(), String> {
    if index > INDEX_MAX {
        return Err(format!("no log has an entry {index}; the largest possible is {INDEX_MAX}"));
    }
    Ok(())
}

impl Wire for LogState {
    fn encode(&self, out: &mut BytesMut) {
        self.promise.is_some().encode(out);
        codec::put_bytes(out, self.promise.as_deref().unwrap_or_default());
        encode_terms(&self.terms, out);
        self.last.encode(out);
        self.commit.encode(out);
        self.compacted.encode(out);
        out.put_u64_le(self.installed);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let promised = bool::decode(input)?;
        let promise = Bytes::copy_from_slice(&codec::get_bytes(input)?);
        Ok(Self {
            promise: promised.then_some(promise),
            terms: decode_terms(input)?,
            last: Index::decode(input)?,
            commit: Index::decode(input)?,
            compacted: Index::decode(input)?,
            installed: codec::get_u64(input)?,
        })
    }
}

/// Bytes of encoded terms.
pub(super) fn terms_bytes(terms: &BTreeMap<Index, Term>) -> usize {
    4 + terms.len() * 16
}

pub(super) fn encode_terms(terms: &BTreeMap<Index, Term>, out: &mut BytesMut) {
    out.put_u32_le(u32::try_from(terms.len()).expect("a log has fewer terms than that"));
    for (first, term) in terms {
        first.encode(out);
        term.encode(out);
    }
}

pub(super) fn decode_terms(input: &mut Bytes) -> Result<BTreeMap<Index, Term>, CodecError> {
    let count = codec::get_u32(input)?;
    let mut terms = BTreeMap::new();
    for _ in 0..count {
        let first = Index::decode(input)?;
        let term = Term::decode(input)?;
        terms.insert(first, term);
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use consensus::{PersistSequence, Position};

    use super::*;

    fn persist() -> Persist {
        Persist {
            sequence: PersistSequence(0),
            install: None,
            compact_to: None,
            truncate_from: None,
            entries: Vec::new(),
            promise: None,
            commit: Index(0),
        }
    }

    #[test]
    fn an_entry_that_no_log_has_is_damage() {
        let install = |index: Index| {
            let terms = BTreeMap::from([(Index(1), Term(1))]);
            let position = Position { term: Term(1), index };
            let install = Some(Snapshot { position, terms, handle: 1 });
            let mut state = LogState::default();
            state
                .apply(&Persist { install, commit: index, ..persist() })
                .and_then(|()| state.check())
        };
        assert_eq!(install(INDEX_MAX), Ok(()));
        for index in [INDEX_MAX.next(), Index(u64::MAX)] {
            let problem = install(index).expect_err("beyond every log");
            assert!(problem.contains("no log has an entry"), "{problem}");
        }
    }

    #[test]
    fn a_state_that_contradicts_itself_is_damage() {
        let state = |last, commit, compacted| {
            let [last, commit, compacted] = [last, commit, compacted].map(Index);
            LogState { last, commit, compacted, ..LogState::default() }.check()
        };
        assert_eq!(state(9, 7, 3), Ok(()));
        assert!(state(9, 10, 3).is_err(), "committed beyond the end");
        assert!(state(9, 7, 8).is_err(), "forgotten before it was committed");
        assert!(state(u64::MAX, 7, 3).is_err(), "an entry that no log has");
    }
}
