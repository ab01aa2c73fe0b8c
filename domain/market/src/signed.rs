//! Documents together with their signatures, as they travel and as they are kept.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Signature as Ecdsa;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use sublet_base::Address;
use thiserror::Error;

use crate::{Acceptance, Domain, Offer, Order, TypedData};

/// Longest signature taken: room for a contract account's (ERC-1271) own format.
pub const MAX_SIGNATURE: usize = 1024;

/// The bytes of a signature: 65 (r, s, v) from a key, or what a contract account understands. Travels as `0x` and hex.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature(Vec<u8>);

/// Text or bytes that cannot be a signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a signature is 0x and up to 2048 hex digits")]
pub struct InvalidSignature;

/// A key's signature does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unproven {
    /// Not 65 bytes of a key's signature; only the chain can ask a contract account.
    #[error("the signature is not a key's; only the chain can check it for a contract account")]
    NotAKey,
    /// Somebody else signed, or the document or the domain differs.
    #[error("signed by {signer}, not by {expected} (or for another chain or contract)")]
    OtherSigner {
        /// Who signed, as far as the bytes tell.
        signer: Address,
        /// Who should have.
        expected: Address,
    },
}

impl Signature {
    /// Takes the raw bytes.
    ///
    /// # Errors
    /// [`InvalidSignature`] above [`MAX_SIGNATURE`] bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, InvalidSignature> {
        if bytes.len() > MAX_SIGNATURE { Err(InvalidSignature) } else { Ok(Self(bytes)) }
    }

    /// The raw bytes, as the contract takes them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} bytes)", self.0.len())
    }
}

impl FromStr for Signature {
    type Err = InvalidSignature;

    fn from_str(text: &str) -> Result<Self, InvalidSignature> {
        let hex = text.strip_prefix("0x").ok_or(InvalidSignature)?;
        if hex.len() > 2 * MAX_SIGNATURE {
            return Err(InvalidSignature);
        }
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map(Self).map_err(|_| InvalidSignature)
    }
}

impl TryFrom<String> for Signature {
    type Error = InvalidSignature;

    fn try_from(text: String) -> Result<Self, InvalidSignature> {
        text.parse()
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        signature.to_string()
    }
}

/// Checks that `expected`'s key signed `document` in `domain`. High-s twins, and last bytes other than 27 and 28, are no
/// key's for the contract, so they are none here.
///
/// # Errors
/// [`Unproven`]. [`Unproven::NotAKey`] may still be good on chain.
pub fn check_key_signature(
    document: &impl TypedData,
    domain: &Domain,
    signature: &Signature,
    expected: Address,
) -> Result<(), Unproven> {
    let ecdsa = Ecdsa::from_raw(&signature.0).map_err(|_| Unproven::NotAKey)?;
    let well_formed = signature.0.len() == 65 && matches!(signature.0.last(), Some(27 | 28));
    if !well_formed || ecdsa.normalize_s().is_some() {
        return Err(Unproven::NotAKey);
    }
    let signer = ecdsa.recover_address_from_prehash(&document.signing_hash(domain)).map_err(|_| Unproven::NotAKey)?;
    if signer == expected { Ok(()) } else { Err(Unproven::OtherSigner { signer, expected }) }
}

macro_rules! signed {
    ($(#[$doc:meta])* $name:ident { $field:ident: $document:ident }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What is signed.
            pub $field: $document,
            /// The signature over its EIP-712 hash.
            pub signature: Signature,
        }
    };
}

signed!(
    /// An offer and its provider's signature.
    SignedOffer { offer: Offer }
);
signed!(
    /// An order and its renter's signature.
    SignedOrder { order: Order }
);
signed!(
    /// An acceptance and its renter's signature.
    SignedAcceptance { acceptance: Acceptance }
);

impl SignedOffer {
    /// Checks that the provider's key signed it in `domain`.
    ///
    /// # Errors
    /// As [`check_key_signature`].
    pub fn verify(&self, domain: &Domain) -> Result<(), Unproven> {
        check_key_signature(&self.offer, domain, &self.signature, self.offer.provider)
    }
}

impl SignedOrder {
    /// An order that its renter placed on chain: an empty signature stands for that.
    #[must_use]
    pub fn placed(order: Order) -> Self {
        Self { order, signature: Signature(Vec::new()) }
    }

