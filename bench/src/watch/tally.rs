//! What the watchers of a connection were told, and what they should have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::stream::{Message, to_base64};

/// A key that is put, and watched by some.
#[derive(Debug)]
pub(super) struct Key {
    base64: String,
    acknowledged: AtomicU64,
    /// The newest version that any watcher was told.
    newest: AtomicU64,
    /// Events that all its watchers together were told.
    told: AtomicU64,
}

impl Key {
    /// The key of this number in the key space of the load generator.
    pub(super) fn new(number: u64) -> Self {
        Self::named(&format!("bench/{number:06}"))
    }

    /// A key that the load generator does not put.
    pub(super) fn named(name: &str) -> Self {
        let [acknowledged, newest, told] = [0; 3].map(AtomicU64::new);
        Self { base64: to_base64(name.as_bytes()), acknowledged, newest, told }
    }

    /// The key as it stands in messages.
    pub(super) fn base64(&self) -> &str {
        &self.base64
    }

    /// A put of it was acknowledged.
    pub(super) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// How many puts of it were.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many events its watchers were told, repeated ones as well.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }
}

/// What watchers were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Events, each told to one watcher.
    pub events: u64,
    /// Events that a watcher should have been told and was not.
    pub missed: u64,
    /// Events that a watcher had been told already, or had been told a later one.
    pub repeated: u64,
    /// Events of a key that the watcher does not watch.
    pub foreign: u64,
    /// Watches that the server ended.
    pub cancelled: u64,
}

impl Told {
    /// Adds what others were told.
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.missed += other.missed;
        self.repeated += other.repeated;
        self.foreign += other.foreign;
        self.cancelled += other.cancelled;
    }
}

/// The watchers of one connection.
#[derive(Debug)]
pub(super) struct Tally {
    watchers: Vec<Watcher>,
    begun: usize,
    told: Told,
}

#[derive(Debug)]
struct Watcher {
    key: Arc<Key>,
    /// The version of its key that is to be told next.
    next: u64,
}

impl Tally {
    /// Watchers of these keys, none of which was put before.
    pub(super) fn new(keys: impl Iterator<Item = Arc<Key>>) -> Self {
        let watchers = keys.map(|key| Watcher { key, next: 1 }).collect();
        Self { watchers, begun: 0, told: Told::default() }
    }

    /// The keys, in the order of the watchers.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.watchers.iter().map(|watcher| watcher.key.base64())
    }

    /// Whether all watches have begun.
    pub(super) fn has_begun(&self) -> bool {
        self.begun == self.watchers.len()
    }

    /// A message came. `is_new` is given the value of each event that is told as it should be.
    pub(super) fn take(&mut self, message: &Message<'_>, mut is_new: impl FnMut(&str)) {
        self.begun += usize::from(message.created);
        self.told.cancelled += u64::from(message.canceled);
        if message.events.is_empty() {
            return;
        }
        let number = message.watch_id.and_then(|id| id.parse::<usize>().ok());
        let watcher = number.and_then(|number| self.watchers.get_mut(number.checked_sub(1)?));
        let Some(watcher) = watcher else {
            self.told.foreign += message.events.len() as u64;
            return;
        };
        for event in &message.events {
            self.told.events += 1;
            if event.kv.key != watcher.key.base64 {
                self.told.foreign += 1;
                continue;
            }
            watcher.key.told.fetch_add(1, Ordering::Relaxed);
            // A deletion has no version; nobody deletes here.
            let version = event.kv.version.parse().unwrap_or(0);
            if version < watcher.next {
                self.told.repeated += 1;
                continue;
            }
            self.told.missed += version - watcher.next;
            watcher.next = version + 1;
            watcher.key.newest.fetch_max(version, Ordering::Relaxed);
            is_new(event.kv.value);
        }
    }

    /// What they were told, when nothing more will be: whoever was not told what others were, or what
    /// was acknowledged, has missed it.
    pub(super) fn told(&self) -> Told {
        let behind = self.watchers.iter().map(|watcher| {
            let newest = watcher.key.newest.load(Ordering::Relaxed);
            (newest.max(watcher.key.acknowledged()) + 1).saturating_sub(watcher.next)
        });
        Told { missed: self.told.missed + behind.sum::<u64>(), ..self.told }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::{Event, KeyValue};
    use super::*;

    /// Tells watcher 1 of `a` and watcher 2 of `b` these versions.
    fn told(acknowledged: [u64; 2], events: &[(&str, &str, &str)]) -> Told {
        let keys = ["a", "b"].map(|name| Arc::new(Key::named(name)));
        for (key, count) in keys.iter().zip(acknowledged) {
            (0..count).for_each(|_| key.acknowledge());
        }
        let base64 = keys.clone().map(|key| key.base64().to_owned());
        let mut tally = Tally::new(keys.into_iter());
        for &(watch_id, name, version) in events {
            let key = if name == "a" { &base64[0] } else { &base64[1] };
            let kv = KeyValue { key, version, value: "" };
            let message = Message {
                watch_id: Some(watch_id),
                events: vec![Event { kv }],
                ..Message::default()
            };
            tally.take(&message, |_| {});
        }
        tally.told()
    }

    #[test]
    fn every_event_once_and_in_order_is_as_it_should_be() {
        let events = [("1", "a", "1"), ("2", "b", "1"), ("1", "a", "2")];
        assert_eq!(told([2, 1], &events), Told { events: 3, ..Told::default() });
        // The second put of `a` has an unknown outcome, and did happen.
        assert_eq!(told([1, 1], &events), Told { events: 3, ..Told::default() });
    }

    #[test]
    fn what_is_missing_repeated_out_of_order_or_foreign_is_counted() {
        let gap = [("1", "a", "1"), ("1", "a", "4")];
        assert_eq!(told([4, 0], &gap), Told { events: 2, missed: 2, ..Told::default() });
        let end = [("1", "a", "1")];
        assert_eq!(told([3, 2], &end), Told { events: 1, missed: 4, ..Told::default() });
        let again = [("1", "a", "1"), ("1", "a", "1")];
        assert_eq!(told([1, 0], &again), Told { events: 2, repeated: 1, ..Told::default() });
        let swapped = [("1", "a", "2"), ("1", "a", "1")];
        let expected = Told { events: 2, missed: 1, repeated: 1, ..Told::default() };
        assert_eq!(told([2, 0], &swapped), expected);
        let foreign = [("2", "a", "1"), ("3", "a", "1"), ("0", "a", "1")];
        let expected = Told { events: 1, foreign: 3, ..Told::default() };
        assert_eq!(told([0, 0], &foreign), expected);
    }

    #[test]
    fn a_watcher_is_held_to_what_another_one_of_its_key_was_told() {
        let key = Arc::new(Key::named("a"));
        let base64 = key.base64().to_owned();
        let mut tally = Tally::new([Arc::clone(&key), key].into_iter());
        let kv = KeyValue { key: &base64, version: "1", value: "" };
        let message =
            Message { watch_id: Some("2"), events: vec![Event { kv }], ..Message::default() };
        tally.take(&message, |_| {});
        assert_eq!(tally.told().missed, 1, "its put may have had an unknown outcome, but happened");
    }
}
