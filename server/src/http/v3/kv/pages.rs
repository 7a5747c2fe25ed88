//! A range, some keys at a time, all of them as of one revision.
//!
//! So the node never holds more than a page of a range, however long it is. A range that is not sorted by
//! key has to be held as a whole, and is bounded.

use std::sync::Arc;

use bytes::Bytes;
use kvcore::{KeyValue, Keys, Order, Range, RangeResult, Revision, SortBy};

use crate::http::App;
use crate::http::v3::context::{keys, revision_asked};
use crate::http::v3::error::{Refusal, Refused};
use crate::http::v3::message::{RangeRequest, SortOrder, SortTarget, signed};

/// The most keys of a page.
const PAGE_KEYS_MAX: usize = 4096;
/// The bytes of keys and values that end a page.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// The most keys of a range that is sorted by something else than the key.
const SORTED_KEYS_MAX: usize = 64 << 10;
/// And its bytes.
const SORTED_BYTES_MAX: usize = 32 << 20;

/// What a range request asks for, as far as it was not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    range: Range,
    selection: Selection,
}

/// Which keys of what was read are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    bounds: Bounds,
    /// How many keys may still be told.
    limit: usize,
}

impl Selection {
    /// The most keys that it takes to read: the limit counts what is within the bounds, and comes after
    /// the order.
    fn read_max(self) -> usize {
        if self.is_bounded() { usize::MAX } else { self.limit }
    }

    /// Whether keys are left out for their revisions.
    pub(super) fn is_bounded(self) -> bool {
        !self.bounds.contain_everything()
    }

    /// Leaves the others out. Returns whether the limit left some out.
    pub(super) fn select(&mut self, key_values: &mut Vec<KeyValue>) -> bool {
        key_values.retain(|found| self.bounds.contain(found));
        let left_out = key_values.len() > self.limit;
        key_values.truncate(self.limit);
        self.limit -= key_values.len();
        left_out
    }
}

/// Which keys of the range are told for their revisions.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    mod_revision: (i64, i64),
    create_revision: (i64, i64),
}

impl Bounds {
    fn of(request: &RangeRequest) -> Self {
        // 0 is as good as not given.
        let most = |given: i64| if given == 0 { i64::MAX } else { given };
        Self {
            mod_revision: (request.min_mod_revision, most(request.max_mod_revision)),
            create_revision: (request.min_create_revision, most(request.max_create_revision)),
        }
    }

    fn contain(self, found: &KeyValue) -> bool {
        let within =
            |(least, most), revision: Revision| (least..=most).contains(&signed(revision.0));
        within(self.mod_revision, found.mod_revision)
            && within(self.create_revision, found.create_revision)
    }

    fn contain_everything(self) -> bool {
        let all = |(least, most)| least <= 0 && most == i64::MAX;
        all(self.mod_revision) && all(self.create_revision)
    }
}

/// Some keys of a range, in order.
#[derive(Debug)]
pub(super) struct Page {
    /// The keys.
    pub(super) key_values: Vec<KeyValue>,
    /// Of the first page: how many keys the range has.
    pub(super) count: u64,
    /// The store's revision when the page was read.
    pub(super) revision: Revision,
    /// What there is besides.
    pub(super) rest: Rest,
}

/// What there is behind a page.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing that is asked for, but perhaps keys that the limit leaves out.
    Over { more: bool },
    /// Another page.
    Pages(Box<Pages>),
}

