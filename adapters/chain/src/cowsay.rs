//! The example of a contract that orders jobs and hears back: `contracts/src/examples/OnChainCowsay.sol`.
//!
//! ```text
//! ask ──▶ Orders.placeOrder ──▶ … opened, run, ended ──▶ onJobEnded ──▶ deliver(archive) ──▶ Said(text)
//! ```

use alloy::primitives::Bytes;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolConstructor, SolEvent, SolValue};
use serde::Serialize;
use sublet_base::{Address, Amount, B256, JobId, U256};
use sublet_market::Order;
use thiserror::Error;

use crate::agreement::JobEnd;
use crate::bindings::OnChainCowsay as c;
use crate::convert;
use crate::evm::EvmLedger;
use crate::ledger::{Landed, Ledger};
use crate::node::{ReadError, nonsense};
use crate::sender::Payload;
use crate::submit::{SubmitError, TxKey};

/// One deployed example.
#[derive(Debug)]
pub struct OnChainCowsay<'a> {
    ledger: &'a EvmLedger,
    address: Address,
    owner: Address,
}

/// What the contract was told about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CowsayAnswer {
    /// How it ended.
    pub end: JobEnd,
    /// keccak256 of its archive; `None` if it has none.
    pub result: Option<B256>,
}

/// Why there is no such contract to talk to.
#[derive(Debug, Error)]
pub enum CowsayError {
    /// The chain could not be asked.
    #[error("cannot ask the contract")]
    Chain(#[from] ReadError),
    /// Nothing is there.
    #[error("there is no contract at {0}")]
    Nothing(Address),
    /// It orders somewhere else.
    #[error("the contract at {address} belongs to the market at {market}, which is not this one")]
    OtherMarket {
        /// The contract.
        address: Address,
        /// Its market.
        market: Address,
    },
}

impl<'a> OnChainCowsay<'a> {
    /// Puts a new one on the chain; the ledger's account owns it.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub async fn deploy(ledger: &'a EvmLedger, key: &TxKey) -> Result<(Self, Landed), SubmitError> {
        let owner = ledger.account().ok_or(SubmitError::NoAccount)?;
        let mut code = c::BYTECODE.to_vec();
        code.extend(c::constructorCall { sublet_: ledger.domain().contract }.abi_encode());
        let payload = Payload { to: None, value: U256::ZERO, data: code.into() };
        let receipt = ledger.sender()?.submit(key, payload).await?;
        let unknown = SubmitError::Unknown { tx: receipt.transaction_hash, last: None };
        let address = receipt.contract_address.ok_or(unknown)?;
        Ok((Self { ledger, address, owner }, ledger.landed(receipt)?))
    }

    /// The one at `address`.
    ///
    /// # Errors
    /// [`CowsayError`] if there is none, or one of another market.
    pub async fn at(ledger: &'a EvmLedger, address: Address) -> Result<Self, CowsayError> {
        if !ledger.node().has_code(address).await? {
            return Err(CowsayError::Nothing(address));
        }
        let market = ledger.node().view(address, &c::subletCall {}, "ask the contract for its market").await?;
        if market != ledger.domain().contract {
            return Err(CowsayError::OtherMarket { address, market });
        }
        let owner = ledger.node().view(address, &c::ownerCall {}, "ask the contract for its owner").await?;
        Ok(Self { ledger, address, owner })
    }

    /// Where it is; also the renter of its jobs.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// Who may ask and withdraw.
    #[must_use]
    pub fn owner(&self) -> Address {
        self.owner
    }

    /// Has it place an order. It fills in its own renter, nonce and workload hash; the event in the answer has the order.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub async fn ask(&self, key: &TxKey, order: &Order, document: &[u8]) -> Result<Landed, SubmitError> {
        let arguments = (convert::order(order), Bytes::copy_from_slice(document));
        let mut data = c::askCall::SELECTOR.to_vec();
        data.extend(arguments.abi_encode_params());
        let receipt = self.send(key, data).await?;
        self.ledger.landed(receipt)
    }

    /// What it was told about a job; `None` while the job runs, and for jobs of others.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn answer(&self, job: JobId) -> Result<Option<CowsayAnswer>, ReadError> {
        let doing = "ask the contract for its answer";
        let told = self.ledger.node().view(self.address, &c::answersCall { job: job.0 }, doing).await?;
        let end = JobEnd::try_from(told.reason).map_err(|error| nonsense(doing, &error.to_string()))?;
        let result = (told.resultHash != B256::ZERO).then_some(told.resultHash);
        Ok((end != JobEnd::None).then_some(CowsayAnswer { end, result }))
    }

    /// Hands in a result's archive; what the job printed, as the contract read it, and the transaction.
    ///
    /// # Errors
    /// As [`Ledger::submit`]; the contract refuses an archive with another hash.
    pub async fn deliver(&self, key: &TxKey, job: JobId, archive: &[u8]) -> Result<(String, B256), SubmitError> {
        let call = c::deliverCall { id: job.0, archive: Bytes::copy_from_slice(archive) };
        let receipt = self.send(key, call.abi_encode()).await?;
        let tx = receipt.transaction_hash;
        let ours = receipt.logs().iter().filter(|log| log.address() == self.address);
        let said = ours.filter_map(|log| c::Said::decode_log(&log.inner).ok()).find(|said| said.job == job.0);
        match said {
            Some(said) => Ok((said.data.text, tx)),
            None => Err(SubmitError::Unknown { tx, last: None }),
        }
    }

    /// Sends free tokens of the contract to its owner's wallet.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub async fn withdraw(&self, key: &TxKey, amount: Amount) -> Result<Landed, SubmitError> {
        let receipt = self.send(key, c::withdrawCall { amount: amount.0 }.abi_encode()).await?;
        self.ledger.landed(receipt)
    }

    async fn send(&self, key: &TxKey, data: Vec<u8>) -> Result<TransactionReceipt, SubmitError> {
        let payload = Payload { to: Some(self.address), value: U256::ZERO, data: data.into() };
        self.ledger.sender()?.submit(key, payload).await
    }
}