    /// Checks that the renter's key signed it in `domain`.
    ///
    /// # Errors
    /// As [`check_key_signature`].
    pub fn verify(&self, domain: &Domain) -> Result<(), Unproven> {
        check_key_signature(&self.order, domain, &self.signature, self.order.renter)
    }
}

impl SignedAcceptance {
    /// Checks that `renter`'s key signed it in `domain`.
    ///
    /// # Errors
    /// As [`check_key_signature`].
    pub fn verify(&self, domain: &Domain, renter: Address) -> Result<(), Unproven> {
        check_key_signature(&self.acceptance, domain, &self.signature, renter)
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{B256, U256};

    use super::*;
    use crate::documents::tests::order;

    const DOMAIN: Domain = Domain { chain_id: 31_337, contract: Address::repeat_byte(0x44) };

    /// Any r and s recover to some account for a given document; an acceptance does not name who signs it.
    fn accepted() -> (SignedAcceptance, Address) {
        let acceptance = Acceptance {
            job: sublet_base::JobId(7),
            result_hash: B256::repeat_byte(0xdd),
            cost: sublet_base::Amount(42),
        };
        (0x42u8..=0xff)
            .find_map(|byte| {
                let bytes = [[byte; 32].as_slice(), &[0x17; 32], &[27]].concat();
                let renter = Ecdsa::from_raw(&bytes)
                    .ok()?
                    .recover_address_from_prehash(&acceptance.signing_hash(&DOMAIN))
                    .ok()?;
                Some((SignedAcceptance { acceptance: acceptance.clone(), signature: Signature(bytes) }, renter))
            })
            .expect("half of all numbers are on the curve")
    }

    #[test]
    fn a_signature_proves_one_document_in_one_domain_by_one_account() {
        let (signed, renter) = accepted();
        assert_eq!(signed.verify(&DOMAIN, renter), Ok(()));
        assert!(matches!(signed.verify(&DOMAIN, Address::ZERO), Err(Unproven::OtherSigner { .. })));
        assert!(signed.verify(&Domain { chain_id: 1, ..DOMAIN }, renter).is_err());
        let mut other = signed;
        other.acceptance.cost.0 += 1;
        assert!(other.verify(&DOMAIN, renter).is_err());
    }

    #[test]
    fn the_malleable_twin_is_refused() {
        let (mut signed, renter) = accepted();
        let group: U256 = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
            .parse()
            .expect("the order of secp256k1");
        let s = U256::from_be_slice(&signed.signature.0[32..64]);
        signed.signature.0[32..64].copy_from_slice(&(group - s).to_be_bytes::<32>());
        signed.signature.0[64] = 28;
        let twin = Ecdsa::from_raw(&signed.signature.0).expect("well-formed");
        let digest = signed.acceptance.signing_hash(&DOMAIN);
        assert_eq!(twin.recover_address_from_prehash(&digest).ok(), Some(renter));
        assert_eq!(signed.verify(&DOMAIN, renter), Err(Unproven::NotAKey));
    }

    /// Where an account has code too, the contract would ask that about it.
    #[test]
    fn a_last_byte_that_the_contract_takes_for_no_keys_is_none_here() {
        let (mut signed, renter) = accepted();
        for last in [0, 1, 26, 29, 35] {
            signed.signature.0[64] = last;
            assert_eq!(signed.verify(&DOMAIN, renter), Err(Unproven::NotAKey), "{last}");
        }
    }

    #[test]
    fn signatures_travel_as_bounded_hex() {
        let order = SignedOrder { order: order(), signature: Signature(vec![1, 2, 255]) };
        let text = serde_json::to_string(&order).expect("JSON");
        assert!(text.ends_with("\"signature\":\"0x0102ff\"}"), "{text}");
        assert_eq!(serde_json::from_str::<SignedOrder>(&text).expect("reads"), order);
        assert_eq!(order.verify(&DOMAIN), Err(Unproven::NotAKey));
        for bad in ["", "0102", "0x010", "0xzz", &format!("0x{}", "00".repeat(MAX_SIGNATURE + 1))] {
            assert!(bad.parse::<Signature>().is_err(), "{:?} should be refused", &bad[..bad.len().min(20)]);
        }
    }
}
