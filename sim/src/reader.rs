//! Clients that read many keys: in either order, sorted by whatever they like, without values, and in pages.
//! Whoever reads pages reads all of them at the revision of the first, at whatever nodes and with whatever
//! else done in between; when it is told that this revision was compacted, it begins anew.

use consensus::Random;
use kvcore::{Order, Range, RangeResult, SortBy};

use crate::client::Client;
use crate::history::{Action, Found, OperationResult, Query};

/// The bytes from which on an answer ends, for those who say so: a few rows, mostly.
const PAGE_BYTES_MAX: u64 = 600;

/// What a client knows of the pages that it reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    /// What it asks for next.
    next: Option<Query>,
}

impl Client {
    /// What it reads next: now and then the next page of what it reads in pages.
    pub(crate) fn query(&mut self) -> Query {
        if let Some(query) = self.reader.next.clone()
            && self.random.one_in(2)
        {
            return query;
        }
        let plain = self.plain_query();
        if !self.random.one_in(3) {
            return plain;
        }
        Query { range: arranged(plain.range, &mut self.random), ..plain }
            .with_bytes(&mut self.random)
    }

    /// Sees by an answer whether there is another page.
    pub(crate) fn turn_page(&mut self, action: &Action, result: &OperationResult) {
        let (Action::Read(query, _), OperationResult::Read(reading)) = (action, result) else {
            return;
        };
        if !query.is_next_page() && self.reader.next.is_some() {
            return;
        }
        match &reading.found {
            Found::Keys(found) => self.reader.next = next_page(query, found, &mut self.random),
            Found::Compacted(_) if query.is_next_page() => {
                let range = Range { at: None, cursor: None, count: None, ..query.range.clone() };
                self.reader.next = Some(Query { range, ..query.clone() });
            }
            // This node has not come so far: it asks again.
            Found::Compacted(_) | Found::Future => {}
        }
    }
}

impl Query {
    /// The same, now and then with an end by bytes, where the order allows to go on there.
    fn with_bytes(self, random: &mut Random) -> Self {
        let goes_on = self.range.sort == SortBy::Key && !self.range.keys_only;
        let ends = goes_on && random.one_in(3);
        let bytes = ends.then(|| 1 + random.below(PAGE_BYTES_MAX));
        Self { bytes_max: bytes.map(|bytes| usize::try_from(bytes).expect("few")), ..self }
    }
}

/// A range in some order.
pub(crate) fn arranged(range: Range, random: &mut Random) -> Range {
    let order = if random.one_in(2) { Order::Descending } else { Order::Ascending };
    let sort = match random.below(10) {
        0 => SortBy::Version,
        1 => SortBy::CreateRevision,
        2 => SortBy::ModRevision,
        3 => SortBy::Value,
        _ => SortBy::Key,
    };
    let limit = 1 + usize::try_from(random.below(4)).expect("4");
    let limit = if random.one_in(4) { range.limit } else { Some(limit) };
    let (keys_only, count_only) = (random.one_in(6), random.one_in(12));
    Range { order, sort, limit, keys_only, count_only, ..range }
}

/// What comes behind an answer, at the same revision. Sometimes its count is told, so that what is left need
/// not be counted again.
fn next_page(query: &Query, found: &RangeResult, random: &mut Random) -> Option<Query> {
    let cursor = found.next.clone()?;
    // A page on which there is no room for anything never ends.
    if found.key_values.is_empty() {
        return None;
    }
    // A wrong version may count less than it shows, which is for the model to judge.
    let left = found.count.saturating_sub(found.key_values.len() as u64);
    let count = random.one_in(2).then_some(left);
    let range = Range { at: Some(found.at), cursor: Some(cursor), count, ..query.range.clone() };
    Some(Query { range, ..query.clone() })
}
