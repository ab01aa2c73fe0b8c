//! The first words on a connection: for whom the dialler acts.
//!
//! A gateway delivers to the newest connection of a key only, so two programs of one person cannot use the same
//! endpoint key at once. Each therefore dials with a fresh one and shows a mandate: the person's peer key, and its
//! signature over the fresh key and the provider's. Only the holder of the fresh key can use it, only at that provider.

use serde::{Deserialize, Serialize};
use sublet_base::PeerKey;
use thiserror::Error;

/// Sent once, as one frame on a unidirectional stream, by whoever dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Absent: the dialler's endpoint key is its peer key.
    pub mandate: Option<Mandate>,
}

/// Leave to act for a peer key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// Who is acted for.
    pub peer: PeerKey,
    /// Its signature over [`Mandate::text`].
    pub signature: MandateSignature,
}

impl Mandate {
    /// What the peer key signs.
    #[must_use]
    pub fn text(dialler: PeerKey, provider: PeerKey) -> Vec<u8> {
        [b"sublet/link/1 mandate\0", &dialler.0[..], &provider.0[..]].concat()
    }
}

/// An ed25519 signature; travels as 128 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MandateSignature(pub [u8; 64]);

/// Text that is not an ed25519 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a mandate's signature is 128 hex digits")]
pub struct InvalidMandateSignature;

impl TryFrom<String> for MandateSignature {
    type Error = InvalidMandateSignature;

    fn try_from(text: String) -> Result<Self, InvalidMandateSignature> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidMandateSignature)?;
        bytes.try_into().map(Self).map_err(|_| InvalidMandateSignature)
    }
}

impl From<MandateSignature> for String {
    fn from(signature: MandateSignature) -> Self {
        data_encoding::HEXLOWER.encode(&signature.0)
    }
}
