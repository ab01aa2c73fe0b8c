//! One JSON-RPC node over http: standard methods only, every failure sorted by what it means.

use std::time::Duration;

use alloy::consensus::BlockHeader;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::TransactionBuilder;
use alloy::primitives::Bytes;
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::rpc::json_rpc::{ErrorPayload, RpcError};
use alloy::rpc::types::{Filter, Log, TransactionReceipt, TransactionRequest};
use alloy::sol_types::SolCall;
use alloy::transports::{TransportError, TransportErrorKind};
use sublet_base::{Address, B256, U256, UnixTime};
use sublet_daemon::Backoff;
use thiserror::Error;

use crate::depth::Depth;
use crate::refusal::Refusal;
use crate::span::Span;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

/// A question to the chain that got no usable answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The node does not answer; trying again later may help.
    #[error("the chain does not answer (could not {doing}); is the node running?")]
    Unreachable {
        /// The question.
        doing: &'static str,
        /// What the connection said.
        #[source]
        source: TransportError,
    },
    /// The node answered with an error of its own.
    #[error("the node could not {doing}: {message}")]
    Node {
        /// The question.
        doing: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The node's words, shortened.
        message: String,
    },
    /// The contract refuses.
    #[error("the contract refuses to {doing}")]
    Refused {
        /// The question.
        doing: &'static str,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The answer is not what was asked for.
    #[error("the node's answer makes no sense (could not {doing}): {problem}")]
    Nonsense {
        /// The question.
        doing: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no contract at the address: another chain, or not deployed.
    #[error("no contract at {address} on chain {chain_id}: is this the right chain, and is Sublet deployed there?")]
    NoContract {
        /// Where it should be.
        address: Address,
        /// The chain's id.
        chain_id: u64,
    },
    /// Text that is no http address.
    #[error("`{place}` is not an http address of a chain node")]
    BadUrl {
        /// The text, without what may be a key.
        place: String,
    },
    /// The http client cannot be set up.
    #[error("cannot set up the http client")]
    Client(#[source] reqwest::Error),
}

impl ReadError {
    /// True if the same question may be answered later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Node { .. } | Self::Nonsense { .. })
    }

    /// True if the node may answer a smaller question. Nodes have no common words for it, but do for being asked too often.
    pub(crate) fn is_too_much(&self) -> bool {
        const TOO_OFTEN: [&str; 8] = [
            "too many requests",
            "rate limit",
            "rate-limit",
            "ratelimit",
            "request rate",
            "requests per",
            "request count",
            "compute units",
        ];
        let Self::Node { code, message, .. } = self else { return false };
        let message = message.to_lowercase();
        *code != 429 && !TOO_OFTEN.iter().any(|words| message.contains(words))
    }
}

/// A block by number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlockRef {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// The newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which block.
    pub block: BlockRef,
    /// Its time, which is the contract's clock.
    pub time: UnixTime,
}

/// Why a call would not go through.
pub(crate) enum Estimate {
    Gas(u64),
    Refused(Refusal),
    NoFunds,
}

/// What the node said to a signed transaction.
pub(crate) enum Handed {
    /// It has it, or had it already.
    Taken,
    /// Its number is used up: this or another transaction with the number has been mined.
    NonceUsed,
    /// Another transaction with this number waits.
    NonceContested,
    /// The account cannot pay for the gas.
    NoFunds,
    /// It cannot ever be mined; nothing was sent.
    Invalid(String),
}

/// Blocks below the head whose states every node can be asked about.
const STATES: u64 = 64;

/// What became of a number that is used up.
pub(crate) enum NumberUsed {
    /// This transaction has it.
    By(B256),
    /// More blocks ago than nodes keep states: long enough for every node to have found the receipt, if it was ours.
    LongAgo,
    /// The node's answers do not fit each other yet.
    Unsaid,
}

/// A block's transactions, as far as they matter here.
#[derive(Debug, serde::Deserialize)]
struct Sent {
    transactions: Vec<SentOne>,
}

#[derive(Debug, serde::Deserialize)]
struct SentOne {
    from: Address,
    nonce: U256,
    hash: B256,
}

/// A node and the identity of its chain.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    provider: RootProvider,
    pub(crate) chain_id: u64,
    /// Hash of block 0: tells a local chain from the one it replaced.
    pub(crate) genesis: B256,
}

