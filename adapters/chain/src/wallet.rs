//! An account's key in memory: signs transactions and the market's documents. Wiped when dropped; never printed.

use std::fmt;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::network::TxSignerSync;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use sublet_base::{Address, B256};
use sublet_market::{
    Acceptance, Domain, Offer, Order, Signature, SignedAcceptance, SignedOffer, SignedOrder, TypedData,
};
use thiserror::Error;
use zeroize::Zeroizing;

/// A key that can sign.
#[derive(Clone)]
pub struct Wallet {
    signer: PrivateKeySigner,
}

/// 32 bytes that are not a private key (zero, or above the curve's order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is not a private key: it must be 64 hex digits between 1 and the order of the curve")]
pub struct InvalidKey;

/// The signature could not be made.
#[derive(Debug, Error)]
#[error("cannot sign with the key of {account}")]
pub struct SignError {
    account: Address,
    #[source]
    source: alloy::signers::Error,
}

impl Wallet {
    /// A new random key from the system's source of randomness.
    #[must_use]
    pub fn random() -> Self {
        Self { signer: PrivateKeySigner::random() }
    }

    /// Takes a private key's bytes.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn from_bytes(key: &[u8]) -> Result<Self, InvalidKey> {
        PrivateKeySigner::from_slice(key).map(|signer| Self { signer }).map_err(|_| InvalidKey)
    }

    /// Takes a private key as 64 hex digits, with or without `0x`, surrounding white space ignored.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn from_hex(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut key = Zeroizing::new([0u8; 32]);
        alloy::hex::decode_to_slice(digits, key.as_mut_slice()).map_err(|_| InvalidKey)?;
        Self::from_bytes(key.as_slice())
    }

    /// The account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The private key, for the keystore only.
    pub(crate) fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signer.to_bytes().0)
    }

    /// Signs an offer for `domain`.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_offer(&self, offer: Offer, domain: &Domain) -> Result<SignedOffer, SignError> {
        Ok(SignedOffer { signature: self.sign(&offer, domain)?, offer })
    }

    /// Signs an order for `domain`.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_order(&self, order: Order, domain: &Domain) -> Result<SignedOrder, SignError> {
        Ok(SignedOrder { signature: self.sign(&order, domain)?, order })
    }

    /// Signs an acceptance for `domain`.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_acceptance(&self, acceptance: Acceptance, domain: &Domain) -> Result<SignedAcceptance, SignError> {
        Ok(SignedAcceptance { signature: self.sign(&acceptance, domain)?, acceptance })
    }

    fn sign(&self, document: &impl TypedData, domain: &Domain) -> Result<Signature, SignError> {
        self.sign_digest(document.signing_hash(domain))
    }

    /// Signs 32 bytes as they are. For a digest with its own domain separation only.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_digest(&self, digest: B256) -> Result<Signature, SignError> {
        let signature = self.signer.sign_hash_sync(&digest).map_err(|source| self.failed(source))?;
        Ok(Signature::new(signature.as_bytes().to_vec()).expect("65 bytes are within the limit"))
    }

    /// A signed transaction's hash and bytes.
    pub(crate) fn sign_transaction(&self, mut tx: TxEip1559) -> Result<(B256, Vec<u8>), SignError> {
        let signature = self.signer.sign_transaction_sync(&mut tx).map_err(|source| self.failed(source))?;
        let envelope = TxEnvelope::Eip1559(tx.into_signed(signature));
        Ok((*envelope.tx_hash(), envelope.encoded_2718()))
    }

    fn failed(&self, source: alloy::signers::Error) -> SignError {
        SignError { account: self.address(), source }
    }
}

impl From<PrivateKeySigner> for Wallet {
    fn from(signer: PrivateKeySigner) -> Self {
        Self { signer }
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address())
    }
}
