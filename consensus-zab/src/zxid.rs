//! ZAB's positions: epochs, zxids, and the bridge between a zxid and the dense log index.
//!
//! A zxid is 64 bits: the epoch of the leader that proposed the transaction, then a counter that
//! starts anew in each epoch. A log that many parts share needs one dense index instead. The bridge
//! is the *base* of an epoch: the index of the last entry before the epoch's first one. There is one
//! leader per epoch and its initial history is fixed, so the base is the same on every server, and
//!
//! ```text
//! index = base(epoch) + counter
//! ```
//!
//! The zxid `(epoch, 0)` is never a transaction. It names the NEWLEADER proposal.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, Log, Position, Term};

/// How far an epoch may be beyond the latest that a server knows.
const EPOCH_LEAP_MAX: u32 = 1 << 24;

/// The number of a leader's reign: the upper half of a zxid. Zero is before the first leader.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch after this one, or `None` at the end of the 32-bit range.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// Whether this epoch may be the next that a server hears of whose latest is `known`. An
    /// accepted epoch is durable and can only grow, so that one damaged or hostile frame could use
    /// up all epochs for ever. A server would have to be away for nineteen days of ten elections a
    /// second before a true epoch looked like that.
    pub(crate) fn is_plausible_after(self, known: Self) -> bool {
        self.0 <= known.0.saturating_add(EPOCH_LEAP_MAX)
    }

    /// The epoch as the shared contract names it.
    #[must_use]
    pub fn term(self) -> Term {
        Term(u64::from(self.0))
    }

    /// The epoch of that number, or `None` when it needs more than 32 bits.
    #[must_use]
    pub fn from_term(term: Term) -> Option<Self> {
        u32::try_from(term.0).ok().map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for Epoch {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_u32(input).map(Self)
    }
}

/// A transaction's identity: epoch, then counter. The order is by epoch, then by counter.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid {
    /// The epoch of the leader that proposed the transaction.
    pub epoch: Epoch,
    /// The transaction's number within the epoch, from 1.
    pub counter: u32,
}

impl Zxid {
    /// The zxid before every transaction.
    pub const ZERO: Self = Self { epoch: Epoch(0), counter: 0 };

    /// The name of the NEWLEADER proposal of an epoch.
    #[must_use]
    pub fn new_leader(epoch: Epoch) -> Self {
        Self { epoch, counter: 0 }
    }

    /// The zxid of the entry at `index`, `None` when its counter exceeds 32 bits or the index is not
    /// behind the base.
    #[must_use]
    pub fn at(epoch: Epoch, base: Index, index: Index) -> Option<Self> {
        let counter = u32::try_from(index.0.checked_sub(base.0)?).ok()?;
        Some(Self { epoch, counter })
    }

    /// The 64 bits: `epoch << 32 | counter`.
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.epoch.0) << 32 | u64::from(self.counter)
    }

    /// The zxid of these 64 bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let halves = |value: u64| u32::try_from(value & u64::from(u32::MAX)).expect("masked");
        Self { epoch: Epoch(halves(bits >> 32)), counter: halves(bits) }
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.bits())
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for Zxid {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.bits());
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_u64(input).map(Self::from_bits)
    }
}

/// A zxid together with the dense index that it stands for, so that a receiver need not know the
/// base of the epoch yet.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPoint {
    /// What the protocol calls it.
    pub zxid: Zxid,
    /// Where it is in the log.
    pub index: Index,
}

impl LogPoint {
    /// The point as the shared contract names it.
    #[must_use]
    pub fn position(self) -> Position {
        Position { term: self.zxid.epoch.term(), index: self.index }
    }

    /// Whether this is a point of the log.
    pub(crate) fn is_in(self, log: &Log) -> bool {
        self.index <= log.last().index && Self::of(log, self.index) == self
    }

