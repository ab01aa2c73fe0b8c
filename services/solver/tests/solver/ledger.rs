//! A chain in memory with just enough of the contract's rules for a solver.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use sublet_base::{Address, Amount, B256, JobId, LeaseId, PeerKey, Seconds, U256, UnixTime};
use sublet_chain::{
    BlockRef, Call, DisputeRecord, Event, GatewayRecord, Head, JobOpened, JobRecord, Landed, LeaseEnd, LeaseOpened,
    LeaseRecord, Ledger, Located, MediatorRecord, MediatorSetRecord, PlacedOrder, ProviderRecord, ReadError, Refusal,
    Rules, Split, SubmitError, TxKey,
};
use sublet_market::agreement::CourtRules;
use sublet_market::{Domain, Kind, MediatorSetId, Signature, SignedOffer, SignedOrder, TypedData};
use tokio::sync::Notify;

pub(crate) const START: UnixTime = UnixTime(1_800_000_000);
pub(crate) const DOMAIN: Domain = Domain { chain_id: 31337, contract: Address::repeat_byte(0xcc) };
pub(crate) const SOLVER: Address = Address::repeat_byte(0x50);

/// What `submit` does with an opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// The contract's rules.
    #[default]
    Fair,
    /// Takes it and never answers, as if the process died waiting; mined if `true`.
    Silent(bool),
    /// Refuses everything for this reason.
    Refuse(Refusal),
}

#[derive(Default, Debug)]
pub(crate) struct State {
    pub(crate) time: u64,
    pub(crate) free: HashMap<Address, Amount>,
    pub(crate) providers: HashMap<Address, ProviderRecord>,
    pub(crate) used: HashSet<(Address, U256)>,
    pub(crate) cancelled: HashSet<B256>,
    pub(crate) counts: HashMap<B256, u32>,
    pub(crate) mood: Mood,
    /// Offers that the contract opens with nobody's order.
    pub(crate) unfit: HashMap<B256, Refusal>,
    /// Orders that are refused when mined, although they look good before.
    pub(crate) spoiled: HashMap<B256, Refusal>,
    /// What each transaction was asked to open.
    pub(crate) transactions: Vec<usize>,
    /// Digests that contract accounts call signed, with the signature they expect.
    pub(crate) contract_signatures: HashMap<(Address, B256), Vec<u8>>,
    pub(crate) sets: HashMap<MediatorSetId, MediatorSetRecord>,
    pub(crate) down: bool,
    /// Events cannot be read, all else can.
    pub(crate) deaf: bool,
    /// How often it was asked whether a nonce is used.
    pub(crate) nonces: u64,
    /// Offers whose counts were asked for.
    pub(crate) counted: Vec<B256>,
    /// Openings that were mined.
    pub(crate) mined: Vec<(B256, B256)>,
    /// Answers by lasting key.
    answers: HashMap<String, Landed>,
    blocks: Vec<Vec<Event>>,
    offers: HashMap<u64, B256>,
}

#[derive(Debug, Default)]
pub(crate) struct FakeLedger {
    state: Mutex<State>,
    /// Rings when an opening is held back.
    pub(crate) held: Notify,
}

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::from(U256::from(number + 1)) }
}

impl State {
    fn mine(&mut self, events: Vec<Event>) -> BlockRef {
        self.blocks.push(events);
        block(self.blocks.len() as u64)
    }

    fn refusal(&self, offer: &SignedOffer, order: &SignedOrder) -> Option<Refusal> {
        let (offer_hash, order_hash) = (offer.offer.signing_hash(&DOMAIN), order.order.signing_hash(&DOMAIN));
        let (renter, nonce) = (order.order.renter, order.order.nonce);
        if let Mood::Refuse(refusal) = &self.mood {
            return Some(refusal.clone());
        }
        if self.used.contains(&(renter, nonce)) {
            return Some(Refusal::OrderNonceUsed { renter, nonce });
        }
        if order.order.valid_until.0 < START.0 + self.time {
            return Some(Refusal::OrderExpired { order: order_hash, valid_until: order.order.valid_until });
        }
        let placed = order.signature.bytes().is_empty() && self.placed(order_hash).is_some();
        if !placed && order.verify(&DOMAIN).is_err() && !self.contract_signed(renter, order_hash, &order.signature) {
            return Some(Refusal::OrderBadSignature { renter, order: order_hash });
        }
        if let Some(refusal) = self.unfit.get(&offer_hash) {
            return Some(refusal.clone());
        }
        if self.counts.get(&offer_hash).copied().unwrap_or(0) >= offer.offer.capacity {
            return Some(Refusal::OfferFull { offer: offer_hash, capacity: offer.offer.capacity });
        }
        None
    }