impl Node {
    pub(crate) async fn connect(url: &str) -> Result<Self, ReadError> {
        let bad = || ReadError::BadUrl { place: place(url) };
        let parsed: reqwest::Url = url.parse().map_err(|_| bad())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .no_proxy()
            .build()
            .map_err(ReadError::Client)?;
        let provider: RootProvider =
            ProviderBuilder::new().disable_recommended_fillers().connect_reqwest(client, parsed);
        let chain_id = provider.get_chain_id().await.map_err(sort("ask for the chain's id"))?;
        let mut node = Self { provider, chain_id, genesis: B256::ZERO };
        node.genesis = node.first_hash().await?;
        Ok(node)
    }

    /// Hash of the first block, as the second one names it: anvil makes its first block anew at every start.
    async fn first_hash(&self) -> Result<B256, ReadError> {
        let at = |number| self.provider.get_block_by_number(BlockNumberOrTag::Number(number));
        if let Some(second) = at(1).await.map_err(sort("read the second block"))? {
            return Ok(second.header.parent_hash());
        }
        match at(0).await.map_err(sort("read the first block"))? {
            Some(first) => Ok(first.header.hash),
            None => Err(nonsense("read the first block", "there is none")),
        }
    }

    pub(crate) async fn block(&self, at: BlockNumberOrTag) -> Result<Option<Head>, ReadError> {
        let block = self.provider.get_block_by_number(at).await.map_err(sort("read a block"))?;
        Ok(block.map(|block| Head {
            block: BlockRef { number: block.header.number(), hash: block.header.hash },
            time: UnixTime(block.header.timestamp()),
        }))
    }

    pub(crate) async fn head(&self) -> Result<Head, ReadError> {
        self.block(BlockNumberOrTag::Latest).await?.ok_or_else(|| nonsense("read the newest block", "there is none"))
    }

    /// The newest block at least this deep; `None` while the chain has none.
    pub(crate) async fn deep(&self, depth: Depth) -> Result<Option<BlockRef>, ReadError> {
        let tag = match depth {
            Depth::Newest => BlockNumberOrTag::Latest,
            Depth::Safe => BlockNumberOrTag::Safe,
            Depth::Finalized => BlockNumberOrTag::Finalized,
            Depth::Confirmations(deep) => match self.head().await?.block.number.checked_sub(deep) {
                Some(number) => BlockNumberOrTag::Number(number),
                None => return Ok(None),
            },
        };
        Ok(self.block(tag).await?.map(|head| head.block))
    }

    pub(crate) async fn has_code(&self, address: Address) -> Result<bool, ReadError> {
        Ok(!self.provider.get_code_at(address).await.map_err(sort("look for the contract"))?.is_empty())
    }

    pub(crate) async fn balance(&self, account: Address) -> Result<U256, ReadError> {
        self.provider.get_balance(account).await.map_err(sort("read a balance"))
    }

    /// Transactions mined (`Latest`) or known (`Pending`) from the account: its next nonce.
    pub(crate) async fn nonce(&self, account: Address, at: BlockNumberOrTag) -> Result<u64, ReadError> {
        let count = self.provider.get_transaction_count(account).block_id(BlockId::Number(at));
        count.await.map_err(sort("read the account's transaction number"))
    }

    /// Calls a view.
    pub(crate) async fn view<C: SolCall>(
        &self,
        to: Address,
        call: &C,
        doing: &'static str,
    ) -> Result<C::Return, ReadError> {
        let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
        // Said out loud, because left unsaid it means the pending block: transactions that may never be mined.
        let data = self.provider.call(request).block(BlockId::latest()).await.map_err(sort(doing))?;
        C::abi_decode_returns(&data).map_err(|error| nonsense(doing, &error.to_string()))
    }

    /// Runs a call without sending it; `Err(Refused)` says why the contract would not have it.
    pub(crate) async fn simulate(
        &self,
        request: TransactionRequest,
        at: BlockNumberOrTag,
        doing: &'static str,
    ) -> Result<Bytes, ReadError> {
        self.provider.call(request).block(BlockId::Number(at)).await.map_err(sort(doing))
    }

