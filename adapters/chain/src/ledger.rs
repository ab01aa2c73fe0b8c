//! The ledger as services see it: what the chain knows, what happened, and what to do about it.

use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, JobId, LeaseId, Seconds, U256};
use sublet_market::agreement::CourtRules;
use sublet_market::{Domain, MediatorSetId, Signature};

use crate::agreement::{JobRecord, LeaseRecord, ProviderRecord};
use crate::branch::{GatewayRecord, PlacedOrder};
use crate::call::Call;
use crate::court::{DisputeRecord, MediatorRecord, MediatorSetRecord};
use crate::event::{Event, JobOpened, Located};
use crate::node::{BlockRef, Head, ReadError};
use crate::refusal::Refusal;
use crate::submit::{SubmitError, TxKey};

/// A transaction that was mined and went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Its hash.
    pub tx: B256,
    /// Its block. A node whose head is older does not know the effects yet: what it says then is out of date.
    pub block: BlockRef,
    /// Gas it used.
    pub gas_used: u64,
    /// What the gas cost, wei.
    pub fee: U256,
    /// What it made happen, in order.
    pub events: Vec<Event>,
}

impl Landed {
    /// Number of the agreement this transaction opened, if it opened one.
    #[must_use]
    pub fn opened(&self) -> Option<u64> {
        self.events.iter().find_map(|event| match event {
            Event::LeaseOpened(opened) => Some(opened.id.0),
            Event::JobOpened(opened) => Some(opened.id.0),
            _ => None,
        })
    }
}

/// Constants of the deployed contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest time one beat vouches for; also how fresh a beat must be to open.
    pub max_gap: Seconds,
    /// Silence after which anyone may fault a provider's leases.
    pub fault_after: Seconds,
    /// The court's clocks.
    pub court: CourtRules,
    /// Silence after which a gateway counts as offline.
    pub gateway_stale_after: Seconds,
    /// Most bytes of a workload placed along with its order.
    pub max_workload: u64,
}

/// Everything the network's roles ask of the chain. Money is in token units, time is the chain's.
#[async_trait]
pub trait Ledger: Send + Sync + std::fmt::Debug {
    /// The account that signs, if this ledger has one.
    fn account(&self) -> Option<Address>;
    /// Where documents must be signed for to count here.
    fn domain(&self) -> Domain;
    /// The ERC-20 all amounts are in.
    fn token(&self) -> Address;
    /// Constants of the contract.
    fn rules(&self) -> Rules;

    /// The newest block and its time.
    async fn head(&self) -> Result<Head, ReadError>;
    /// The newest block that lies as deep as this network wants before it acts; `None` while there is none.
    async fn firm_head(&self) -> Result<Option<BlockRef>, ReadError>;
    /// The block with this number; `None` above the head.
    async fn block(&self, number: u64) -> Result<Option<BlockRef>, ReadError>;
    /// Events of the blocks `from` to `to`, both included, in order.
    async fn events(&self, from: u64, to: u64) -> Result<Vec<Located>, ReadError>;

    /// Wei of the chain's own coin, which pays for gas.
    async fn gas_balance(&self, account: Address) -> Result<U256, ReadError>;
    /// Tokens in the account's wallet, outside the contract.
    async fn token_balance(&self, account: Address) -> Result<Amount, ReadError>;
    /// Tokens the contract may take from the account's wallet.
    async fn allowance(&self, account: Address) -> Result<Amount, ReadError>;
    /// Free balance inside the contract.
    async fn free_of(&self, account: Address) -> Result<Amount, ReadError>;
    /// A provider; `None` if the account never registered.
    async fn provider(&self, account: Address) -> Result<Option<ProviderRecord>, ReadError>;
    /// What a provider says about itself, a JSON object, never to be trusted; `None` if it never registered. Searches the
    /// chain's events, so ask when somebody needs it only.
    async fn provider_info(&self, account: Address) -> Result<Option<String>, ReadError>;
    /// Credited seconds of uptime now.
    async fn uptime_of(&self, provider: Address) -> Result<u64, ReadError>;
    /// A lease; `None` if there is no such lease.
    async fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, ReadError>;
    /// A job; `None` if there is no such job.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadError>;
    /// What a job's opening said; `None` if there is no such job. Searches the chain's events, so ask when somebody needs it
    /// only.
    async fn job_opened(&self, id: JobId) -> Result<Option<JobOpened>, ReadError>;
    /// Agreements of an offer that are open now, by the offer's digest.
    async fn open_count(&self, offer: B256) -> Result<u32, ReadError>;
    /// Agreements ever opened; the newest has this number.
    async fn agreement_count(&self) -> Result<u64, ReadError>;
    /// Whether the provider took this offer back.
    async fn is_offer_cancelled(&self, provider: Address, offer: B256) -> Result<bool, ReadError>;
    /// Whether the renter's order number is filled or cancelled.
    async fn is_nonce_used(&self, renter: Address, nonce: U256) -> Result<bool, ReadError>;
    /// Whether new agreements are paused.
    async fn is_open_paused(&self) -> Result<bool, ReadError>;
    /// Whether the contract at `account` (ERC-1271) calls this its signature of `digest`. False where there is no contract.
    async fn is_contract_signature(
        &self,
        account: Address,
        digest: B256,
        signature: &Signature,
    ) -> Result<bool, ReadError>;

    /// A mediator; `None` if the account is none.
    async fn mediator(&self, account: Address) -> Result<Option<MediatorRecord>, ReadError>;
    /// A set of mediators; `None` if there is no such set.
    async fn mediator_set(&self, set: MediatorSetId) -> Result<Option<MediatorSetRecord>, ReadError>;
    /// Sets ever created; the newest has this number.
    async fn mediator_set_count(&self) -> Result<u64, ReadError>;
    /// The dispute of a job; `None` if there is none.
    async fn dispute(&self, id: JobId) -> Result<Option<DisputeRecord>, ReadError>;
    /// A gateway; `None` if the account is none.
    async fn gateway(&self, account: Address) -> Result<Option<GatewayRecord>, ReadError>;
    /// Up to `most` gateways from number `start` on, offline ones included. Fewer only at the end of the list.
    async fn gateways(&self, start: u64, most: u64) -> Result<Vec<GatewayRecord>, ReadError>;
    /// An order placed on chain, by its digest; `None` if it never was. It may be filled, cancelled or expired by now.
    /// Searches the chain's events.
    async fn placed_order(&self, order: B256) -> Result<Option<PlacedOrder>, ReadError>;
    /// Orders placed in the blocks `from` to `to`, both included, in order; whatever became of them since.
    async fn placed_orders(&self, from: u64, to: u64) -> Result<Vec<PlacedOrder>, ReadError>;

    /// Asks whether a call would go through now, without sending it. `Ok(Err(_))` says why not.
    async fn check(&self, call: &Call) -> Result<Result<(), Refusal>, ReadError>;
    /// Sends a call and waits for a definite answer. Again with the same key: the same transaction, never a second.
    async fn submit(&self, key: &TxKey, call: &Call) -> Result<Landed, SubmitError>;
    /// What became of the transaction sent under this key; `None` if none was ever signed. Waits like `submit`.
    async fn find(&self, key: &TxKey) -> Result<Option<Landed>, SubmitError>;
    /// Forgets a lasting key, once the caller has recorded the answer itself.
    async fn forget(&self, key: &TxKey) -> Result<(), SubmitError>;
}
