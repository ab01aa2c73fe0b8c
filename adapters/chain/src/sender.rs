//! Sends transactions and gives a definite answer: mined and good, mined and refused, or not known yet. It never guesses.
//!
//! ```text
//! estimate ──refused──▶ nothing was sent
//!    │ gas
//! nonce, sign ──▶ journal ──▶ send ──▶ look for the receipt ──▶ landed | reverted | replaced (seen who has its number)
//!                                ▲            │ silence
//!                                └─ again, or with a better fee (journaled first)
//! ```
//! One sender owns an account's nonces. Each transaction has the caller's key: calling again with the same key after a
//! crash continues with the transaction that was signed then, instead of signing another.

use std::collections::HashMap;
use std::sync::Arc;

use alloy::consensus::TxEip1559;
use alloy::eips::BlockNumberOrTag;
use alloy::network::TransactionBuilder;
use alloy::primitives::{Bytes, TxKind};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use sublet_base::{Address, B256, U256};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::depth::Depth;
use crate::node::{Estimate, Handed, Node, NumberUsed, ReadError};
use crate::submit::{SenderOptions, SubmitError, TxKey};
use crate::tx_journal::{Attempt, Outcome, TxId, TxJournal, TxJournalError, TxRecord};
use crate::wallet::{SignError, Wallet};

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) to: Option<Address>,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
}

/// The one owner of an account's nonces.
#[derive(Debug)]
pub(crate) struct Sender {
    node: Node,
    wallet: Wallet,
    journal: Arc<dyn TxJournal>,
    options: SenderOptions,
    /// Held while a transaction is signed, journaled and handed over, and while its outcome is written down.
    numbers: Mutex<Numbers>,
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// What is known of the account's numbers.
#[derive(Debug, Default)]
struct Numbers {
    /// The next one to use, once known.
    next: Option<u64>,
    /// All below are mined, also when a node that lags behind says otherwise.
    mined: u64,
}

/// What a look at the chain showed.
enum Seen {
    Mined(Box<TransactionReceipt>),
    Waiting,
    /// The number is used up, by this transaction; by one mined too long ago to say, if none.
    NumberUsed(Option<B256>),
}

impl Sender {
    pub(crate) fn new(node: Node, wallet: Wallet, journal: Arc<dyn TxJournal>, options: SenderOptions) -> Self {
        Self { node, wallet, journal, options, numbers: Mutex::default(), turns: Mutex::default() }
    }

    pub(crate) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    fn id(&self, key: &TxKey) -> TxId {
        TxId { chain: self.node.genesis, account: self.wallet.address(), key: key.name.clone() }
    }

    /// Sends, or continues what was sent under this key before, and waits for a definite answer.
    ///
    /// Dropping the future stops the waiting, never a half-done send: signing, journaling and handing over run apart.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        key: &TxKey,
        payload: Payload,
    ) -> Result<TransactionReceipt, SubmitError> {
        loop {
            let (record, turn) = self.obtain(key, payload.clone()).await?;
            let ours = record.to == payload.to && record.data == payload.data && record.value == payload.value;
            if !ours && key.keep {
                return Err(SubmitError::KeyTaken(record.id.key));
            }
            let answer = self.settle(record, key.keep).await;
            drop(turn);
            match answer {
                // Left by a crash under a passing name: now that its end is known, it is ours' turn.
                Ok(_) | Err(SubmitError::Reverted { .. } | SubmitError::Replaced { .. }) if !ours => {}
                answer => return answer,
            }
        }
    }

    /// What is known of a transaction sent earlier; `None` if nothing was ever signed under this key.
    pub(crate) async fn find(&self, key: &TxKey) -> Result<Option<TransactionReceipt>, SubmitError> {
        let _turn = self.turn(&key.name).await;
        match self.journal.load(&self.id(key)).await? {
            Some(record) => self.settle(record, key.keep).await.map(Some),
            None => Ok(None),
        }
    }

