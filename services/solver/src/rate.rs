//! Rate limits: a token bucket for each key, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MAX_KEYS: usize = 16_384;

/// Allows each key `per_minute` calls a minute, in bursts of up to a quarter of that.
pub(crate) struct Buckets<K> {
    per_minute: u32,
    buckets: Mutex<HashMap<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(4), buckets: Mutex::default() }
    }

    /// Takes a token, or says how long to wait for one.
    pub(crate) fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let rate = f64::from(self.per_minute) / 60.0;
        let burst = f64::from(self.per_minute) / 4.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_KEYS && !buckets.contains_key(&key) {
            // A full bucket says nothing: forget those that have had time to fill up.
            buckets.retain(|_, b| now.saturating_duration_since(b.filled).as_secs_f64() * rate + b.tokens < burst);
            if buckets.len() >= MAX_KEYS {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: burst, filled: now });
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let buckets = Buckets::new(60);
        let start = Instant::now();
        for _ in 0..15 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        let wait = buckets.take("a", start).unwrap_err();
        assert!(wait <= Duration::from_secs(1));
        assert_eq!(buckets.take("b", start), Ok(()), "keys are independent");
        assert_eq!(buckets.take("a", start + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let buckets = Buckets::new(60);
        let start = Instant::now();
        for key in 0..MAX_KEYS + 10 {
            let _ = buckets.take(key, start);
        }
        assert!(buckets.buckets.lock().unwrap().len() <= MAX_KEYS);
        assert_eq!(buckets.take(usize::MAX, start + Duration::from_secs(60)), Ok(()));
    }
}