    /// The point at `index` of this log.
    ///
    /// # Panics
    /// If the log does not reach that far, or holds an epoch or counter of more than 32 bits, which
    /// is checked at start and before each append.
    #[must_use]
    pub fn of(log: &Log, index: Index) -> Self {
        let term = log.term(index).expect("the point is in the log");
        let epoch = Epoch::from_term(term).expect("epochs have 32 bits");
        let base = log.first_of_term_at(index).previous();
        let zxid = Zxid::at(epoch, base, index).expect("counters have 32 bits");
        Self { zxid, index }
    }
}

impl fmt::Display for LogPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.zxid, f)
    }
}

impl fmt::Debug for LogPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.zxid, self.index)
    }
}

impl Wire for LogPoint {
    fn encode(&self, out: &mut BytesMut) {
        self.zxid.encode(out);
        self.index.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(Self { zxid: Zxid::decode(input)?, index: Index::decode(input)? })
    }
}

/// Which epochs a log holds entries of, and the last index of each: all that a leader must know of a
/// learner's log to find where the two part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EpochTable(Vec<(Epoch, Index)>);

impl EpochTable {
    /// The table of a log.
    ///
    /// # Panics
    /// If the log holds an epoch of more than 32 bits, which is checked at start.
    #[must_use]
    pub fn of(log: &Log) -> Self {
        let firsts = log.terms().iter();
        let lasts = log.terms().keys().skip(1).map(|first| first.previous());
        let lasts = lasts.chain(std::iter::once(log.last().index));
        Self(
            firsts
                .zip(lasts)
                .map(|((_, &term), last)| {
                    (Epoch::from_term(term).expect("epochs have 32 bits"), last)
                })
                .collect(),
        )
    }

    /// A table from its rows, if epochs and indexes both ascend.
    #[must_use]
    pub fn from_rows(rows: Vec<(Epoch, Index)>) -> Option<Self> {
        let ascends = rows.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let positive = rows.first().is_none_or(|&(epoch, last)| epoch.0 > 0 && last.0 > 0);
        (ascends && positive).then_some(Self(rows))
    }

    /// The last entry of the log that the table describes.
    #[must_use]
    pub fn last(&self) -> LogPoint {
        let Some(&(epoch, index)) = self.0.last() else {
            return LogPoint::default();
        };
        let base = self.0.len().checked_sub(2).map_or(Index(0), |before| self.0[before].1);
        let zxid = Zxid::at(epoch, base, index).unwrap_or(Zxid { epoch, counter: u32::MAX });
        LogPoint { zxid, index }
    }

    /// The index of the last entry that both logs hold.
    ///
    /// Two logs that hold the same entry agree on everything before it, because a learner takes over
    /// its leader's history before it takes an entry of it. So the runs of equal epochs agree one
    /// after the other until the common prefix ends, and no entry needs to be looked at.
    #[must_use]
    pub fn common_prefix(&self, other: &Self) -> Index {
        let mut common = Index(0);
        for (&(epoch, last), &(other_epoch, other_last)) in self.0.iter().zip(&other.0) {
            if epoch != other_epoch {
                break;
            }
            common = last.min(other_last);
            if last != other_last {
                break;
            }
        }
        common
    }
}

