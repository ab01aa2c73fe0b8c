//! Sizes and times. Plain integers in the unit their name says.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $unit:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $unit), self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

quantity!(
    /// Memory in mebibytes (2^20 bytes).
    MiB(u32),
    " MiB"
);
quantity!(
    /// Disk in gibibytes (2^30 bytes).
    GiB(u32),
    " GiB"
);
quantity!(
    /// Virtual processors.
    Vcpus(u32),
    " vCPU"
);
quantity!(
    /// A length of time in whole seconds, as the contract counts it.
    Seconds(u32),
    " s"
);

/// Seconds since 1970-01-01 UTC, as in a block's timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The instant `length` after this one; saturates at the end of time.
    #[must_use]
    pub fn plus(self, length: Seconds) -> Self {
        Self(self.0.saturating_add(u64::from(length.0)))
    }

    /// Seconds from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / DAY, self.0 % DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

const DAY: u64 = 86_400;
/// Days of 400 years: the calendar repeats after them.
const ERA: u64 = 146_097;

/// Year, month and day, `days` after 1970-01-01. Years are counted from March, so that a leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on.
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months since March; five of them have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

impl MiB {
    /// The same size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl GiB {
    /// The same size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 30
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_times_as_dates() {
        let table = [
            (0, "1970-01-01 00:00:00 UTC"),
            (68_169_600, "1972-02-29 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_704_067_199, "2023-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (seconds, text) in table {
            assert_eq!(UnixTime(seconds).to_string(), text);
        }
        assert!(UnixTime(u64::MAX).to_string().ends_with("UTC"), "no overflow");
    }
}
