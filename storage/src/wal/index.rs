//! Where the entries of the log are: a sparse index in memory.
//!
//! The entries that count now were written in stretches: within a stretch nothing was truncated, so
//! reading the records one after another from any of its marks gives its entries in order. A
//! truncation cuts the stretches before it and begins a new one. Marks lie some tens of KiB of log
//! apart, so ten million entries need about a megabyte.

use consensus::Index;

use super::batch::Span;

/// A record's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordPlace {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The first entry of this stretch that the record holds.
    index: Index,
    place: RecordPlace,
}

#[derive(Debug)]
struct Stretch {
    first: Index,
    last: Index,
    /// In order; the first is of `first`.
    marks: Vec<Mark>,
    /// Bytes of records since the last mark.
    unmarked_bytes: u64,
}

/// A part of a range of entries, and the record to read from in order to find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) first: Index,
    pub(super) last: Index,
    pub(super) from: RecordPlace,
}

/// The sparse index.
#[derive(Debug)]
pub(super) struct LogIndex {
    stretches: Vec<Stretch>,
    /// The last entry before the stretches: forgotten, or replaced by a snapshot.
    base: Index,
    interval_bytes: u64,
    /// Whether entries were cut since the last were added: the next begin a new stretch, because
    /// the records of the last one go on with entries that no longer count.
    cut: bool,
}

impl LogIndex {
    pub(super) fn new(interval_bytes: u64, base: Index) -> Self {
        Self { stretches: Vec::new(), base, interval_bytes, cut: false }
    }

    /// The last entry; the last one before the log when it is empty.
    pub(super) fn last(&self) -> Index {
        self.stretches.last().map_or(self.base, |stretch| stretch.last)
    }

    /// The first entry that can be read; the one after the last when the log is empty.
    pub(super) fn first(&self) -> Index {
        self.stretches.first().map_or(self.base.next(), |stretch| stretch.first)
    }

    /// Takes in a record of that many bytes with that effect.
    pub(super) fn add(&mut self, span: Span, place: RecordPlace, bytes: u64) {
        if let Some(base) = span.installed {
            self.stretches.clear();
            self.base = base;
            self.cut = true;
        }
        if span.first <= self.last() {
            self.cut(span.first);
        }
        if span.first > span.last {
            return;
        }
        let mark = Mark { index: span.first, place };
        match self.stretches.last_mut() {
            Some(stretch) if !self.cut => {
                stretch.last = span.last;
                if stretch.unmarked_bytes >= self.interval_bytes {
                    stretch.marks.push(mark);
                    stretch.unmarked_bytes = 0;
                }
                stretch.unmarked_bytes += bytes;
            }
            _ => self.stretches.push(Stretch {
                first: span.first,
                last: span.last,
                marks: vec![mark],
                unmarked_bytes: bytes,
            }),
        }
        self.cut = false;
    }

    /// Forgets this entry and all after it.
    fn cut(&mut self, from: Index) {
        self.cut = true;
        while self.stretches.last().is_some_and(|stretch| stretch.first >= from) {
            self.stretches.pop();
        }
        if let Some(stretch) = self.stretches.last_mut()
            && stretch.last >= from
        {
            stretch.last = from.previous();
            stretch.marks.truncate(stretch.marks.partition_point(|mark| mark.index < from));
        }
        self.base = self.base.min(from.previous());
    }

    /// Forgets entries up to `index`, as far as no later one needs their marks. Returns the segment
    /// of the first record that is still needed; `None` when none is.
    pub(super) fn forget_to(&mut self, index: Index) -> Option<u64> {
        let gone = self.stretches.partition_point(|stretch| stretch.last <= index);
        if let Some(last) = self.stretches.drain(..gone).next_back() {
            self.base = last.last;
        }
        let stretch = self.stretches.first_mut()?;
        let needed = stretch.marks.partition_point(|mark| mark.index <= index.next());
        stretch.marks.drain(..needed.saturating_sub(1));
        let mark = stretch.marks[0];
        if mark.index > stretch.first {
            stretch.first = mark.index;
            self.base = mark.index.previous();
        }
        Some(mark.place.segment)
    }

    /// The segment of the first record that is needed once the entries up to `index` are forgotten.
    pub(super) fn needed_after(&self, index: Index) -> Option<u64> {
        let stretch = self.stretches.iter().find(|stretch| stretch.last > index)?;
        let after = stretch.marks.partition_point(|mark| mark.index <= index.next());
        Some(stretch.marks[after.max(1) - 1].place.segment)
    }

    /// The last entry before those that are surely in this segment or a later one.
    pub(super) fn last_before(&self, segment: u64) -> Index {
        for stretch in &self.stretches {
            let at = stretch.marks.partition_point(|mark| mark.place.segment < segment);
            if let Some(mark) = stretch.marks.get(at) {
                return mark.index.previous();
            }
        }
        self.last()
    }

    /// Where to read the entries from `first` to `last`, as far as they exist, in order.
    pub(super) fn plan(&self, first: Index, last: Index) -> Vec<Piece> {
        let start = self.stretches.partition_point(|stretch| stretch.last < first);
        self.stretches[start..]
            .iter()
            .take_while(|stretch| stretch.first <= last)
            .map(|stretch| {
                let first = first.max(stretch.first);
                let after = stretch.marks.partition_point(|mark| mark.index <= first);
                let mark = stretch.marks[after - 1];
                Piece { first, last: last.min(stretch.last), from: mark.place }
            })
            .collect()
    }

    /// How many marks there are: what the memory grows with.
    #[cfg(test)]
    fn marks(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.marks.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span { installed: None, first: Index(first), last: Index(last) }
    }

    fn place(offset: u64) -> RecordPlace {
        RecordPlace { segment: 1, offset }
    }

    #[test]
    fn marks_are_sparse() {
        let mut index = LogIndex::new(1000, Index(0));
        for entry in 1..=10_000 {
            index.add(span(entry, entry), place(entry * 100), 100);
        }
        assert_eq!(index.marks(), 1000);
        let plan = index.plan(Index(5005), Index(20_000));
        assert_eq!(plan.len(), 1);
        assert_eq!((plan[0].first, plan[0].last), (Index(5005), Index(10_000)));
        assert!(plan[0].from.offset <= 500_500 && plan[0].from.offset > 499_000);
    }

    #[test]
    fn a_cut_begins_a_new_stretch() {
        let mut index = LogIndex::new(1000, Index(0));
        index.add(span(1, 10), place(0), 100);
        index.add(span(11, 20), place(100), 100);
        index.add(span(5, 6), place(200), 100);
        let piece = |first, last, offset| Piece {
            first: Index(first),
            last: Index(last),
            from: place(offset),
        };
        assert_eq!(index.plan(Index(1), Index(99)), [piece(1, 4, 0), piece(5, 6, 200)]);
        assert_eq!(index.last(), Index(6));
        index.add(span(1, 0), place(300), 100);
        assert_eq!(index.plan(Index(1), Index(99)), []);
        assert_eq!(index.last(), Index(0));
        index.add(span(1, 3), place(400), 100);
        assert_eq!(index.plan(Index(2), Index(2)), [piece(2, 2, 400)]);
        index.add(span(3, 2), place(500), 100);
        index.add(span(3, 3), place(600), 100);
        assert_eq!(index.plan(Index(2), Index(3)), [piece(2, 2, 400), piece(3, 3, 600)]);
    }
}
