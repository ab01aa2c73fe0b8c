//! The [`Ledger`] on any EVM chain, over standard JSON-RPC.

use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::network::TransactionBuilder;
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, JobId, LeaseId, U256};
use sublet_market::Domain;
use tokio::time::sleep;

use crate::agreement::{JobRecord, LeaseRecord, ProviderRecord};
use crate::bindings::{Sublet as s, SubletToken as t};
use crate::call::{Call, Target};
use crate::convert;
use crate::event::{Event, Located};
use crate::ledger::{Depth, Landed, Ledger, Rules};
use crate::node::{BlockRef, Head, Node, ReadError, nonsense};
use crate::refusal::Refusal;
use crate::sender::{Payload, Sender};
use crate::submit::{SenderOptions, SubmitError, TxKey};
use crate::tx_journal::TxJournal;
use crate::wallet::Wallet;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which chain and contract.
#[derive(Clone, Debug)]
pub struct EvmOptions {
    /// http or https address of a node.
    pub url: String,
    /// The Sublet contract.
    pub contract: Address,
}

/// An account to send from: its key, its memory, its manners.
#[derive(Clone, Debug)]
pub struct SendAs {
    /// The key.
    pub wallet: Wallet,
    /// Where transactions are recorded before they are sent.
    pub journal: Arc<dyn TxJournal>,
    /// Patience and fees.
    pub options: SenderOptions,
}

/// A ledger over a node of an EVM chain.
#[derive(Debug)]
pub struct EvmLedger {
    node: Node,
    contract: Address,
    token: Address,
    rules: Rules,
    sender: Option<Arc<Sender>>,
}

impl EvmLedger {
    /// Connects, checks that the contract is there, and sends again what a crash may have left unsent.
    ///
    /// # Errors
    /// [`ReadError::Unreachable`] if the chain is down, [`ReadError::NoContract`] if it is another chain.
    pub async fn connect(options: &EvmOptions, account: Option<SendAs>) -> Result<Self, ReadError> {
        let node = Node::connect(&options.url).await?;
        let contract = options.contract;
        if !node.has_code(contract).await? {
            return Err(ReadError::NoContract { address: contract, chain_id: node.chain_id });
        }
        let token = node.view(contract, &s::tokenCall {}, "ask for the token").await?;
        let rules = Rules {
            max_gap: convert::short_time(node.view(contract, &s::MAX_GAPCall {}, "read the rules").await?),
            fault_after: convert::short_time(node.view(contract, &s::FAULT_AFTERCall {}, "read the rules").await?),
        };
        let sender = account.map(|a| Arc::new(Sender::new(node.clone(), a.wallet, a.journal, a.options)));
        if let Some(sender) = &sender {
            match sender.resume().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "sent unfinished transactions again"),
                Err(error) => return Err(nonsense("read the transaction journal", &error.to_string())),
            }
        }
        Ok(Self { node, contract, token, rules, sender })
    }

    /// As [`EvmLedger::connect`], waiting while the chain is down. `waiting` hears of each failure.
    ///
    /// # Errors
    /// What waiting cannot cure: a bad address, no contract.
    pub async fn connect_when_up(
        options: &EvmOptions,
        account: Option<SendAs>,
        mut waiting: impl FnMut(&ReadError) + Send,
    ) -> Result<Self, ReadError> {
        let mut pause = FIRST_WAIT;
        loop {
            match Self::connect(options, account.clone()).await {
                Err(error @ ReadError::Unreachable { .. }) => waiting(&error),
                answer => return answer,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_WAIT);
        }
    }

    /// Pays the chain's own coin to an account, as a faucet does.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub async fn pay_gas(&self, key: &TxKey, to: Address, wei: U256) -> Result<Landed, SubmitError> {
        let payload = Payload { to: Some(to), value: wei, data: Default::default() };
        self.landed(self.sender()?.submit(key, payload).await?)
    }

    fn sender(&self) -> Result<&Arc<Sender>, SubmitError> {
        self.sender.as_ref().ok_or(SubmitError::NoAccount)
    }

    fn payload(&self, call: &Call) -> Payload {
        let (target, data) = call.encode(self.contract);
        let to = match target {
            Target::Sublet => self.contract,
            Target::Token => self.token,
        };
        Payload { to: Some(to), value: U256::ZERO, data }
    }

    /// Events of other contracts, such as the token's transfers, are left out.
    fn landed(&self, receipt: TransactionReceipt) -> Result<Landed, SubmitError> {
        let unreadable = |problem: &str| SubmitError::Unknown {
            tx: receipt.transaction_hash,
            last: Some(Box::new(nonsense("read a receipt", problem))),
        };
        let (Some(number), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
            return Err(unreadable("it names no block"));
        };
        let mut events = Vec::new();
        for log in receipt.logs().iter().filter(|log| log.address() == self.contract) {
            events.push(Located::from_log(log).map_err(|error| unreadable(&error.to_string()))?.event);
        }
        Ok(Landed {
            tx: receipt.transaction_hash,
            block: BlockRef { number, hash },
            gas_used: receipt.gas_used,
            fee: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price),
            events,
        })
    }
}

fn unknown_code(doing: &'static str) -> impl Fn(sublet_market::UnknownCode) -> ReadError {
    move |error| nonsense(doing, &error.to_string())
}

#[async_trait]
impl Ledger for EvmLedger {
    fn account(&self) -> Option<Address> {
        self.sender.as_ref().map(|sender| sender.wallet().address())
    }

