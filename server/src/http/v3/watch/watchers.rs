//! The watches of a stream, and how far each of them is.
//!
//! Watches that are equally far share a [`Feed`], which is pulled from the state machine once for all of
//! them. Where one catches up with another they become one, so that in quiet times all watches of a
//! stream are one feed: a write costs one pull, and each of its events is matched with the keys that are
//! watched. A watch from the past begins with a feed of its own; so does one from the future, which is
//! met by the others when they are there.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use kvcore::{Keys, Revision, WatchFilter};

/// The most watches of a stream.
pub(super) const WATCHERS_MAX: usize = 16_384;

/// The number of a watch on its stream.
pub(super) type WatchId = i64;

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watcher {
    /// What it wants to hear of.
    pub(super) filter: WatchFilter,
    /// Whether long messages may be split.
    pub(super) fragment: bool,
    /// Whether it is told from time to time that nothing happened.
    pub(super) progress: bool,
    /// Whether it was told something since.
    pub(super) told: bool,
}

/// The watches of a stream.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    all: BTreeMap<WatchId, Watcher>,
    /// By the revision that each is to be pulled from.
    feeds: BTreeMap<Revision, Feed>,
    next_id: WatchId,
    /// Those that are told from time to time that nothing happened.
    progressing: BTreeSet<WatchId>,
}

impl Watchers {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A number that is not in use; the one asked for, unless that is 0. `None` if it is in use, or is the
    /// -1 that stands for no watch.
    pub(super) fn free_id(&mut self, asked: WatchId) -> Option<WatchId> {
        if asked != 0 {
            return (asked != -1 && !self.all.contains_key(&asked)).then_some(asked);
        }
        while self.all.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    /// Adds a watch from a revision on.
    pub(super) fn add(&mut self, id: WatchId, watcher: Watcher, from: Revision) {
        assert!(self.all.len() < WATCHERS_MAX, "the watches of a stream are bounded");
        self.feeds.entry(from).or_default().add(id, &watcher.filter);
        if watcher.progress {
            self.progressing.insert(id);
        }
        let before = self.all.insert(id, watcher);
        assert!(before.is_none(), "a watch has a number of its own");
    }

    /// Ends a watch. Returns whether there was one.
    pub(super) fn remove(&mut self, id: WatchId) -> bool {
        let Some(watcher) = self.all.remove(&id) else { return false };
        self.progressing.remove(&id);
        let feed = self.feeds.iter_mut().find_map(|(next, feed)| {
            feed.remove(id, &watcher.filter.keys).then(|| (*next, feed.is_empty()))
        });
        let (next, empty) = feed.expect("each watch is in one feed");
        if empty {
            self.feeds.remove(&next);
        }
        true
    }

    /// A watch.
    pub(super) fn get_mut(&mut self, id: WatchId) -> &mut Watcher {
        self.all.get_mut(&id).expect("who is told something is there")
    }

    /// The watches that are told from time to time that nothing happened.
    pub(super) fn progressing(&self) -> impl Iterator<Item = WatchId> {
        self.progressing.iter().copied()
    }

    /// The feed that is furthest back, and the one that is furthest ahead, of those that this revision
    /// has something for.
    pub(super) fn ready(&self, revision: Revision) -> Option<(Revision, Revision)> {
        let mut ready = self.feeds.range(..=revision).map(|(next, _)| *next);
        let first = ready.next()?;
        Some((first, ready.next_back().unwrap_or(first)))
    }

    /// The first revision that any watch still wants to hear of.
    pub(super) fn next(&self) -> Option<Revision> {
        self.feeds.first_key_value().map(|(next, _)| *next)
    }

    /// Up to where everything was told to every watch; `None` if some want less than others were told.
    pub(super) fn told_up_to(&self, revision: Revision) -> Option<Revision> {
        let told = Revision(revision.0 + 1);
        self.feeds.keys().all(|next| *next == told).then_some(revision)
    }

    /// Whether the watch was told everything up to a revision, and wants no less.
    pub(super) fn is_told(&self, id: WatchId, revision: Revision) -> bool {
        let filter = &self.all[&id].filter;
        let feed = self.feeds.get(&Revision(revision.0 + 1));
        feed.is_some_and(|feed| feed.contains(id, &filter.keys))
    }

    /// The feed at a revision, and the revision where the next one is.
    pub(super) fn feed(&self, next: Revision) -> (&Feed, Option<Revision>) {
        let after = self.feeds.range(Revision(next.0 + 1)..).next();
        (&self.feeds[&next], after.map(|(next, _)| *next))
    }

    /// The watches of a feed that want to hear of the change of a key.
    pub(super) fn wanting(
        &self,
        feed: Revision,
        key: &[u8],
        is_put: bool,
        mut tell: impl FnMut(WatchId),
    ) {
        self.feeds[&feed].matching(key, |id| {
            let filter = &self.all[&id].filter;
            if if is_put { filter.puts } else { filter.deletes } {
                tell(id);
            }
        });
    }

    /// A feed was pulled up to `to`, where it may meet the next one.
    pub(super) fn advance(&mut self, feed: Revision, to: Revision) {
        let moved = self.feeds.remove(&feed).expect("only what is there is pulled");
        match self.feeds.entry(to) {
            Entry::Vacant(place) => {
                place.insert(moved);
            }
            Entry::Occupied(mut place) => place.get_mut().join(moved),
        }
    }

    /// Ends all watches of a feed.
    pub(super) fn remove_feed(&mut self, feed: Revision) -> Vec<WatchId> {
        let mut ids = self.feeds.remove(&feed).map(Feed::into_ids).unwrap_or_default();
        ids.sort_unstable();
        for id in &ids {
            self.all.remove(id);
            self.progressing.remove(id);
        }
        ids
    }
}

/// Watches that are equally far.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Those of one key.
    ones: HashMap<Bytes, Vec<WatchId>>,
    /// Those of many.
    spans: Vec<(WatchId, Keys)>,
    /// What all of them together want to hear of, and perhaps more.
    filter: Option<WatchFilter>,
}

