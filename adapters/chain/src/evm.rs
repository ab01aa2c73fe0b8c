//! The [`Ledger`] on any EVM chain, over standard JSON-RPC.

use std::sync::Arc;
use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::network::TransactionBuilder;
use alloy::rpc::types::{Filter, TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};
use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, JobId, LeaseId, U256};
use sublet_market::agreement::CourtRules;
use sublet_market::{Domain, MediatorSetId, Signature};
use tokio::time::sleep;
use tokio::try_join;

use crate::agreement::{JobRecord, LeaseRecord, ProviderRecord};
use crate::bindings::{Court as c, Erc1271, Gateways as g, Lens as l, Orders as o, Sublet as s, SubletToken as t};
use crate::branch::{Branch, Contracts, GatewayRecord, PlacedOrder};
use crate::call::{Call, Target};
use crate::convert;
use crate::court::{DisputeRecord, MediatorRecord, MediatorSetRecord};
use crate::depth::Depth;
use crate::event::{Event, JobOpened, Located};
use crate::ledger::{Landed, Ledger, Rules};
use crate::node::{BlockRef, Head, Node, ReadError, nonsense, place};
use crate::refusal::Refusal;
use crate::sender::{Payload, Sender};
use crate::submit::{SenderOptions, SubmitError, TxKey};
use crate::tx_journal::TxJournal;
use crate::wallet::Wallet;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a contract answers to call a signature its own, padded to a word (ERC-1271).
const MAGIC: [u8; 32] = {
    let mut word = [0; 32];
    (word[0], word[1], word[2], word[3]) = (0x16, 0x26, 0xba, 0x7e);
    word
};

/// Which chain and contract.
#[derive(Clone, Debug)]
pub struct EvmOptions {
    /// http or https address of a node.
    pub url: String,
    /// The Sublet contract.
    pub contract: Address,
    /// How deep a block must lie before it is followed.
    pub depth: Depth,
}