impl Pages {
    /// What a request asks for.
    ///
    /// # Errors
    /// When it says no key.
    pub(super) fn of(request: RangeRequest) -> Result<Self, Refused> {
        let bounds = Bounds::of(&request);
        let sort = match request.sort_target {
            SortTarget::Key => SortBy::Key,
            SortTarget::Version => SortBy::Version,
            SortTarget::Create => SortBy::CreateRevision,
            SortTarget::Mod => SortBy::ModRevision,
            SortTarget::Value => SortBy::Value,
        };
        let order = match request.sort_order {
            SortOrder::None | SortOrder::Ascend => Order::Ascending,
            SortOrder::Descend => Order::Descending,
        };
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let range = Range {
            at: revision_asked(request.revision),
            order,
            sort,
            keys_only: request.keys_only,
            count_only: request.count_only,
            ..Range::of(keys(request.key, &request.range_end)?)
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(Self { range, selection: Selection { bounds, limit } })
    }

    /// The range that a transaction reads, and what is told of it.
    pub(super) fn into_parts(self) -> (Range, Selection) {
        let limit = Some(self.selection.read_max()).filter(|limit| *limit < usize::MAX);
        (Range { limit, ..self.range }, self.selection)
    }

    /// The key, if it is only one.
    pub(super) fn one(&self) -> Option<&Bytes> {
        match &self.range.keys {
            Keys::One(key) => Some(key),
            _ => None,
        }
    }

    /// The revision to read at; `None` is now.
    pub(super) fn at(&self) -> Option<Revision> {
        self.range.at
    }

    /// The answer about one key.
    pub(super) fn page_of_one(&self, found: Option<KeyValue>, revision: Revision) -> Page {
        let count = u64::from(found.is_some());
        let wanted =
            found.filter(|found| !self.range.count_only && self.selection.bounds.contain(found));
        let key_values = wanted.map(|mut found| {
            if self.range.keys_only {
                found.value = Bytes::new();
            }
            found
        });
        let key_values = key_values.into_iter().collect();
        Page { key_values, count, revision, rest: Rest::Over { more: false } }
    }

    fn is_sorted_by_key(&self) -> bool {
        self.range.sort == SortBy::Key
    }

    /// The range of the next page, and its bound in bytes.
    fn next_range(&self) -> (Range, usize) {
        let (keys_max, bytes_max) = match self.is_sorted_by_key() {
            true => (PAGE_KEYS_MAX, PAGE_BYTES_MAX),
            false => (SORTED_KEYS_MAX, SORTED_BYTES_MAX),
        };
        let limit = self.selection.read_max().min(keys_max);
        (Range { limit: Some(limit), ..self.range.clone() }, bytes_max)
    }

    /// Makes a page of what was read.
    fn page(mut self, read: RangeResult, revision: Revision) -> Result<Page, Refused> {
        let RangeResult { mut key_values, count, more, next, at } = read;
        let (found, all) = (key_values.len(), !self.selection.is_bounded());
        if !self.is_sorted_by_key() && more && !(all && found >= self.selection.limit) {
            let what = format!(
                "sorted by something else than the key it has at most {SORTED_KEYS_MAX} keys and {} \
                 MiB; give a limit, or sort by key",
                SORTED_BYTES_MAX >> 20
            );
            return Err(Refused::with(Refusal::AnswerTooLarge, what));
        }
        let left_out = self.selection.select(&mut key_values);
        let rest = match next {
            // With bounds it takes another page to know whether the limit leaves anything out.
            Some(cursor) if !left_out && (self.selection.limit > 0 || !all) => {
                self.range.at = Some(at);
                self.range.cursor = Some(cursor);
                self.range.count = Some(count.saturating_sub(found as u64));
                Rest::Pages(Box::new(self))
            }
            _ => Rest::Over { more: left_out || more && all },
        };
        Ok(Page { key_values, count, revision, rest })
    }
}

/// Shows each key of a range to the caller, a page at a time.
pub(in crate::http::v3) async fn look_through(
    app: &Arc<App>,
    request: RangeRequest,
    mut look: impl FnMut(KeyValue),
) -> Result<(), Refused> {
    let mut rest = Some(Pages::of(request)?);
    while let Some(pages) = rest {
        let page = match app.read_page_at_once(&pages)? {
            Some(page) => page,
            None => app.off_thread(move |app| app.read_page(&pages)).await??,
        };
        page.key_values.into_iter().for_each(&mut look);
        rest = match page.rest {
            Rest::Pages(pages) => Some(*pages),
            Rest::Over { .. } => None,
        };
    }
    Ok(())
}

impl App {
    /// Reads the next page if that takes no time and no disk.
    pub(super) fn read_page_at_once(&self, pages: &Pages) -> Result<Option<Page>, Refused> {
        let (range, bytes_max) = pages.next_range();
        let read = self.read_range_at_once(&range, bytes_max)?;
        read.map(|(result, revision)| pages.clone().page(result, revision)).transpose()
    }

    /// Reads the next page.
    pub(super) fn read_page(&self, pages: &Pages) -> Result<Page, Refused> {
        let (range, bytes_max) = pages.next_range();
        let (result, revision) = self.read_range(&range, bytes_max)?;
        pages.clone().page(result, revision)
    }
}