impl Feed {
    /// What is to be pulled for it.
    pub(super) fn filter(&self) -> WatchFilter {
        self.filter.clone().expect("a feed has a watch")
    }

    fn is_empty(&self) -> bool {
        self.ones.is_empty() && self.spans.is_empty()
    }

    fn add(&mut self, id: WatchId, filter: &WatchFilter) {
        match &filter.keys {
            Keys::One(key) => self.ones.entry(key.clone()).or_default().push(id),
            keys => self.spans.push((id, keys.clone())),
        }
        self.widen(filter);
    }

    fn widen(&mut self, filter: &WatchFilter) {
        let Some(own) = &mut self.filter else {
            self.filter = Some(filter.clone());
            return;
        };
        own.puts |= filter.puts;
        own.deletes |= filter.deletes;
        own.previous |= filter.previous;
        if own.keys != filter.keys {
            own.keys = hull(&own.keys, &filter.keys);
        }
    }

    fn remove(&mut self, id: WatchId, keys: &Keys) -> bool {
        let Keys::One(key) = keys else {
            let place = self.spans.iter().position(|(found, _)| *found == id);
            return place.map(|place| self.spans.swap_remove(place)).is_some();
        };
        let Some(ids) = self.ones.get_mut(key) else { return false };
        let Some(place) = ids.iter().position(|found| *found == id) else { return false };
        ids.swap_remove(place);
        if ids.is_empty() {
            self.ones.remove(key);
        }
        true
    }

    fn contains(&self, id: WatchId, keys: &Keys) -> bool {
        match keys {
            Keys::One(key) => self.ones.get(key).is_some_and(|ids| ids.contains(&id)),
            _ => self.spans.iter().any(|(found, _)| *found == id),
        }
    }

    fn matching(&self, key: &[u8], mut tell: impl FnMut(WatchId)) {
        for id in self.ones.get(key).into_iter().flatten() {
            tell(*id);
        }
        for (id, keys) in &self.spans {
            if keys.contains(key) {
                tell(*id);
            }
        }
    }

    fn join(&mut self, other: Self) {
        for (key, ids) in other.ones {
            self.ones.entry(key).or_default().extend(ids);
        }
        self.spans.extend(other.spans);
        if let Some(filter) = &other.filter {
            self.widen(filter);
        }
    }

    fn into_ids(self) -> Vec<WatchId> {
        let ones = self.ones.into_values().flatten();
        ones.chain(self.spans.into_iter().map(|(id, _)| id)).collect()
    }
}

