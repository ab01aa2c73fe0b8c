//! The words both sides' documents share: what is traded, how results are checked, how big a machine is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sublet_base::{B256, GiB, MiB, Vcpus, keccak256};
use thiserror::Error;

/// What an agreement is about. The contract's `uint8`: 0 lease, 1 job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A machine, paid by the second.
    Lease,
    /// One run of a module, paid once.
    Job,
}

/// How a job's result is checked. The contract's `uint8`: 0 none, 1 exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Accept or refuse; never slashes.
    None,
    /// Byte-equal when run again; a dispute may slash.
    Exact,
}

/// What a panel found. The contract's `uint8`: 0 upheld, 1 overturned, 2 inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The submitted result is right.
    Upheld,
    /// It is wrong, or its archive was withheld.
    Overturned,
    /// No result has a majority.
    Inconclusive,
}

/// A number on chain that stands for no kind or class this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{value} is not a known {what}")]
pub struct UnknownCode {
    /// What it should have been.
    pub what: &'static str,
    /// What it was.
    pub value: u8,
}

/// Text that names no kind or class.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}")]
pub struct UnknownWord {
    /// The words that are accepted.
    pub expected: &'static str,
}

macro_rules! coded {
    ($name:ident, $what:literal, $expected:literal, $($variant:ident = $code:literal / $word:literal),+) => {
        impl From<$name> for u8 {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => $code),+ }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownCode;

            fn try_from(value: u8) -> Result<Self, UnknownCode> {
                match value {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(UnknownCode { what: $what, value }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { expected: $expected }),
                }
            }
        }
    };
}

coded!(Kind, "kind of agreement", "`lease` or `job`", Lease = 0 / "lease", Job = 1 / "job");
coded!(Class, "verification class", "`none` or `exact`", None = 0 / "none", Exact = 1 / "exact");
coded!(
    Verdict,
    "verdict",
    "`upheld`, `overturned` or `inconclusive`",
    Upheld = 0 / "upheld",
    Overturned = 1 / "overturned",
    Inconclusive = 2 / "inconclusive"
);

/// What a machine must have beyond sizes, as one hash; zero asks for nothing in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Traits(pub B256);

impl Traits {
    /// Nothing in particular.
    pub const NONE: Self = Self(B256::ZERO);

    /// The hash of a set of names such as `region=eu`; order and repetition do not matter, no names give [`Traits::NONE`].
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() { Self::NONE } else { Self(keccak256(sorted.join("\n"))) }
    }
}

/// How big a machine is: what an offer has, or the least an order wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Virtual processors.
    pub vcpus: Vcpus,
    /// Memory.
    #[serde(rename = "memory_mib")]
    pub memory: MiB,
    /// Writable disk.
    #[serde(rename = "disk_gib")]
    pub disk: GiB,
    /// Graphics processors.
    #[serde(default)]
    pub gpus: u32,
    /// Anything else that was agreed on.
    #[serde(default)]
    pub traits: Traits,
}

impl Resources {
    /// True if a machine of this size serves somebody who wants `wanted`.
    #[must_use]
    pub fn covers(&self, wanted: &Self) -> bool {
        self.vcpus >= wanted.vcpus
            && self.memory >= wanted.memory
            && self.disk >= wanted.disk
            && self.gpus >= wanted.gpus
            && (wanted.traits == Traits::NONE || wanted.traits == self.traits)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {} disk", self.vcpus, self.memory, self.disk)?;
        if self.gpus > 0 { write!(f, ", {} GPU", self.gpus) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_go_both_ways() {
        for kind in [Kind::Lease, Kind::Job] {
            assert_eq!(Kind::try_from(u8::from(kind)), Ok(kind));
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!(Class::try_from(2).is_err());
        assert!("Exact".parse::<Class>().is_err());
    }

    #[test]
    fn traits_are_a_set() {
        assert_eq!(Traits::of(&["b", "a", "a"]), Traits::of(&["a", "b"]));
        assert_ne!(Traits::of(&["a"]), Traits::of(&["b"]));
        assert_eq!(Traits::of(&[]), Traits::NONE);
    }
}
