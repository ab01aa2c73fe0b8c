//! Chance that is the same in every run.

use sublet_base::Seconds;

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).expect("an index")]
    }

    /// True this many times out of a hundred.
    pub(crate) fn often(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    pub(crate) fn seconds(&mut self, below: u64) -> Seconds {
        Seconds(u32::try_from(self.roll(below)).expect("a short time"))
    }
}