impl EvmOptions {
    /// Where the node is, for people to read: providers of nodes put a key into the rest of the address.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.url)
    }
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
    contracts: Contracts,
    token: Address,
    rules: Rules,
    depth: Depth,
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
        let contracts = branches(&node, contract).await?;
        let rules = rules(&node, &contracts).await?;
        let sender = account.map(|a| Arc::new(Sender::new(node.clone(), a.wallet, a.journal, a.options)));
        if let Some(sender) = &sender {
            match sender.resume().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "sent unfinished transactions again"),
                Err(SubmitError::NotSent(error)) => return Err(error),
                Err(error) => return Err(nonsense("read the transaction journal", &error.to_string())),
            }
        }
        Ok(Self { node, contracts, token, rules, depth: options.depth, sender })
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

    /// The contract that keeps these bonds, in its own free balance.
    #[must_use]
    pub fn branch(&self, branch: Branch) -> Address {
        match branch {
            Branch::Court => self.contracts.court,
            Branch::Gateways => self.contracts.gateways,
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

    async fn newest(&self, filter: Filter, doing: &'static str) -> Result<Option<Event>, ReadError> {
        let Some(log) = self.node.newest_log(filter).await? else { return Ok(None) };
        let located = Located::from_log(&log, &self.contracts);
        Ok(Some(located.map_err(|error| nonsense(doing, &error.to_string()))?.event))
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn sender(&self) -> Result<&Arc<Sender>, SubmitError> {
        self.sender.as_ref().ok_or(SubmitError::NoAccount)
    }

    fn payload(&self, call: &Call) -> Payload {
        let (target, data) = call.encode(self.contracts.sublet);
        let to = match target {
            Target::Sublet => self.contracts.sublet,
            Target::Token => self.token,
            Target::Court => self.contracts.court,
            Target::Gateways => self.contracts.gateways,
            Target::Orders => self.contracts.orders,
        };
        Payload { to: Some(to), value: U256::ZERO, data }
    }

    /// Events of other contracts, such as the token's transfers, are left out.
    pub(crate) fn landed(&self, receipt: TransactionReceipt) -> Result<Landed, SubmitError> {
        let unreadable = |problem: &str| SubmitError::Unknown {
            tx: receipt.transaction_hash,
            last: Some(Box::new(nonsense("read a receipt", problem))),
        };
        let (Some(number), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
            return Err(unreadable("it names no block"));
        };
        let mut events = Vec::new();
        let speakers = self.contracts.speakers();
        for log in receipt.logs().iter().filter(|log| speakers.contains(&log.address())) {
            events.push(Located::from_log(log, &self.contracts).map_err(|error| unreadable(&error.to_string()))?.event);
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

/// The other contracts of a deployment.
async fn branches(node: &Node, sublet: Address) -> Result<Contracts, ReadError> {
    let doing = "ask for the contract's parts";
    let (court, gateways, orders, lens) = try_join!(
        node.view(sublet, &s::courtCall {}, doing),
        node.view(sublet, &s::gatewaysCall {}, doing),
        node.view(sublet, &s::ordersCall {}, doing),
        node.view(sublet, &s::lensCall {}, doing),
    )?;
    Ok(Contracts { sublet, court, gateways, orders, lens })
}

async fn rules(node: &Node, at: &Contracts) -> Result<Rules, ReadError> {
    let doing = "read the rules";
    let (max_gap, fault_after, commit_slack, reveal_window, unbonding, stale_after, max_workload) = try_join!(
        node.view(at.sublet, &s::MAX_GAPCall {}, doing),
        node.view(at.sublet, &s::FAULT_AFTERCall {}, doing),
        node.view(at.court, &c::COMMIT_SLACKCall {}, doing),
        node.view(at.court, &c::REVEAL_WINDOWCall {}, doing),
        node.view(at.court, &c::UNBONDINGCall {}, doing),
        node.view(at.gateways, &g::STALE_AFTERCall {}, doing),
        node.view(at.orders, &o::MAX_WORKLOADCall {}, doing),
    )?;
    Ok(Rules {
        max_gap: convert::short_time(max_gap),
        fault_after: convert::short_time(fault_after),
        court: CourtRules {
            commit_slack: convert::short_time(commit_slack),
            reveal_window: convert::short_time(reveal_window),
            unbonding: convert::short_time(unbonding),
        },
        gateway_stale_after: convert::short_time(stale_after),
        max_workload: max_workload.saturating_to(),
    })
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
        Domain { chain_id: self.node.chain_id, contract: self.contracts.sublet }
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

    async fn firm_head(&self) -> Result<Option<BlockRef>, ReadError> {
        self.node.deep(self.depth).await
    }

    async fn block(&self, number: u64) -> Result<Option<BlockRef>, ReadError> {
        Ok(self.node.block(BlockNumberOrTag::Number(number)).await?.map(|head| head.block))
    }

    async fn events(&self, from: u64, to: u64) -> Result<Vec<Located>, ReadError> {
        let logs = self.node.logs(self.contracts.speakers(), from, to).await?;
        let read =
            |log| Located::from_log(log, &self.contracts).map_err(|error| nonsense("read events", &error.to_string()));
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
        let call = t::allowanceCall { owner: account, spender: self.contracts.sublet };
        Ok(convert::units(self.node.view(self.token, &call, "read an allowance").await?))
    }

    async fn free_of(&self, account: Address) -> Result<Amount, ReadError> {
        Ok(convert::units(self.node.view(self.contracts.sublet, &s::freeOfCall { account }, "read a balance").await?))
    }

    async fn provider(&self, account: Address) -> Result<Option<ProviderRecord>, ReadError> {
        let view =
            self.node.view(self.contracts.sublet, &s::providerOfCall { provider: account }, "read a provider").await?;
        Ok(convert::provider(view))
    }

    async fn provider_info(&self, account: Address) -> Result<Option<String>, ReadError> {
        let filter = Filter::new()
            .address(self.contracts.sublet)
            .event_signature(s::ProviderRegistered::SIGNATURE_HASH)
            .topic1(account.into_word());
        match self.newest(filter, "look for a provider's registration").await? {
            Some(Event::ProviderRegistered { info, .. }) => Ok(Some(info)),
            Some(_) | None => Ok(None),
        }
    }

    async fn uptime_of(&self, provider: Address) -> Result<u64, ReadError> {
        self.node.view(self.contracts.sublet, &s::uptimeOfCall { provider }, "read a provider's uptime").await
    }

    async fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, ReadError> {
        let doing = "read a lease";
        let view = self.node.view(self.contracts.lens, &l::leaseCall { id: id.0 }, doing).await?;
        convert::lease(&view).map_err(unknown_code(doing))
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadError> {
        let doing = "read a job";
        let view = self.node.view(self.contracts.lens, &l::jobCall { id: id.0 }, doing).await?;
        convert::job(&view).map_err(unknown_code(doing))
    }

    async fn job_opened(&self, id: JobId) -> Result<Option<JobOpened>, ReadError> {
        let filter = Filter::new()
            .address(self.contracts.sublet)
            .event_signature(s::JobOpened::SIGNATURE_HASH)
            .topic1(B256::from(U256::from(id.0)));
        match self.newest(filter, "look for a job's opening").await? {
            Some(Event::JobOpened(opened)) => Ok(Some(*opened)),
            Some(_) | None => Ok(None),
        }
    }

    async fn open_count(&self, offer: B256) -> Result<u32, ReadError> {
        self.node
            .view(self.contracts.sublet, &s::openCountCall { offerHash: offer }, "count an offer's agreements")
            .await
    }

    async fn agreement_count(&self) -> Result<u64, ReadError> {
        self.node.view(self.contracts.sublet, &s::agreementCountCall {}, "count agreements").await
    }

    async fn is_offer_cancelled(&self, provider: Address, offer: B256) -> Result<bool, ReadError> {
        let call = s::isOfferCancelledCall { provider, offerHash: offer };
        self.node.view(self.contracts.sublet, &call, "ask about an offer").await
    }

    async fn is_nonce_used(&self, renter: Address, nonce: U256) -> Result<bool, ReadError> {
        self.node.view(self.contracts.sublet, &s::isNonceUsedCall { renter, nonce }, "ask about an order").await
    }

    async fn is_open_paused(&self) -> Result<bool, ReadError> {
        self.node.view(self.contracts.sublet, &s::openPausedCall {}, "ask whether opening is paused").await
    }

    async fn is_contract_signature(
        &self,
        account: Address,
        digest: B256,
        signature: &Signature,
    ) -> Result<bool, ReadError> {
        let call = Erc1271::isValidSignatureCall { hash: digest, signature: signature.bytes().to_vec().into() };
        let request = TransactionRequest::default().with_to(account).with_input(call.abi_encode());
        // An account without code answers with nothing; one that reverts says no.
        match self.node.simulate(request, BlockNumberOrTag::Latest, "ask a contract about its signature").await {
            Ok(answer) => Ok(answer.get(..32) == Some(&MAGIC[..])),
            Err(ReadError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn mediator(&self, account: Address) -> Result<Option<MediatorRecord>, ReadError> {
        let call = c::mediatorOfCall { mediator: account };
        Ok(convert::mediator(&self.node.view(self.contracts.court, &call, "read a mediator").await?))
    }

    async fn mediator_set(&self, set: MediatorSetId) -> Result<Option<MediatorSetRecord>, ReadError> {
        let call = c::mediatorSetCall { set: set.0 };
        Ok(convert::mediator_set(self.node.view(self.contracts.court, &call, "read a set of mediators").await?))
    }

    async fn mediator_set_count(&self) -> Result<u64, ReadError> {
        self.node.view(self.contracts.court, &c::mediatorSetCountCall {}, "count sets of mediators").await
    }

    async fn dispute(&self, id: JobId) -> Result<Option<DisputeRecord>, ReadError> {
        let doing = "read a dispute";
        let view = self.node.view(self.contracts.court, &c::disputeOfCall { id: id.0 }, doing).await?;
        convert::dispute(&view).map_err(unknown_code(doing))
    }

    async fn gateway(&self, account: Address) -> Result<Option<GatewayRecord>, ReadError> {
        let call = g::gatewayOfCall { gateway: account };
        Ok(convert::gateway(self.node.view(self.contracts.gateways, &call, "read a gateway").await?))
    }

    async fn gateways(&self, start: u64, most: u64) -> Result<Vec<GatewayRecord>, ReadError> {
        let call = g::gatewaysFromCall { start: U256::from(start), most: U256::from(most) };
        let views = self.node.view(self.contracts.gateways, &call, "list gateways").await?;
        Ok(views.into_iter().filter_map(convert::gateway).collect())
    }

    async fn placed_order(&self, order: B256) -> Result<Option<PlacedOrder>, ReadError> {
        let call = o::placedCall { orderHash: order };
        if !self.node.view(self.contracts.orders, &call, "ask about a placed order").await?.isPlaced {
            return Ok(None);
        }
        let filter =
            Filter::new().address(self.contracts.orders).event_signature(o::OrderPlaced::SIGNATURE_HASH).topic2(order);
        match self.newest(filter, "look for a placed order").await? {
            Some(Event::OrderPlaced(placed)) => Ok(Some(*placed)),
            Some(_) | None => Err(nonsense("look for a placed order", "it was placed, but its event is missing")),
        }
    }

    async fn placed_orders(&self, from: u64, to: u64) -> Result<Vec<PlacedOrder>, ReadError> {
        let filter = Filter::new().address(self.contracts.orders).event_signature(o::OrderPlaced::SIGNATURE_HASH);
        let mut found = Vec::new();
        for log in self.node.all_logs(filter, from, to).await? {
            let located = Located::from_log(&log, &self.contracts);
            match located.map_err(|error| nonsense("list placed orders", &error.to_string()))?.event {
                Event::OrderPlaced(placed) => found.push(*placed),
                _ => return Err(nonsense("list placed orders", "another event than asked for")),
            }
        }
        Ok(found)
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