/// An interval around two selections of keys.
fn hull(one: &Keys, other: &Keys) -> Keys {
    let bounds = |keys: &Keys| match keys {
        Keys::One(key) => (key.clone(), Some(Bytes::from([&key[..], b"\0"].concat()))),
        Keys::Prefix(prefix) => (prefix.clone(), None),
        Keys::Between { from, to } => (from.clone(), to.clone()),
    };
    let ((from, to), (other_from, other_to)) = (bounds(one), bounds(other));
    // Without an end is after every end.
    let to = to.zip(other_to).map(|(to, other)| to.max(other));
    Keys::Between { from: from.min(other_from), to }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &'static str) -> Keys {
        Keys::One(key.into())
    }

    fn between(from: &'static str, to: Option<&'static str>) -> Keys {
        Keys::Between { from: from.into(), to: to.map(Bytes::from) }
    }

    fn watcher(keys: Keys) -> Watcher {
        let filter = WatchFilter::of(keys);
        Watcher { filter, fragment: false, progress: false, told: false }
    }

    fn wanting(watchers: &Watchers, feed: u64, key: &str) -> Vec<WatchId> {
        let mut ids = Vec::new();
        watchers.wanting(Revision(feed), key.as_bytes(), true, |id| ids.push(id));
        ids.sort_unstable();
        ids
    }

    #[test]
    fn numbers_count_up_from_0_and_pass_over_those_that_clients_chose() {
        let mut watchers = Watchers::default();
        for (asked, expected) in [
            (0, Some(0)),
            (2, Some(2)),
            (0, Some(1)),
            (0, Some(3)),
            (2, None),
            (-1, None),
            (-7, Some(-7)),
        ] {
            let id = watchers.free_id(asked);
            assert_eq!(id, expected);
            if let Some(id) = id {
                watchers.add(id, watcher(one("k")), Revision(2));
            }
        }
        assert!(watchers.remove(2) && !watchers.remove(2));
        assert_eq!(watchers.free_id(2), Some(2));
        assert_eq!(watchers.free_id(0), Some(4));
    }

    #[test]
    fn watches_that_are_equally_far_are_pulled_together_and_those_that_meet_stay_together() {
        let mut watchers = Watchers::default();
        watchers.add(0, watcher(one("k")), Revision(8));
        watchers.add(1, watcher(between("a", Some("c"))), Revision(8));
        watchers.add(2, watcher(one("k")), Revision(3));
        watchers.add(3, watcher(one("k")), Revision(20));
        assert_eq!(watchers.ready(Revision(7)), Some((Revision(3), Revision(3))));
        assert_eq!(watchers.ready(Revision(9)), Some((Revision(3), Revision(8))));
        assert_eq!(watchers.ready(Revision(2)), None);
        assert_eq!(wanting(&watchers, 8, "k"), [0]);
        assert_eq!(wanting(&watchers, 8, "b"), [1]);
        assert_eq!(wanting(&watchers, 3, "k"), [2]);
        assert_eq!(watchers.feed(Revision(3)).1, Some(Revision(8)));
        watchers.advance(Revision(3), Revision(8));
        assert_eq!(wanting(&watchers, 8, "k"), [0, 2]);
        assert_eq!(watchers.told_up_to(Revision(7)), None, "one waits for the future");
        assert!(watchers.is_told(2, Revision(7)) && !watchers.is_told(3, Revision(7)));
        assert!(watchers.remove(3));
        assert_eq!(watchers.told_up_to(Revision(7)), Some(Revision(7)));
        assert_eq!(watchers.remove_feed(Revision(8)), [0, 1, 2]);
        assert_eq!((watchers.len(), watchers.next()), (0, None));
    }

    #[test]
    fn what_is_pulled_holds_what_each_watch_wants() {
        let mut watchers = Watchers::default();
        let filter = |watchers: &Watchers| watchers.feed(Revision(2)).0.filter();
        watchers.add(0, watcher(one("k")), Revision(2));
        watchers.add(1, watcher(one("k")), Revision(2));
        assert_eq!(filter(&watchers), WatchFilter::of(one("k")));
        let mut deletions = watcher(between("m", Some("n")));
        deletions.filter.puts = false;
        deletions.filter.previous = true;
        watchers.add(2, deletions, Revision(2));
        let expected = between("k", Some("n"));
        assert_eq!(filter(&watchers), WatchFilter { previous: true, ..WatchFilter::of(expected) });
        watchers.add(3, watcher(between("z", None)), Revision(2));
        assert_eq!(filter(&watchers).keys, between("k", None));
        watchers.add(4, watcher(Keys::all()), Revision(2));
        assert_eq!(filter(&watchers).keys, between("", None));
    }

    #[test]
    fn an_interval_around_two_selections_contains_what_they_contain() {
        let selections =
            [one("b"), one("b\0"), between("a", Some("b")), between("c", None), Keys::all()];
        let keys: [&[u8]; 8] = [b"a", b"ab", b"b", b"b\0", b"b\0\0", b"bb", b"c", b"\xff"];
        for first in &selections {
            for second in &selections {
                let around = hull(first, second);
                for key in keys {
                    let wanted = first.contains(key) || second.contains(key);
                    assert!(!wanted || around.contains(key), "{first:?} {second:?} {key:?}");
                }
            }
        }
    }
}