impl Wire for EpochTable {
    fn encode(&self, out: &mut BytesMut) {
        codec::put_list(out, &self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Self::from_rows(codec::get_list(input)?).ok_or(CodecError::Invalid("epoch table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_zxid_is_epoch_then_counter() {
        let zxid = Zxid { epoch: Epoch(3), counter: 0x29 };
        assert_eq!(zxid.to_string(), "0x300000029");
        assert_eq!(zxid.bits(), 0x3_0000_0029);
        assert_eq!(Zxid::from_bits(zxid.bits()), zxid);
        assert!(Zxid { epoch: Epoch(4), counter: 0 } > Zxid { epoch: Epoch(3), counter: u32::MAX });
    }

    #[test]
    fn a_counter_never_wraps() {
        let base = Index(7);
        let last = Index(7 + u64::from(u32::MAX));
        assert_eq!(Zxid::at(Epoch(1), base, last).map(|zxid| zxid.counter), Some(u32::MAX));
        assert_eq!(Zxid::at(Epoch(1), base, last.next()), None);
        assert_eq!(Epoch(u32::MAX).next(), None);
    }

    #[test]
    fn the_table_of_disjoint_epochs_has_nothing_in_common() {
        let table = |rows: &[(u32, u64)]| {
            EpochTable::from_rows(rows.iter().map(|&(e, i)| (Epoch(e), Index(i))).collect())
                .expect("ascending")
        };
        assert_eq!(table(&[(1, 5)]).common_prefix(&table(&[(2, 5)])), Index(0));
        // The learner's epoch 2 wrote what no quorum ever saw; the leader went from 1 to 3.
        assert_eq!(
            table(&[(1, 5), (3, 6)]).common_prefix(&table(&[(1, 7), (2, 9)])),
            Index(5),
            "the shorter run of the last common epoch"
        );
        assert_eq!(table(&[(1, 5), (3, 9)]).common_prefix(&table(&[(1, 5), (2, 9)])), Index(5));
        assert_eq!(table(&[]).common_prefix(&table(&[(1, 5)])), Index(0));
    }

    #[test]
    fn a_table_that_does_not_ascend_is_refused() {
        for rows in [
            vec![(Epoch(2), Index(1)), (Epoch(1), Index(2))],
            vec![(Epoch(1), Index(2)), (Epoch(2), Index(2))],
            vec![(Epoch(0), Index(1))],
            vec![(Epoch(1), Index(0))],
        ] {
            assert_eq!(EpochTable::from_rows(rows), None);
        }
    }

    /// Histories as leaders make them: each new one starts from a prefix of an earlier one and goes
    /// on in an epoch of its own.
    fn histories(steps: &[(usize, usize, usize)]) -> Vec<Vec<Epoch>> {
        let mut histories = vec![Vec::new()];
        for (number, &(parent, kept, added)) in steps.iter().enumerate() {
            let parent: &Vec<Epoch> = &histories[parent % histories.len()];
            let mut history = parent[..kept.min(parent.len())].to_vec();
            let epoch = Epoch(u32::try_from(number + 1).expect("small"));
            history.extend(std::iter::repeat_n(epoch, added));
            histories.push(history);
        }
        histories
    }

    fn table_of(history: &[Epoch]) -> EpochTable {
        let mut rows: Vec<(Epoch, Index)> = Vec::new();
        for (offset, &epoch) in history.iter().enumerate() {
            let index = Index(offset as u64 + 1);
            match rows.last_mut() {
                Some(last) if last.0 == epoch => last.1 = index,
                _ => rows.push((epoch, index)),
            }
        }
        EpochTable::from_rows(rows).expect("histories ascend")
    }

    proptest! {
        #[test]
        fn the_common_prefix_is_that_of_the_full_logs(
            steps in prop::collection::vec((0..8usize, 0..12usize, 0..4usize), 1..10),
            cuts in prop::collection::vec(0..14usize, 11),
        ) {
            let logs: Vec<Vec<Epoch>> = histories(&steps)
                .into_iter()
                .zip(cuts)
                .map(|(history, cut)| history[..cut.min(history.len())].to_vec())
                .collect();
            for a in &logs {
                for b in &logs {
                    let naive = a.iter().zip(b).take_while(|(a, b)| a == b).count();
                    let found = table_of(a).common_prefix(&table_of(b));
                    prop_assert_eq!(found, Index(naive as u64), "{:?} and {:?}", a, b);
                }
            }
        }

        #[test]
        fn a_table_survives_the_wire(
            steps in prop::collection::vec((0..8usize, 0..12usize, 0..4usize), 1..10),
        ) {
            for history in histories(&steps) {
                let table = table_of(&history);
                prop_assert_eq!(EpochTable::from_bytes(table.to_bytes()), Ok(table));
            }
        }
    }
}