    pub(crate) async fn estimate(&self, request: TransactionRequest) -> Result<Estimate, ReadError> {
        match self.provider.estimate_gas(request).await {
            Ok(gas) => Ok(Estimate::Gas(gas)),
            Err(RpcError::ErrorResp(payload)) => match revert(&payload) {
                Some(refusal) => Ok(Estimate::Refused(refusal)),
                None if no_funds(&payload.message) => Ok(Estimate::NoFunds),
                None => Err(node_error("estimate the gas", &payload)),
            },
            Err(other) => Err(sort("estimate the gas")(other)),
        }
    }

    /// Highest fee and tip to offer, wei per gas.
    pub(crate) async fn fees(&self) -> Result<(u128, u128), ReadError> {
        let fees = self.provider.estimate_eip1559_fees().await.map_err(sort("ask for the gas price"))?;
        Ok((fees.max_fee_per_gas, fees.max_priority_fee_per_gas))
    }

    /// `Err` means nobody knows whether the node has it.
    pub(crate) async fn hand_over(&self, raw: &[u8]) -> Result<Handed, ReadError> {
        let payload = match self.provider.send_raw_transaction(raw).await {
            Ok(_) => return Ok(Handed::Taken),
            Err(RpcError::ErrorResp(payload)) => payload,
            Err(other) => return Err(sort("send a transaction")(other)),
        };
        let message = payload.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["already known", "already imported", "known transaction"]) {
            Ok(Handed::Taken)
        } else if says(&["nonce too low", "nonce is too low"]) {
            Ok(Handed::NonceUsed)
        } else if says(&["replacement transaction underpriced", "transaction underpriced: replacement"]) {
            Ok(Handed::NonceContested)
        } else if no_funds(&message) {
            Ok(Handed::NoFunds)
        } else if says(&["exceeds block gas limit", "intrinsic gas too", "invalid sender", "max initcode size"]) {
            Ok(Handed::Invalid(shorten(&payload.message)))
        } else {
            Err(node_error("send a transaction", &payload))
        }
    }

    /// Whether the node has the transaction, mined or waiting.
    pub(crate) async fn knows(&self, tx: B256) -> Result<bool, ReadError> {
        let known = self.provider.get_transaction_by_hash(tx).await.map_err(sort("look for a transaction"))?;
        Ok(known.is_some())
    }

    async fn is_used(&self, account: Address, number: u64, block: u64) -> Result<bool, ReadError> {
        Ok(self.nonce(account, BlockNumberOrTag::Number(block)).await? > number)
    }

    /// Who used up a number of `account` that is used up as of block `upto`, seen in the block where the count moved past it.
    pub(crate) async fn number_used(&self, account: Address, number: u64, upto: u64) -> Result<NumberUsed, ReadError> {
        let (mut low, mut high) = (upto.saturating_sub(STATES), upto);
        if self.is_used(account, number, low).await? {
            return Ok(if low > 0 { NumberUsed::LongAgo } else { NumberUsed::Unsaid });
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.is_used(account, number, middle).await? {
                true => high = middle,
                false => low = middle,
            }
        }
        // Read in our own terms: other chains have kinds of transactions that the library does not know.
        let params = (BlockNumberOrTag::Number(high), true);
        let block: Option<Sent> =
            self.provider.raw_request("eth_getBlockByNumber".into(), params).await.map_err(sort("read a block"))?;
        let sent = block.map(|block| block.transactions).unwrap_or_default();
        let used = sent.into_iter().find(|tx| tx.from == account && tx.nonce == U256::from(number));
        Ok(used.map_or(NumberUsed::Unsaid, |tx| NumberUsed::By(tx.hash)))
    }

    pub(crate) async fn receipt(&self, tx: B256) -> Result<Option<TransactionReceipt>, ReadError> {
        self.provider.get_transaction_receipt(tx).await.map_err(sort("look for a transaction"))
    }

    /// Events of `contracts` in the blocks `from` to `to`, both included, in order.
    pub(crate) async fn logs(&self, contracts: Vec<Address>, from: u64, to: u64) -> Result<Vec<Log>, ReadError> {
        self.filtered(Filter::new().address(contracts), from, to).await
    }

    /// The newest event that `filter` lets through, looked for from the head down. Nodes that limit how much they search
    /// are asked for less at a time.
    pub(crate) async fn newest_log(&self, filter: Filter) -> Result<Option<Log>, ReadError> {
        let mut to = self.head().await?.block.number;
        let mut scan = Scan::new(to.saturating_add(1));
        loop {
            let from = scan.span.first(to);
            let Some(logs) = scan.hear(self.filtered(filter.clone(), from, to).await, to - from + 1).await? else {
                continue;
            };
            match (logs.into_iter().next_back(), from.checked_sub(1)) {
                (Some(log), _) => return Ok(Some(log)),
                (None, None) => return Ok(None),
                (None, Some(below)) => to = below,
            }
        }
    }

    /// Every event that `filter` lets through in the blocks `from` to `to`, in order, asked for in pieces where a node
    /// limits how much it searches.
    pub(crate) async fn all_logs(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, ReadError> {
        let (mut next, mut found) = (from, Vec::new());
        let mut scan = Scan::new(to.saturating_sub(from).saturating_add(1));
        while next <= to {
            let last = to.min(scan.span.last(next));
            if let Some(logs) = scan.hear(self.filtered(filter.clone(), next, last).await, last - next + 1).await? {
                found.extend(logs);
                next = last.saturating_add(1);
            }
        }
        Ok(found)
    }

    async fn filtered(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, ReadError> {
        self.provider.get_logs(&filter.from_block(from).to_block(to)).await.map_err(sort("read events"))
    }
}

/// Times in a row that one piece of a scan is asked for again before the scan is given up.
const SCAN_AGAIN: u32 = 5;

/// A search through many blocks in pieces.
struct Scan {
    span: Span,
    failed: u32,
}

impl Scan {
    fn new(blocks: u64) -> Self {
        Self { span: Span::new(blocks), failed: 0 }
    }

    /// What a piece of `asked` blocks has; `None`: ask again, perhaps for less. What was searched already stays searched.
    async fn hear(&mut self, answer: Result<Vec<Log>, ReadError>, asked: u64) -> Result<Option<Vec<Log>>, ReadError> {
        match answer {
            Ok(logs) => {
                self.failed = 0;
                self.span.grow();
                Ok(Some(logs))
            }
            Err(error) if self.span.shrink(asked, &error) => Ok(None),
            Err(error) if error.is_retryable() && self.failed < SCAN_AGAIN => {
                self.failed += 1;
                tokio::time::sleep(Backoff::default().delay(self.failed)).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn no_funds(message: &str) -> bool {
    message.to_lowercase().contains("insufficient funds")
}

/// The revert's data, which nodes put in different places; an execution error without data is a revert without reason.
fn revert(payload: &ErrorPayload) -> Option<Refusal> {
    match payload.as_revert_data() {
        Some(data) => Some(Refusal::from_revert(&data)),
        None if payload.message.to_lowercase().contains("revert") => Some(Refusal::from_revert(&[])),
        None => None,
    }
}

fn node_error(doing: &'static str, payload: &ErrorPayload) -> ReadError {
    ReadError::Node { doing, code: payload.code, message: shorten(&payload.message) }
}

/// A stranger's words, short and without control characters.
fn shorten(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(300).collect()
}

pub(crate) fn nonsense(doing: &'static str, problem: &str) -> ReadError {
    ReadError::Nonsense { doing, problem: shorten(problem) }
}

fn sort(doing: &'static str) -> impl Fn(TransportError) -> ReadError {
    move |error| match error {
        RpcError::ErrorResp(payload) => match revert(&payload) {
            Some(source) => ReadError::Refused { doing, source },
            None => node_error(doing, &payload),
        },
        RpcError::DeserError { err, .. } => nonsense(doing, &err.to_string()),
        RpcError::Transport(TransportErrorKind::Custom(source)) => {
            ReadError::Unreachable { doing, source: without_url(source) }
        }
        source => ReadError::Unreachable { doing, source },
    }
}

/// What a connection said, without the node's address: it may hold a key, and the http client prints it.
fn without_url(source: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    match source.downcast::<reqwest::Error>() {
        Ok(error) => TransportErrorKind::custom(error.without_url()),
        Err(other) => RpcError::Transport(TransportErrorKind::Custom(other)),
    }
}

/// Scheme, host and port of an address; of other text, what stands before anything that may be a key.
pub(crate) fn place(url: &str) -> String {
    match url.parse::<reqwest::Url>() {
        Ok(url) if url.has_host() => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{host}{port}", url.scheme())
        }
        Ok(_) | Err(_) if url.contains('@') => "an address with a password".to_owned(),
        Ok(_) | Err(_) => shorten(url.split(['/', '?']).next().unwrap_or_default()),
    }
}