    /// The record under this key, sent just now if there was none, and the key's turn.
    async fn obtain(
        self: &Arc<Self>,
        key: &TxKey,
        payload: Payload,
    ) -> Result<(TxRecord, OwnedMutexGuard<()>), SubmitError> {
        let (sender, key) = (Arc::clone(self), key.clone());
        let task = tokio::spawn(async move {
            let turn = sender.turn(&key.name).await;
            let id = sender.id(&key);
            let record = match sender.journal.load(&id).await? {
                Some(known) => known,
                None => sender.send(id, payload, key.keep).await?,
            };
            Ok((record, turn))
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The program is ending; the journal knows at the next start.
            Err(_) => Err(SubmitError::Unknown { tx: B256::ZERO, last: None }),
        }
    }

    pub(crate) async fn forget(&self, key: &TxKey) -> Result<(), SubmitError> {
        Ok(self.journal.remove(&self.id(key)).await?)
    }

    /// Sends again what was signed and has no outcome, so that no number is missing in front of the next ones. A passing
    /// transaction that no node has is forgotten instead: what it was good for may be over.
    pub(crate) async fn resume(&self) -> Result<usize, SubmitError> {
        let pending = self.pending().await?;
        if pending.is_empty() {
            return Ok(0);
        }
        let account = self.wallet.address();
        let mined = self.node.nonce(account, BlockNumberOrTag::Latest).await.map_err(SubmitError::NotSent)?;
        let mut count = 0;
        for record in pending {
            if !record.keep && (record.nonce < mined || !self.is_known(&record).await?) {
                self.journal.remove(&record.id).await?;
            } else {
                self.hand_over_again(&record).await;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn is_known(&self, record: &TxRecord) -> Result<bool, SubmitError> {
        for attempt in &record.attempts {
            if self.node.knows(attempt.hash).await.map_err(SubmitError::NotSent)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What has no outcome yet, in the order of the numbers.
    async fn pending(&self) -> Result<Vec<TxRecord>, TxJournalError> {
        self.journal.pending(self.node.genesis, self.wallet.address()).await
    }

    /// One caller at a time for each key.
    async fn turn(&self, key: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().await;
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// Estimates, signs, journals and hands over a new transaction.
    async fn send(&self, id: TxId, payload: Payload, keep: bool) -> Result<TxRecord, SubmitError> {
        let gas = self.gas(&payload).await?;
        let (max_fee, tip) = self.node.fees().await.map_err(SubmitError::NotSent)?;
        let mut numbers = self.numbers.lock().await;
        let mut record = TxRecord {
            id,
            nonce: 0,
            to: payload.to,
            value: payload.value,
            data: payload.data,
            gas,
            attempts: Vec::new(),
            outcome: None,
            keep,
        };
        loop {
            record.nonce = self.free_number(&numbers).await?;
            record.attempts = vec![self.sign(&record, max_fee.min(self.options.max_fee), tip)?];
            self.journal.save(&record).await?;
            let answer = self.node.hand_over(&record.attempts[0].raw).await;
            match self.taken(&record, answer).await? {
                true => {
                    numbers.next = Some(record.nonce + 1);
                    return Ok(record);
                }
                false => numbers.next = None,
            }
        }
    }

    /// True: handed over, or nobody knows. False: the number is taken, try another. Errors undo the journal's entry.
    async fn taken(&self, record: &TxRecord, answer: Result<Handed, ReadError>) -> Result<bool, SubmitError> {
        let account = self.wallet.address();
        match answer {
            Ok(Handed::Taken) => Ok(true),
            Err(error) => {
                debug!(key = %record.id.key, error = %error, "sent without an answer");
                Ok(true)
            }
            Ok(Handed::NonceUsed | Handed::NonceContested) => {
                warn!(%account, nonce = record.nonce, "the transaction number is taken by another program");
                // Not sent before under this hash, but only the chain can say that for certain.
                match self.node.receipt(record.attempts[0].hash).await {
                    Ok(None) => Ok(false),
                    Ok(Some(_)) | Err(_) => Ok(true),
                }
            }
            Ok(Handed::NoFunds) => {
                self.journal.remove(&record.id).await?;
                Err(self.no_gas().await)
            }
            Ok(Handed::Invalid(why)) => {
                self.journal.remove(&record.id).await?;
                Err(SubmitError::Invalid(why))
            }
        }
    }

    async fn no_gas(&self) -> SubmitError {
        let account = self.wallet.address();
        match self.node.balance(account).await {
            Ok(balance) => SubmitError::NoGas { account, balance },
            Err(error) => SubmitError::NotSent(error),
        }
    }

    /// The estimate and a quarter more, because state may change before it is mined.
    async fn gas(&self, payload: &Payload) -> Result<u64, SubmitError> {
        match self.node.estimate(self.request(payload.to, payload.value, &payload.data)).await {
            Ok(Estimate::Gas(gas)) => Ok(gas.saturating_add(gas / 4).saturating_add(5_000)),
            Ok(Estimate::Refused(refusal)) => Err(SubmitError::Refused(refusal)),
            Ok(Estimate::NoFunds) => Err(self.no_gas().await),
            Err(error) => Err(SubmitError::NotSent(error)),
        }
    }

    fn request(&self, to: Option<Address>, value: U256, data: &Bytes) -> TransactionRequest {
        let request =
            TransactionRequest::default().with_from(self.wallet.address()).with_value(value).with_input(data.clone());
        match to {
            Some(to) => request.with_to(to),
            None => request.with_kind(TxKind::Create),
        }
    }

    /// The lowest number after those the node knows that the journal does not know: a gap would hold up all after it.
    async fn free_number(&self, numbers: &Numbers) -> Result<u64, SubmitError> {
        let account = self.wallet.address();
        let known = match numbers.next {
            Some(next) => next,
            None => self.node.nonce(account, BlockNumberOrTag::Pending).await.map_err(SubmitError::NotSent)?,
        };
        let mut free = known.max(numbers.mined);
        for ours in self.pending().await? {
            if ours.nonce == free {
                free += 1;
            }
        }
        Ok(free)
    }

    fn sign(&self, record: &TxRecord, max_fee: u128, tip: u128) -> Result<Attempt, SignError> {
        let tip = tip.min(max_fee);
        let (hash, raw) = self.wallet.sign_transaction(TxEip1559 {
            chain_id: self.node.chain_id,
            nonce: record.nonce,
            gas_limit: record.gas,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: tip,
            to: record.to.map_or(TxKind::Create, TxKind::Call),
            value: record.value,
            access_list: Default::default(),
            input: record.data.clone(),
        })?;
        Ok(Attempt { hash, raw: raw.into(), max_fee, tip })
    }

    /// Looks until the answer is definite or patience runs out.
    async fn settle(&self, mut record: TxRecord, keep: bool) -> Result<TransactionReceipt, SubmitError> {
        let started = Instant::now();
        let (mut pause, mut pushed, mut last) = (self.options.poll, Instant::now(), None);
        loop {
            let seen = self.look(&record).await;
            // Whoever waits for a later number may have offered more for this one.
            record = self.newest(record).await?;
            match seen {
                Ok(Seen::Mined(receipt)) => return self.conclude(record, *receipt, keep).await,
                Ok(Seen::NumberUsed(by)) if by.is_none_or(|by| record.attempts.iter().all(|a| a.hash != by)) => {
                    return self.replaced(record, keep).await;
                }
                // Mined, and this node, or another of several behind its name, has yet to find the receipt.
                Ok(Seen::NumberUsed(_) | Seen::Waiting) => {}
                Err(error) => last = Some(Box::new(error)),
            }
            if started.elapsed() >= self.options.patience {
                let tx = record.attempts.last().map_or(B256::ZERO, |attempt| attempt.hash);
                return Err(SubmitError::Unknown { tx, last });
            }
            if pushed.elapsed() >= self.options.resend_after {
                self.push(record.nonce).await?;
                pushed = Instant::now();
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(self.options.poll * 8);
        }
    }

    async fn look(&self, record: &TxRecord) -> Result<Seen, ReadError> {
        for attempt in record.attempts.iter().rev() {
            if let Some(receipt) = self.node.receipt(attempt.hash).await? {
                return self.deep_enough(receipt).await;
            }
        }
        let Some(firm) = self.node.deep(self.options.depth).await? else { return Ok(Seen::Waiting) };
        let mined = self.node.nonce(record.id.account, BlockNumberOrTag::Number(firm.number)).await?;
        if mined <= record.nonce {
            return Ok(Seen::Waiting);
        }
        Ok(match self.node.number_used(record.id.account, record.nonce, firm.number).await? {
            NumberUsed::By(hash) => Seen::NumberUsed(Some(hash)),
            NumberUsed::LongAgo => Seen::NumberUsed(None),
            NumberUsed::Unsaid => Seen::Waiting,
        })
    }

    /// A receipt counts once its block lies deep enough and is still the chain's.
    async fn deep_enough(&self, receipt: TransactionReceipt) -> Result<Seen, ReadError> {
        let (Some(number), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
            return Ok(Seen::Waiting);
        };
        if self.options.depth != Depth::Newest {
            if self.node.deep(self.options.depth).await?.is_none_or(|firm| firm.number < number) {
                return Ok(Seen::Waiting);
            }
            let now = self.node.block(BlockNumberOrTag::Number(number)).await?;
            if now.is_none_or(|head| head.block.hash != hash) {
                return Ok(Seen::Waiting);
            }
        }
        Ok(Seen::Mined(Box::new(receipt)))
    }

    async fn conclude(
        &self,
        record: TxRecord,
        receipt: TransactionReceipt,
        keep: bool,
    ) -> Result<TransactionReceipt, SubmitError> {
        let tx = receipt.transaction_hash;
        let outcome = if receipt.status() { Outcome::Landed { tx } } else { Outcome::Reverted { tx } };
        self.remember(&record, outcome, keep).await?;
        if receipt.status() {
            return Ok(receipt);
        }
        let at =
            receipt.block_number.map_or(BlockNumberOrTag::Latest, |n| BlockNumberOrTag::Number(n.saturating_sub(1)));
        let request = self.request(record.to, record.value, &record.data);
        let refusal = match self.node.simulate(request, at, "ask why a transaction was refused").await {
            Err(ReadError::Refused { source, .. }) => Some(source),
            Ok(_) | Err(_) => None,
        };
        Err(SubmitError::Reverted { tx, refusal })
    }

    async fn replaced(&self, record: TxRecord, keep: bool) -> Result<TransactionReceipt, SubmitError> {
        self.remember(&record, Outcome::Replaced, keep).await?;
        self.numbers.lock().await.next = None;
        Err(SubmitError::Replaced { account: record.id.account, nonce: record.nonce })
    }

    async fn remember(&self, record: &TxRecord, outcome: Outcome, keep: bool) -> Result<(), TxJournalError> {
        let mut numbers = self.numbers.lock().await;
        numbers.mined = numbers.mined.max(record.nonce + 1);
        if !keep {
            return self.journal.remove(&record.id).await;
        }
        if record.outcome.as_ref() == Some(&outcome) {
            return Ok(());
        }
        self.journal.save(&TxRecord { outcome: Some(outcome), ..record.clone() }).await
    }

    /// Sends again what may be missing up to this number, from the lowest on, each for more if the market has moved: a lower
    /// number that is stuck holds up all after it.
    async fn push(&self, upto: u64) -> Result<(), SubmitError> {
        let fees = self.node.fees().await.ok();
        let pending = self.pending().await?;
        if let Some(lowest) = pending.first() {
            self.look_for_a_gap(lowest.nonce).await;
        }
        for mut record in pending.into_iter().filter(|record| record.nonce <= upto) {
            if let Some(fees) = fees {
                record = self.raised(record, fees).await?;
            }
            if matches!(self.hand_over_again(&record).await, Some(Handed::NonceUsed)) && !record.keep {
                self.drop_unwatched(&record.id).await?;
            }
        }
        Ok(())
    }

    /// A number in front of ours that no transaction has: the next one takes it.
    async fn look_for_a_gap(&self, lowest: u64) {
        let mut numbers = self.numbers.lock().await;
        let mined = self.node.nonce(self.wallet.address(), BlockNumberOrTag::Latest).await;
        if mined.is_ok_and(|mined| mined.max(numbers.mined) < lowest) {
            numbers.next = None;
        }
    }

    /// The record as the journal has it now.
    async fn newest(&self, record: TxRecord) -> Result<TxRecord, TxJournalError> {
        Ok(self.journal.load(&record.id).await?.unwrap_or(record))
    }

    /// Signed again for more, if the market asks for it.
    async fn raised(&self, record: TxRecord, (max_fee, tip): (u128, u128)) -> Result<TxRecord, SubmitError> {
        let _numbers = self.numbers.lock().await;
        let Some(mut known) = self.journal.load(&record.id).await? else { return Ok(record) };
        let Some(newest) = known.attempts.last().filter(|_| known.outcome.is_none()) else { return Ok(known) };
        let raised = (newest.max_fee + newest.max_fee / 8 + 1).max(max_fee);
        if max_fee > newest.max_fee && raised <= self.options.max_fee {
            let attempt = self.sign(&known, raised, tip.max(newest.tip + newest.tip / 8 + 1))?;
            known.attempts.push(attempt);
            self.journal.save(&known).await?;
        }
        Ok(known)
    }

    /// Forgets a passing transaction whose number is used up, unless somebody waits for it.
    async fn drop_unwatched(&self, id: &TxId) -> Result<(), TxJournalError> {
        let turns = self.turns.lock().await;
        if turns.get(&id.key).is_none_or(|turn| Arc::strong_count(turn) == 1) {
            self.journal.remove(id).await?;
        }
        Ok(())
    }

    /// Whatever the node says, the next look decides. `None`: nobody knows whether it has it.
    async fn hand_over_again(&self, record: &TxRecord) -> Option<Handed> {
        match self.node.hand_over(&record.attempts.last()?.raw).await {
            Ok(handed) => Some(handed),
            Err(error) => {
                debug!(key = %record.id.key, error = %error, "could not send again");
                None
            }
        }
    }
}
