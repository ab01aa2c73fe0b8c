//! Every transaction the network's roles send.

mod encode;

use sublet_base::{Address, Amount, B256, JobId, LeaseId, PeerKey, Seconds, U256};
use sublet_market::{MediatorSetId, Order, SignedAcceptance, SignedOffer, SignedOrder};

use crate::branch::Branch;

/// A call that changes something on chain; amounts are token units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Lets the contract take this much of the caller's tokens; needed before a deposit.
    Approve(Amount),
    /// Sends tokens to another account's wallet.
    Transfer {
        /// Receiver.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Mints tokens of the test token; refused where the token has no faucet.
    Mint {
        /// Receiver.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// Moves tokens from the wallet into the caller's balance.
    Deposit(Amount),
    /// Moves the caller's tokens into another account's balance.
    DepositFor {
        /// Whose balance.
        account: Address,
        /// How much.
        amount: Amount,
    },
    /// Moves from the caller's balance to its wallet.
    Withdraw(Amount),
    /// Registers the caller as provider, or replaces its key and info.
    RegisterProvider {
        /// Its link endpoint.
        peer_key: PeerKey,
        /// A JSON object of at most 512 bytes.
        info: String,
    },
    /// Takes, or stops taking, new agreements.
    SetOnline(bool),
    /// Proof of life.
    Beat,
    /// Opens an agreement.
    Open(Box<(SignedOffer, SignedOrder)>),
    /// Opens a batch; refused pairs are reported by [`crate::Event::OpenRefused`].
    OpenMany(Vec<(SignedOffer, SignedOrder)>),
    /// Ends one offer of the caller, named by its EIP-712 digest.
    CancelOffer(B256),
    /// Ends every offer of the caller signed so far.
    BumpEpoch,
    /// Uses up a nonce of the caller.
    CancelOrder(U256),
    /// Provider: starts the rent.
    StartLease(LeaseId),
    /// Provider: declines before the start.
    RejectLease(LeaseId),
    /// Renter: takes it back before the start.
    CancelLease(LeaseId),
    /// Anyone: it was not started in time.
    ExpireLease(LeaseId),
    /// Anyone: pays the rent so far.
    SettleLease(LeaseId),
    /// Anyone: buys more seconds.
    TopUpLease(LeaseId, Seconds),
    /// Provider: starts the notice clock.
    GiveNotice(LeaseId),
    /// Renter or provider: ends it.
    CloseLease {
        /// Which.
        id: LeaseId,
        /// The most of its pledge the provider is ready to lose.
        max_penalty: Amount,
    },
    /// Anyone: the provider fell silent.
    FaultLease(LeaseId),
    /// Provider: declines.
    RejectJob(JobId),
    /// Provider: hands in a result.
    SubmitJob {
        /// The job.
        job: JobId,
        /// keccak256 of the result archive.
        result: B256,
        /// How long it ran.
        used: Seconds,
    },
    /// Anyone: with the renter's signature.
    SettleJob(SignedAcceptance),
    /// Anyone: a batch; refused rows are reported by [`crate::Event::SettleRefused`].
    SettleJobs(Vec<SignedAcceptance>),
    /// Renter: takes the result.
    AcceptJob(JobId),
    /// Anyone: the renter was silent.
    FinalizeJob(JobId),
    /// Anyone: no result in time.
    ExpireJob(JobId),
    /// Renter: does not want the result.
    RefuseJob(JobId),
    /// Registers the caller as mediator, or replaces its key and adds to its bond; ends a retirement.
    RegisterMediator {
        /// Its link endpoint.
        peer_key: PeerKey,
        /// What to add to the bond.
        bond: Amount,
    },
    /// Mediator: is in no later electorate.
    RetireMediator,
    /// Takes the caller's bond back, some time after its retirement.
    WithdrawBond(Branch),
    /// Names a set of mediators.
    CreateMediatorSet {
        /// Ascending, each once.
        members: Vec<Address>,
        /// Seats on a panel; odd.
        panel_size: u8,
        /// What a vote earns and a missing vote costs.
        fee: Amount,
    },
    /// Member: agrees to serve a set.
    JoinSet(MediatorSetId),
    /// Member: is in no later electorate of a set.
    LeaveSet(MediatorSetId),
    /// Renter: contests the result of a class-exact job.
    Dispute(JobId),
    /// Anyone: draws the panel.
    Draw(JobId),
    /// Panel: binds itself to a vote.
    CommitVote {
        /// The job.
        job: JobId,
        /// [`sublet_market::agreement::commitment`] of the vote.
        commitment: B256,
    },
    /// Panel: shows its vote.
    RevealVote {
        /// The job.
        job: JobId,
        /// What it found; zero if the provider withheld its archive.
        result: B256,
        /// What kept the vote secret.
        salt: B256,
    },
    /// Anyone: pays the panel and ends the job.
    Resolve(JobId),
    /// Registers the caller as gateway, or replaces what it says and adds to its bond; ends a retirement. Also a beat.
    RegisterGateway {
        /// Its link endpoint.
        peer_key: PeerKey,
        /// Where it is reached.
        url: String,
        /// Where it stands.
        region: String,
        /// What to add to the bond.
        bond: Amount,
    },
    /// Gateway: proof of life.
    GatewayBeat,
    /// Gateway: is offline from now on.
    RetireGateway,
    /// Renter: places an order on chain instead of signing it.
    PlaceOrder {
        /// The order; its renter is the caller.
        order: Box<Order>,
        /// The document itself, if it is to be public.
        workload: Option<Vec<u8>>,
        /// Whether the caller, a contract, is told when the job ends.
        callback: bool,
    },
}

/// Which contract a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Sublet,
    Token,
    Court,
    Gateways,
    Orders,
}