    fn contract_signed(&self, account: Address, digest: B256, signature: &Signature) -> bool {
        self.contract_signatures.get(&(account, digest)).is_some_and(|expected| expected == signature.bytes())
    }

    fn placed(&self, hash: B256) -> Option<PlacedOrder> {
        self.blocks.iter().flatten().find_map(|event| match event {
            Event::OrderPlaced(placed) if placed.hash == hash => Some((**placed).clone()),
            _ => None,
        })
    }

    /// What `open` does, by whoever calls.
    pub(crate) fn open(&mut self, offer: &SignedOffer, order: &SignedOrder) -> Result<Landed, Refusal> {
        let event = self.row(offer, order)?;
        Ok(self.land(vec![event]))
    }

    /// What `openMany` does.
    fn open_many(&mut self, pairs: &[(SignedOffer, SignedOrder)]) -> Landed {
        let mut events = Vec::new();
        for (index, (offer, order)) in pairs.iter().enumerate() {
            let (renter, provider) = (order.order.renter, offer.offer.provider);
            events.push(match self.row(offer, order) {
                Ok(event) => event,
                Err(refusal) => Event::OpenRefused { index: index as u64, renter, provider, refusal },
            });
        }
        self.land(events)
    }

    fn land(&mut self, events: Vec<Event>) -> Landed {
        let block = self.mine(events.clone());
        let tx = B256::from(U256::from(0xabc_0000 + block.number));
        Landed { tx, block, gas_used: 1, fee: U256::ZERO, events }
    }

    fn row(&mut self, offer: &SignedOffer, order: &SignedOrder) -> Result<Event, Refusal> {
        let spoiled = self.spoiled.get(&order.order.signing_hash(&DOMAIN)).cloned();
        if let Some(refusal) = self.refusal(offer, order).or(spoiled) {
            return Err(refusal);
        }
        let (offer_hash, order_hash) = (offer.offer.signing_hash(&DOMAIN), order.order.signing_hash(&DOMAIN));
        self.used.insert((order.order.renter, order.order.nonce));
        *self.counts.entry(offer_hash).or_default() += 1;
        self.mined.push((offer_hash, order_hash));
        let id = self.mined.len() as u64;
        self.offers.insert(id, offer_hash);
        Ok(opened(id, offer, order))
    }
}

