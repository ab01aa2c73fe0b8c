//! Random moments that can be had again: the seed is printed, and `SUBLET_SEED` sets it.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A seeded source of choices.
pub struct Dice(StdRng);

impl Dice {
    /// From `SUBLET_SEED`, else by chance; says which.
    pub fn new() -> Result<Self> {
        let seed = match std::env::var("SUBLET_SEED") {
            Ok(text) => text.parse().context("SUBLET_SEED is not a number")?,
            Err(_) => rand::random::<u32>().into(),
        };
        eprintln!("SUBLET_SEED={seed}");
        Ok(Self(StdRng::seed_from_u64(seed)))
    }

    /// Lets a random time pass, at most `limit`: there is nothing to wait for, any moment will do.
    pub fn pause(&mut self, limit: Duration) -> Duration {
        let time = limit.mul_f64(self.0.random::<f64>());
        std::thread::sleep(time);
        time
    }
}
