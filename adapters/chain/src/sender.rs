//! Sends transactions and gives a definite answer: mined and good, mined and refused, or not known yet. It never guesses.
//!
//! ```text
//! estimate ──refused──▶ nothing was sent
//!    │ gas
//! nonce, sign ──▶ journal ──▶ send ──▶ look for the receipt ──▶ landed | reverted | replaced
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
use tokio::time::{Duration, Instant, sleep};
use tracing::{debug, warn};

use crate::depth::Depth;
use crate::node::{Estimate, Handed, Node, ReadError};
use crate::submit::{SenderOptions, SubmitError, TxKey};
use crate::tx_journal::{Attempt, Outcome, TxId, TxJournal, TxJournalError, TxRecord};
use crate::wallet::{SignError, Wallet};

/// A node, or one of several behind a name, may know an account's new number this long before it finds the receipt.
const RECEIPT_LAG: Duration = Duration::from_secs(3);

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
    /// The next nonce, once known. Held while a transaction is signed, journaled and handed over.
    next: Mutex<Option<u64>>,
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// What a look at the chain showed.
enum Seen {
    Mined(Box<TransactionReceipt>),
    Waiting,
    NumberUsed,
}

impl Sender {
    pub(crate) fn new(node: Node, wallet: Wallet, journal: Arc<dyn TxJournal>, options: SenderOptions) -> Self {
        Self { node, wallet, journal, options, next: Mutex::new(None), turns: Mutex::default() }
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
                None => sender.send(id, payload).await?,
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

    /// Sends again whatever was signed and has no outcome, so that no number is missing in front of the next ones.
    pub(crate) async fn resume(&self) -> Result<usize, SubmitError> {
        let pending = self.journal.pending(self.node.genesis, self.wallet.address()).await?;
        let count = pending.len();
        for record in pending {
            self.hand_over_again(&record).await;
        }
        Ok(count)
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
    async fn send(&self, id: TxId, payload: Payload) -> Result<TxRecord, SubmitError> {
        let gas = self.gas(&payload).await?;
        let (max_fee, tip) = self.node.fees().await.map_err(SubmitError::NotSent)?;
        let mut next = self.next.lock().await;
        let mut record = TxRecord {
            id,
            nonce: 0,
            to: payload.to,
            value: payload.value,
            data: payload.data,
            gas,
            attempts: Vec::new(),
            outcome: None,
        };
        loop {
            record.nonce = match *next {
                Some(nonce) => nonce,
                None => self.first_nonce().await?,
            };
            record.attempts = vec![self.sign(&record, max_fee.min(self.options.max_fee), tip)?];
            self.journal.save(&record).await?;
            let answer = self.node.hand_over(&record.attempts[0].raw).await;
            match self.taken(&record, answer).await? {
                true => {
                    *next = Some(record.nonce + 1);
                    return Ok(record);
                }
                false => *next = None,
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

    /// After every transaction the node knows and every one the journal knows.
    async fn first_nonce(&self) -> Result<u64, SubmitError> {
        let account = self.wallet.address();
        let chain = self.node.nonce(account, BlockNumberOrTag::Pending).await.map_err(SubmitError::NotSent)?;
        let ours = self.journal.pending(self.node.genesis, account).await?;
        Ok(ours.last().map_or(chain, |record| chain.max(record.nonce + 1)))
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
        let (mut pause, mut pushed, mut used, mut last) = (self.options.poll, Instant::now(), None, None);
        loop {
            match self.look(&record).await {
                Ok(Seen::Mined(receipt)) => return self.conclude(record, *receipt, keep).await,
                Ok(Seen::NumberUsed) => {
                    if used.get_or_insert_with(Instant::now).elapsed() >= RECEIPT_LAG {
                        return self.replaced(record, keep).await;
                    }
                }
                Ok(Seen::Waiting) => used = None,
                Err(error) => last = Some(Box::new(error)),
            }
            if started.elapsed() >= self.options.patience {
                let tx = record.attempts.last().map_or(B256::ZERO, |attempt| attempt.hash);
                return Err(SubmitError::Unknown { tx, last });
            }
            if pushed.elapsed() >= self.options.resend_after {
                self.push(&mut record).await?;
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
        Ok(if mined > record.nonce { Seen::NumberUsed } else { Seen::Waiting })
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
        *self.next.lock().await = None;
        Err(SubmitError::Replaced { account: record.id.account, nonce: record.nonce })
    }

    async fn remember(&self, record: &TxRecord, outcome: Outcome, keep: bool) -> Result<(), TxJournalError> {
        if !keep {
            return self.journal.remove(&record.id).await;
        }
        if record.outcome.as_ref() == Some(&outcome) {
            return Ok(());
        }
        self.journal.save(&TxRecord { outcome: Some(outcome), ..record.clone() }).await
    }

    /// Sends again what may be missing, from the lowest number on; offers more if the market has moved.
    async fn push(&self, record: &mut TxRecord) -> Result<(), SubmitError> {
        for other in self.journal.pending(self.node.genesis, self.wallet.address()).await? {
            if other.nonce < record.nonce {
                self.hand_over_again(&other).await;
            }
        }
        if let (Ok((max_fee, tip)), Some(newest)) = (self.node.fees().await, record.attempts.last()) {
            let raised = newest.max_fee + newest.max_fee / 8 + 1;
            if max_fee > newest.max_fee && raised.max(max_fee) <= self.options.max_fee {
                let attempt = self.sign(record, raised.max(max_fee), tip.max(newest.tip + newest.tip / 8 + 1))?;
                record.attempts.push(attempt);
                self.journal.save(record).await?;
            }
        }
        self.hand_over_again(record).await;
        Ok(())
    }

    /// Whatever the node says, the next look decides.
    async fn hand_over_again(&self, record: &TxRecord) {
        if let Some(attempt) = record.attempts.last()
            && let Err(error) = self.node.hand_over(&attempt.raw).await
        {
            debug!(key = %record.id.key, error = %error, "could not send again");
        }
    }
}