    fn domain(&self) -> Domain {
        Domain { chain_id: self.node.chain_id, contract: self.contract }
    }

    fn token(&self) -> Address {
        self.token
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    async fn head(&self) -> Result<Head, ReadError> {
        self.node.head().await
    }

    async fn head_at(&self, depth: Depth) -> Result<Option<BlockRef>, ReadError> {
        let tag = match depth {
            Depth::Latest => BlockNumberOrTag::Latest,
            Depth::Safe => BlockNumberOrTag::Safe,
            Depth::Finalized => BlockNumberOrTag::Finalized,
            Depth::Confirmations(deep) => match self.node.head().await?.block.number.checked_sub(deep) {
                Some(number) => BlockNumberOrTag::Number(number),
                None => return Ok(None),
            },
        };
        Ok(self.node.block(tag).await?.map(|head| head.block))
    }

    async fn block(&self, number: u64) -> Result<Option<BlockRef>, ReadError> {
        Ok(self.node.block(BlockNumberOrTag::Number(number)).await?.map(|head| head.block))
    }

    async fn events(&self, from: u64, to: u64) -> Result<Vec<Located>, ReadError> {
        let logs = self.node.logs(self.contract, from, to).await?;
        let read = |log| Located::from_log(log).map_err(|error| nonsense("read events", &error.to_string()));
        let mut events = logs.iter().map(read).collect::<Result<Vec<Located>, _>>()?;
        events.sort_by_key(|event| (event.block, event.index));
        Ok(events)
    }

    async fn gas_balance(&self, account: Address) -> Result<U256, ReadError> {
        self.node.balance(account).await
    }

    async fn token_balance(&self, account: Address) -> Result<Amount, ReadError> {
        let balance = self.node.view(self.token, &t::balanceOfCall { account }, "read a token balance").await?;
        Ok(convert::units(balance))
    }

    async fn allowance(&self, account: Address) -> Result<Amount, ReadError> {
        let call = t::allowanceCall { owner: account, spender: self.contract };
        Ok(convert::units(self.node.view(self.token, &call, "read an allowance").await?))
    }

    async fn free_of(&self, account: Address) -> Result<Amount, ReadError> {
        Ok(convert::units(self.node.view(self.contract, &s::freeOfCall { account }, "read a balance").await?))
    }

    async fn provider(&self, account: Address) -> Result<Option<ProviderRecord>, ReadError> {
        let view = self.node.view(self.contract, &s::providerOfCall { provider: account }, "read a provider").await?;
        Ok(convert::provider(view))
    }

    async fn uptime_of(&self, provider: Address) -> Result<u64, ReadError> {
        self.node.view(self.contract, &s::uptimeOfCall { provider }, "read a provider's uptime").await
    }

    async fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, ReadError> {
        let doing = "read a lease";
        let view = self.node.view(self.contract, &s::leaseCall { id: id.0 }, doing).await?;
        convert::lease(&view).map_err(unknown_code(doing))
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadError> {
        let doing = "read a job";
        let view = self.node.view(self.contract, &s::jobCall { id: id.0 }, doing).await?;
        convert::job(&view).map_err(unknown_code(doing))
    }

    async fn open_count(&self, offer: B256) -> Result<u32, ReadError> {
        self.node.view(self.contract, &s::openCountCall { offerHash: offer }, "count an offer's agreements").await
    }

    async fn agreement_count(&self) -> Result<u64, ReadError> {
        self.node.view(self.contract, &s::agreementCountCall {}, "count agreements").await
    }

    async fn is_offer_cancelled(&self, provider: Address, offer: B256) -> Result<bool, ReadError> {
        let call = s::isOfferCancelledCall { provider, offerHash: offer };
        self.node.view(self.contract, &call, "ask about an offer").await
    }

    async fn is_nonce_used(&self, renter: Address, nonce: U256) -> Result<bool, ReadError> {
        self.node.view(self.contract, &s::isNonceUsedCall { renter, nonce }, "ask about an order").await
    }

    async fn is_open_paused(&self) -> Result<bool, ReadError> {
        self.node.view(self.contract, &s::openPausedCall {}, "ask whether opening is paused").await
    }

    async fn check(&self, call: &Call) -> Result<Result<(), Refusal>, ReadError> {
        let payload = self.payload(call);
        let request = TransactionRequest::default()
            .with_from(self.account().unwrap_or_default())
            .with_to(payload.to.unwrap_or_default())
            .with_input(payload.data);
        match self.node.simulate(request, BlockNumberOrTag::Latest, "check a call").await {
            Ok(_) => Ok(Ok(())),
            Err(ReadError::Refused { source, .. }) => Ok(Err(source)),
            Err(error) => Err(error),
        }
    }

    async fn submit(&self, key: &TxKey, call: &Call) -> Result<Landed, SubmitError> {
        self.landed(self.sender()?.submit(key, self.payload(call)).await?)
    }

    async fn find(&self, key: &TxKey) -> Result<Option<Landed>, SubmitError> {
        self.sender()?.find(key).await?.map(|receipt| self.landed(receipt)).transpose()
    }

    async fn forget(&self, key: &TxKey) -> Result<(), SubmitError> {
        self.sender()?.forget(key).await
    }
}

/// What a transaction of `Event`s says about one of them; for callers that wait for their own effect.
impl Landed {
    /// The first event `pick` recognises.
    pub fn find<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        self.events.iter().find_map(pick)
    }
}
