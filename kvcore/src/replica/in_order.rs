//! A map for keys that come nearly in their order, and go nearly in it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// So many places may be empty before it matters how many are taken.
const EMPTY_MAX: usize = 32;

/// A map whose entries lie in the order of their keys, one behind the other.
///
/// To add at the end and to take from the front is what a queue does; to take from the middle leaves a place
/// empty until one end reaches it, or until most places are empty. To add before the end moves what is behind
/// it. So it is as fast as a queue for keys that are mostly in order, such as the numbers of requests, and for
/// any others as large as it may get and no larger: twice as many places as entries.
#[derive(Clone, Debug)]
pub(super) struct InOrder<K, V> {
    /// Neither the first place nor the last is empty.
    places: VecDeque<(K, Option<V>)>,
    len: usize,
}

impl<K, V> Default for InOrder<K, V> {
    fn default() -> Self {
        Self { places: VecDeque::new(), len: 0 }
    }
}

/// What is hashed is what is in it, wherever it lies.
impl<K: Hash, V: Hash> Hash for InOrder<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        for (key, value) in &self.places {
            if let Some(value) = value {
                (key, value).hash(state);
            }
        }
    }
}

impl<K: Copy + Ord, V> InOrder<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry. Returns the value that the key had before, if it had one.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = match self.places.back() {
            Some(&(last, _)) if last >= key => self.find(key),
            _ => Err(self.places.len()),
        };
        let before = match place {
            Ok(place) => self.places[place].1.replace(value),
            Err(place) => {
                self.places.insert(place, (key, Some(value)));
                None
            }
        };
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let place = self.find(key).ok()?;
        self.places[place].1.as_mut()
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let place = self.find(key).ok()?;
        let value = self.places[place].1.take()?;
        self.len -= 1;
        self.close_up();
        Some(value)
    }

    pub(super) fn first(&self) -> Option<(K, &V)> {
        self.places.front().and_then(|(key, value)| Some((*key, value.as_ref()?)))
    }

    pub(super) fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.places.pop_front()?;
        self.len -= 1;
        self.close_up();
        Some((key, value.expect("the first place is not empty")))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.places.iter().filter_map(|(_, value)| value.as_ref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.places.iter_mut().filter_map(|(key, value)| Some((*key, value.as_mut()?)))
    }

    /// The place of a key, or the one that it would get.
    fn find(&self, key: K) -> Result<usize, usize> {
        match self.places.front() {
            Some((first, _)) => match first.cmp(&key) {
                Ordering::Equal => Ok(0),
                Ordering::Greater => Err(0),
                Ordering::Less => self.places.binary_search_by_key(&key, |(key, _)| *key),
            },
            None => Err(0),
        }
    }

    /// Gives up empty places at both ends, and all when they are too many.
    fn close_up(&mut self) {
        while self.places.front().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_front();
        }
        while self.places.back().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_back();
        }
        if self.places.len() > 2 * self.len + EMPTY_MAX {
            self.places.retain(|(_, value)| value.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    fn hash(value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
        PopFirst,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..200_u64).prop_map(Step::Insert),
            4 => (0..200_u64).prop_map(Step::Remove),
            1 => Just(Step::PopFirst),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order_whatever_comes_and_goes(
            steps in proptest::collection::vec(step(), 0..600),
        ) {
            let (mut map, mut expected) = (InOrder::default(), BTreeMap::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key) => {
                        prop_assert_eq!(map.insert(key, number), expected.insert(key, number));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(key), expected.remove(&key)),
                    Step::PopFirst => prop_assert_eq!(map.pop_first(), expected.pop_first()),
                }
                prop_assert_eq!(map.len(), expected.len());
                prop_assert_eq!(map.is_empty(), expected.is_empty());
                let first = expected.first_key_value().map(|(key, value)| (*key, value));
                prop_assert_eq!(map.first(), first);
                prop_assert!(map.places.len() <= 2 * map.len() + EMPTY_MAX);
            }
            let mut anew = InOrder::default();
            for (&key, &value) in &expected {
                anew.insert(key, value);
                prop_assert_eq!(map.get_mut(key).copied(), Some(value));
            }
            prop_assert_eq!(hash(&map), hash(&anew), "empty places do not count");
            prop_assert!(map.values().eq(expected.values()));
            let entries = map.iter_mut().map(|(key, value)| (key, *value));
            prop_assert!(entries.eq(expected));
        }
    }
}
