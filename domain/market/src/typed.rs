//! EIP-712: the contract's structs, field for field, and the domain they are signed in.
//!
//! Order and names of the fields are part of the hash. They equal `contracts/src/Types.sol`; changing one without the
//! other makes every signature invalid, which the known answers in `documents.rs` catch.

use std::borrow::Cow;

use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use serde::{Deserialize, Serialize};
use sublet_base::{Address, B256, U256};

/// Where a signature counts: one contract on one chain, so that it cannot be replayed on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The chain's id (EIP-155).
    pub chain_id: u64,
    /// The Sublet contract.
    pub contract: Address,
}

impl Domain {
    /// The EIP-712 domain: name `Sublet`, version `1`.
    #[must_use]
    pub fn eip712(&self) -> Eip712Domain {
        Eip712Domain {
            name: Some(Cow::Borrowed("Sublet")),
            version: Some(Cow::Borrowed("1")),
            chain_id: Some(U256::from(self.chain_id)),
            verifying_contract: Some(self.contract),
            salt: None,
        }
    }

    /// The domain separator, as the contract's `DOMAIN_SEPARATOR`.
    #[must_use]
    pub fn separator(&self) -> B256 {
        self.eip712().separator()
    }
}

sol! {
    /// See [`crate::Resources`].
    #[derive(Debug)]
    struct Resources {
        uint32 vcpus;
        uint32 memoryMiB;
        uint32 diskGiB;
        uint32 gpus;
        bytes32 traits;
    }

    /// See [`crate::Offer`].
    #[derive(Debug)]
    struct Offer {
        address provider;
        uint8 kind;
        Resources resources;
        uint128 price;
        uint32 pledgeBps;
        uint32 capacity;
        uint32 minDuration;
        uint32 maxDuration;
        uint32 startWithin;
        uint32 notice;
        uint32 minCharge;
        uint64 mediatorSet;
        uint32 maxChallengeWindow;
        uint64 validUntil;
        uint64 epoch;
    }

    /// See [`crate::Order`].
    #[derive(Debug)]
    struct Order {
        address renter;
        uint8 kind;
        Resources resources;
        uint128 maxPrice;
        uint32 duration;
        bytes32 workload;
        bytes32 peerKey;
        uint8 class;
        uint64 mediatorSet;
        uint32 challengeWindow;
        uint32 minPledgeBps;
        uint32 maxStartWithin;
        uint32 minNotice;
        uint32 maxMinCharge;
        address provider;
        address solver;
        uint128 solverFee;
        uint64 validUntil;
        uint256 nonce;
    }

    /// See [`crate::Acceptance`].
    #[derive(Debug)]
    struct Acceptance {
        uint64 job;
        bytes32 resultHash;
        uint128 cost;
    }
}

/// A document that is signed with EIP-712.
pub trait TypedData {
    /// The contract's form of the document.
    type Solidity: SolStruct;

    /// Converts to the contract's form; lossless.
    fn solidity(&self) -> Self::Solidity;

    /// EIP-712 `hashStruct`, the same on every chain.
    fn struct_hash(&self) -> B256 {
        self.solidity().eip712_hash_struct()
    }

    /// What is signed: the struct's hash within `domain`. The contract's `offerHash` and `orderHash`.
    fn signing_hash(&self, domain: &Domain) -> B256 {
        self.solidity().eip712_signing_hash(&domain.eip712())
    }
}

impl From<&crate::Resources> for Resources {
    fn from(r: &crate::Resources) -> Self {
        Self { vcpus: r.vcpus.0, memoryMiB: r.memory.0, diskGiB: r.disk.0, gpus: r.gpus, traits: r.traits.0 }
    }
}
