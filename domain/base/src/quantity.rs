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
        write!(f, "@{}", self.0)
    }
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