impl FakeLedger {
    pub(crate) fn new() -> Self {
        let ledger = Self::default();
        ledger.state().mine(Vec::new());
        ledger
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fund(&self, account: Address, amount: Amount) {
        self.state().free.insert(account, amount);
    }

    /// The newest block.
    pub(crate) fn height(&self) -> u64 {
        self.state().blocks.len() as u64
    }

    /// Lets time pass in an empty block.
    pub(crate) fn pass(&self, seconds: u64) {
        let mut state = self.state();
        state.time += seconds;
        for provider in state.providers.values_mut() {
            provider.last_beat = UnixTime(provider.last_beat.0 + seconds);
        }
        state.mine(Vec::new());
    }

    pub(crate) fn register(&self, account: Address) {
        let record = ProviderRecord {
            peer_key: PeerKey([1; 32]),
            online: true,
            registered_at: START,
            last_beat: START,
            uptime: 0,
            epoch: 0,
        };
        self.state().providers.insert(account, record);
    }

    /// Something happens in a new block.
    pub(crate) fn happen(&self, event: Event) {
        let mut state = self.state();
        match &event {
            Event::OrderCancelled { renter, nonce } => drop(state.used.insert((*renter, *nonce))),
            Event::OfferCancelled { offer, .. } => drop(state.cancelled.insert(*offer)),
            Event::EpochBumped { provider, epoch } => {
                state.providers.get_mut(provider).unwrap().epoch = *epoch;
            }
            Event::LeaseEnded { id, .. } => {
                let offer = state.offers[&id.0];
                *state.counts.get_mut(&offer).unwrap() -= 1;
            }
            _ => {}
        }
        state.mine(vec![event]);
    }

    pub(crate) fn lease_ended(id: u64) -> Event {
        let split = Split {
            paid: Amount::ZERO,
            refunded: Amount::ZERO,
            pledge_back: Amount::ZERO,
            slashed: Amount::ZERO,
            caller: Address::ZERO,
            reward: Amount::ZERO,
        };
        Event::LeaseEnded { id: LeaseId(id), end: LeaseEnd::ClosedByRenter, split }
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, ReadError> {
        let state = self.state();
        if state.down {
            let message = "down for the test".to_owned();
            return Err(ReadError::Node { doing: "answer", code: -1, message });
        }
        Ok(state)
    }
}

fn opened(id: u64, offer: &SignedOffer, order: &SignedOrder) -> Event {
    let (offer_hash, order_hash) = (offer.offer.signing_hash(&DOMAIN), order.order.signing_hash(&DOMAIN));
    let (offer, order) = (&offer.offer, &order.order);
    let escrow = offer.escrow(order.duration).unwrap();
    let pledge = offer.pledge(order.duration).unwrap();
    match order.kind {
        Kind::Lease => Event::LeaseOpened(Box::new(LeaseOpened {
            id: LeaseId(id),
            renter: order.renter,
            provider: offer.provider,
            offer: offer_hash,
            order: order_hash,
            workload: order.workload,
            peer_key: order.peer_key,
            price: offer.price,
            duration: order.duration,
            escrow,
            pledge,
            solver_fee: order.solver_fee,
            solver: SOLVER,
            start_by: START,
        })),
        Kind::Job => Event::JobOpened(Box::new(JobOpened {
            id: JobId(id),
            renter: order.renter,
            provider: offer.provider,
            offer: offer_hash,
            order: order_hash,
            workload: order.workload,
            peer_key: order.peer_key,
            class: order.class,
            price: offer.price,
            duration: order.duration,
            escrow,
            pledge,
            solver_fee: order.solver_fee,
            solver: SOLVER,
            start_by: START,
            run_by: START,
        })),
    }
}

#[async_trait]
impl Ledger for FakeLedger {
    fn account(&self) -> Option<Address> {
        Some(SOLVER)
    }
    fn domain(&self) -> Domain {
        DOMAIN
    }
    fn token(&self) -> Address {
        Address::repeat_byte(0x70)
    }
    fn rules(&self) -> Rules {
        Rules {
            max_gap: Seconds(600),
            fault_after: Seconds(3600),
            court: CourtRules::default(),
            gateway_stale_after: Seconds(600),
            max_workload: 16 << 10,
        }
    }
    async fn head(&self) -> Result<Head, ReadError> {
        let state = self.up()?;
        Ok(Head { block: block(state.blocks.len() as u64), time: UnixTime(START.0 + state.time) })
    }
    async fn firm_head(&self) -> Result<Option<BlockRef>, ReadError> {
        Ok(Some(block(self.up()?.blocks.len() as u64)))
    }
    async fn block(&self, number: u64) -> Result<Option<BlockRef>, ReadError> {
        Ok((number <= self.up()?.blocks.len() as u64).then(|| block(number)))
    }
    async fn events(&self, from: u64, to: u64) -> Result<Vec<Located>, ReadError> {
        let state = self.up()?;
        if state.deaf {
            return Err(ReadError::Node { doing: "read events", code: -1, message: "deaf for the test".to_owned() });
        }
        let mut found = Vec::new();
        for number in from.max(1)..=to {
            for (index, event) in state.blocks[number as usize - 1].iter().enumerate() {
                let at = block(number);
                let tx = B256::from(U256::from(number));
                let index = index as u64;
                found.push(Located { block: number, block_hash: at.hash, time: None, tx, index, event: event.clone() });
            }
        }
        Ok(found)
    }
    async fn gas_balance(&self, _: Address) -> Result<U256, ReadError> {
        Ok(U256::MAX)
    }
    async fn token_balance(&self, _: Address) -> Result<Amount, ReadError> {
        Ok(Amount::ZERO)
    }
    async fn allowance(&self, _: Address) -> Result<Amount, ReadError> {
        Ok(Amount::ZERO)
    }
    async fn free_of(&self, account: Address) -> Result<Amount, ReadError> {
        Ok(self.up()?.free.get(&account).copied().unwrap_or_default())
    }
    async fn provider(&self, account: Address) -> Result<Option<ProviderRecord>, ReadError> {
        Ok(self.up()?.providers.get(&account).cloned())
    }
    async fn provider_info(&self, _: Address) -> Result<Option<String>, ReadError> {
        Ok(None)
    }
    async fn uptime_of(&self, _: Address) -> Result<u64, ReadError> {
        Ok(0)
    }
    async fn lease(&self, _: LeaseId) -> Result<Option<LeaseRecord>, ReadError> {
        Ok(None)
    }
    async fn job(&self, _: JobId) -> Result<Option<JobRecord>, ReadError> {
        Ok(None)
    }
    async fn job_opened(&self, _: JobId) -> Result<Option<JobOpened>, ReadError> {
        Ok(None)
    }
    async fn open_count(&self, offer: B256) -> Result<u32, ReadError> {
        let mut state = self.up()?;
        state.counted.push(offer);
        Ok(state.counts.get(&offer).copied().unwrap_or(0))
    }
    async fn agreement_count(&self) -> Result<u64, ReadError> {
        Ok(self.up()?.mined.len() as u64)
    }
    async fn is_offer_cancelled(&self, _: Address, offer: B256) -> Result<bool, ReadError> {
        Ok(self.up()?.cancelled.contains(&offer))
    }
    async fn is_nonce_used(&self, renter: Address, nonce: U256) -> Result<bool, ReadError> {
        let mut state = self.up()?;
        state.nonces += 1;
        Ok(state.used.contains(&(renter, nonce)))
    }
    async fn is_open_paused(&self) -> Result<bool, ReadError> {
        Ok(false)
    }
    async fn is_contract_signature(
        &self,
        account: Address,
        digest: B256,
        signature: &Signature,
    ) -> Result<bool, ReadError> {
        Ok(self.up()?.contract_signed(account, digest, signature))
    }
    async fn mediator(&self, _: Address) -> Result<Option<MediatorRecord>, ReadError> {
        Ok(None)
    }
    async fn mediator_set(&self, set: MediatorSetId) -> Result<Option<MediatorSetRecord>, ReadError> {
        Ok(self.up()?.sets.get(&set).cloned())
    }
    async fn mediator_set_count(&self) -> Result<u64, ReadError> {
        Ok(0)
    }
    async fn dispute(&self, _: JobId) -> Result<Option<DisputeRecord>, ReadError> {
        Ok(None)
    }
    async fn gateway(&self, _: Address) -> Result<Option<GatewayRecord>, ReadError> {
        Ok(None)
    }
    async fn gateways(&self, _: u64, _: u64) -> Result<Vec<GatewayRecord>, ReadError> {
        Ok(Vec::new())
    }
    async fn placed_order(&self, order: B256) -> Result<Option<PlacedOrder>, ReadError> {
        Ok(self.up()?.placed(order))
    }
    async fn placed_orders(&self, from: u64, to: u64) -> Result<Vec<PlacedOrder>, ReadError> {
        let placed = |located: &Located| match &located.event {
            Event::OrderPlaced(placed) => Some((**placed).clone()),
            _ => None,
        };
        Ok(self.events(from, to).await?.iter().filter_map(placed).collect())
    }
    async fn check(&self, call: &Call) -> Result<Result<(), Refusal>, ReadError> {
        let Call::Open(pair) = call else { return Ok(Ok(())) };
        Ok(self.up()?.refusal(&pair.0, &pair.1).map_or(Ok(()), Err))
    }
    async fn submit(&self, key: &TxKey, call: &Call) -> Result<Landed, SubmitError> {
        let pairs: Vec<(SignedOffer, SignedOrder)> = match call {
            Call::Open(pair) => vec![(**pair).clone()],
            Call::OpenMany(pairs) => pairs.clone(),
            _ => return Err(SubmitError::Invalid("only openings".into())),
        };
        let (silent, answer) = {
            let mut state = self.up().map_err(SubmitError::NotSent)?;
            if let Some(landed) = state.answers.get(key.name()) {
                (false, Ok(landed.clone()))
            } else {
                let silent = matches!(state.mood, Mood::Silent(_));
                let sent = !matches!(state.mood, Mood::Silent(false));
                let answer = match call {
                    _ if !sent => Err(Refusal::OpenIsPaused),
                    Call::OpenMany(_) => Ok(state.open_many(&pairs)),
                    _ => state.open(&pairs[0].0, &pairs[0].1),
                };
                if let Ok(landed) = &answer {
                    state.transactions.push(pairs.len());
                    state.answers.insert(key.name().to_owned(), landed.clone());
                }
                (silent, answer)
            }
        };
        if silent {
            self.held.notify_one();
            std::future::pending::<()>().await;
        }
        answer.map_err(SubmitError::Refused)
    }
    async fn find(&self, key: &TxKey) -> Result<Option<Landed>, SubmitError> {
        Ok(self.state().answers.get(key.name()).cloned())
    }
    async fn forget(&self, key: &TxKey) -> Result<(), SubmitError> {
        self.state().answers.remove(key.name());
        Ok(())
    }
}
