//! The chain: the only package that sees alloy's providers and the contracts' bindings.
//!
//! - [`Ledger`]: everything the network's roles ask of the chain, in our types; [`EvmLedger`] answers over JSON-RPC;
//! - [`follow()`]: the contract's events in order, from a stored cursor, into a [`Sink`]; [`Depth`] says how deep they must lie;
//! - transactions: [`Ledger::submit`] with a [`TxKey`] gives a definite answer and survives a crash ([`TxJournal`]);
//! - [`Refusal`]: the contract's errors as sentences;
//! - [`Wallet`], [`Keystore`]: keys in memory and in encrypted files;
//! - [`LocalAnvil`], [`deploy()`], [`Faucet`]: a chain of one's own.

mod agreement;
mod anvil;
mod bindings;
mod branch;
mod call;
mod convert;
mod court;
mod cowsay;
mod deploy;
mod depth;
mod event;
mod evm;
mod faucet;
mod follow;
mod follower;
mod keystore;
mod ledger;
mod node;
mod refusal;
mod sender;
mod span;
mod submit;
mod tx_journal;
mod wallet;

pub use agreement::{JobEnd, JobRecord, JobState, LeaseEnd, LeaseRecord, LeaseState, ProviderRecord};
pub use anvil::{AnvilError, AnvilOptions, AnvilStatus, LocalAnvil, find_anvil};
pub use branch::{Branch, GatewayRecord, PlacedOrder};
pub use call::Call;
pub use court::{DisputeRecord, DisputeStage, MediatorRecord, MediatorSetRecord, SeatRecord, SeatStage};
pub use cowsay::{CowsayAnswer, CowsayError, OnChainCowsay};
pub use deploy::{DeployError, DeployOptions, Deployment, deploy, ensure_deployed};
pub use depth::Depth;
pub use event::{Event, JobOpened, LeaseOpened, Located, Split};
pub use evm::{EvmLedger, EvmOptions, SendAs};
pub use faucet::{Faucet, deposit};
pub use follow::{FollowError, Sink, follow};
pub use follower::{Batch, FollowOptions, Follower, Reach, Step};
pub use keystore::{Cost, KeyInfo, Keystore, KeystoreError, Passphrase};
pub use ledger::{Landed, Ledger, Rules};
pub use node::{BlockRef, Head, ReadError};
pub use refusal::Refusal;
pub use submit::{SenderOptions, SubmitError, TxKey};
pub use tx_journal::{Attempt, DirTxJournal, Outcome, TxId, TxJournal, TxJournalError, TxRecord};
pub use wallet::{InvalidKey, SignError, Wallet};
