//! What an author signs to take a document off a solver's book.

use sublet_base::{B256, UnixTime};
use sublet_market::TypedData;

/// Wallets show the struct's name, so it is the plain word.
mod typed {
    alloy_sol_types::sol! {
        /// The EIP-712 form of [`super::Cancel`].
        #[derive(Debug)]
        struct Cancel {
            bytes32 document;
            uint64 validUntil;
        }
    }
}

/// "Forget this document": the EIP-712 struct `Cancel(bytes32 document,uint64 validUntil)` in the market's domain.
/// It binds the solvers that see it; only the contract's own cancel binds everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Hash of the offer or order.
    pub document: B256,
    /// Not to be obeyed after this.
    pub valid_until: UnixTime,
}

impl TypedData for Cancel {
    type Solidity = typed::Cancel;

    fn solidity(&self) -> typed::Cancel {
        typed::Cancel { document: self.document, validUntil: self.valid_until.0 }
    }
}
