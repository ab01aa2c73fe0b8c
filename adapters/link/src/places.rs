//! Places: so many in all, so many of each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hands out places. Clones share them.
#[derive(Debug)]
pub(crate) struct Places<K> {
    all: usize,
    each: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Everybody's are taken.
    All,
    /// The one's own are.
    Each,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Copy + Eq + Hash> {
    of: Places<K>,
    key: K,
    /// How many places its owner had when it took this one, this one included.
    pub(crate) nth: usize,
}

// Not derived, which would want the keys to be `Clone` as well.
impl<K> Clone for Places<K> {
    fn clone(&self) -> Self {
        Self { all: self.all, each: self.each, taken: self.taken.clone() }
    }
}

impl<K: Copy + Eq + Hash> Places<K> {
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Arc::default() }
    }

    /// Takes a place for `key`.
    pub(crate) fn enter(&self, key: K) -> Result<Place<K>, Full> {
        let mut taken = self.lock();
        if taken.values().sum::<usize>() >= self.all {
            return Err(Full::All);
        }
        let own = taken.get(&key).copied().unwrap_or(0);
        if own >= self.each {
            return Err(Full::Each);
        }
        taken.insert(key, own + 1);
        Ok(Place { of: self.clone(), key, nth: own + 1 })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    /// Whether at least half of them are taken.
    pub(crate) fn crowded(&self) -> bool {
        self.taken() >= self.all.div_ceil(2)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        match taken.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_and_for_all() {
        let places = Places::new(3, 2);
        let first = places.enter('a').unwrap();
        let second = places.enter('a').unwrap();
        assert_eq!((first.nth, second.nth), (1, 2));
        assert_eq!(places.enter('a').unwrap_err(), Full::Each);
        let _other = places.enter('b').unwrap();
        assert_eq!(places.enter('c').unwrap_err(), Full::All);
        assert!(places.crowded());
    }

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let places = Places::new(3, 2);
        let (first, second) = (places.enter('a').unwrap(), places.enter('a').unwrap());
        drop(first);
        assert_eq!(places.enter('a').unwrap().nth, 2);
        drop(second);
        assert_eq!((places.taken(), places.lock().len()), (0, 0));
        assert!(!places.crowded());
    }
}
