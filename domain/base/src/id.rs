//! Ids: of agreements on chain, of machines on a host, of peers on the link.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! agreement_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            /// Accepts the printed form and the bare number.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix).unwrap_or(text).parse().map(Self)
            }
        }
    };
}

agreement_id!(
    /// A lease's number in the contract. Leases and jobs share one counter.
    LeaseId,
    "lease-"
);
agreement_id!(
    /// A job's number in the contract. Leases and jobs share one counter.
    JobId,
    "job-"
);

/// A machine's name on its host: 1 to 63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit.
///
/// Safe as a file name, a host name and a cgroup name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(String);

/// Text that cannot name a machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a machine's name has 1 to 63 of a-z, 0-9 and -, and starts and ends with a letter or digit")]
pub struct InvalidMachineId;

impl MachineId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineId {
    type Err = InvalidMachineId;

    fn from_str(text: &str) -> Result<Self, InvalidMachineId> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(&first), Some(&last))
                if bytes.len() <= 63 && plain(first) && plain(last) && bytes.iter().all(|&b| plain(b) || b == b'-') =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidMachineId),
        }
    }
}

impl TryFrom<String> for MachineId {
    type Error = InvalidMachineId;

    fn try_from(text: String) -> Result<Self, InvalidMachineId> {
        text.parse()
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.0
    }
}

impl From<LeaseId> for MachineId {
    fn from(id: LeaseId) -> Self {
        Self(id.to_string())
    }
}

impl From<JobId> for MachineId {
    fn from(id: JobId) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The ed25519 public key of a link endpoint, 32 bytes. The contract's `bytes32 peerKey`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerKey(pub [u8; 32]);

/// Text that is not 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a peer key is 64 hex digits")]
pub struct InvalidPeerKey;

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({}…)", HEXLOWER.encode(&self.0[..5]))
    }
}

impl FromStr for PeerKey {
    type Err = InvalidPeerKey;

    fn from_str(text: &str) -> Result<Self, InvalidPeerKey> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidPeerKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPeerKey)
    }
}

impl TryFrom<String> for PeerKey {
    type Error = InvalidPeerKey;

    fn try_from(text: String) -> Result<Self, InvalidPeerKey> {
        text.parse()
    }
}

impl From<PeerKey> for String {
    fn from(key: PeerKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_names_cannot_escape_a_folder() {
        for good in ["a", "lease-7", "web1"] {
            assert!(good.parse::<MachineId>().is_ok(), "{good:?} should be accepted");
        }
        for bad in ["", "-a", "a-", "..", "a/b", "A", "a_b", &"a".repeat(64), "a\0", "é"] {
            assert!(bad.parse::<MachineId>().is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn agreement_ids_parse_as_printed() {
        assert_eq!("lease-12".parse(), Ok(LeaseId(12)));
        assert_eq!("12".parse(), Ok(JobId(12)));
        assert!("job-12".parse::<LeaseId>().is_err());
    }
}
