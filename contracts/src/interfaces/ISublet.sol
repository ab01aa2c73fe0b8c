// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {
    Class,
    JobEnd,
    JobState,
    Kind,
    LeaseEnd,
    LeaseState,
    Offer,
    Order,
    Pair,
    ProviderView,
    Settlement
} from "../Types.sol";
import {Record} from "../core/Record.sol";
import {ITrunk} from "./ITrunk.sol";

/// @title Sublet: escrow and rules of a market for computers
/// @notice Providers sign offers, renters sign orders, anyone the order allows opens a matching pair. Every agreement
/// holds its own money. Times are seconds, amounts token units. `offerHash` and `orderHash` are always the EIP-712
/// digests that were signed (domain "Sublet", "1", chain id, this contract).
interface ISublet is ITrunk {
    // Branches

    /// @notice Mediators and disputes.
    function court() external view returns (address);
    /// @notice Gateways and their bonds.
    function gateways() external view returns (address);
    /// @notice Orders placed on chain.
    function orders() external view returns (address);
    /// @notice Leases and jobs, decoded.
    function lens() external view returns (address);
    /// @notice Whether an offer and an order fit.
    function fit() external view returns (address);

    // Accounts

    /// @notice `payer` put `amount` into the free balance of `account`.
    event Deposited(address indexed account, address indexed payer, uint128 amount);
    /// @notice `amount` of the free balance of `account` went out to `to`.
    event Withdrawn(address indexed account, address indexed to, uint128 amount);

    error AccountZeroAmount();
    error AccountZeroAddress();
    /// @notice Money sent to the contract itself would belong to nobody.
    error AccountIsSublet(address account);
    error AccountShort(address account, uint256 free, uint256 needed);
    /// @notice The token credited something else than asked: fee-on-transfer tokens are refused.
    error AccountDepositDiffers(uint256 asked, uint256 credited);

    /// @notice Pulls `amount` (approved before) from the caller into its free balance.
    function deposit(uint128 amount) external;
    /// @notice As `deposit`, into the free balance of `account`.
    function depositFor(address account, uint128 amount) external;
    /// @notice As `deposit`, using an ERC-2612 permit. A permit already used by somebody else does no harm.
    function depositWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
    /// @notice Sends `amount` of the caller's free balance to the caller.
    function withdraw(uint128 amount) external;
    /// @notice Sends `amount` of the caller's free balance to `to`.
    function withdrawTo(address to, uint128 amount) external;
    /// @notice What `account` may withdraw or lock.
    function freeOf(address account) external view returns (uint256);
    /// @notice The one ERC-20 all amounts are in.
    function token() external view returns (address);

    // Guardian

    /// @notice New agreements are stopped, or allowed again.
    event OpenPaused(bool paused);
    /// @notice Nobody can pause any more; `guardian` was the last who could.
    event GuardianRenounced(address guardian);

    error GuardianOnly(address caller);
    error OpenIsPaused();

    /// @notice Stops or allows new agreements. No exit is ever stopped.
    function pauseOpen(bool paused) external;
    /// @notice Gives the role up for ever; a pause ends with it.
    function renounceGuardian() external;
    /// @notice Who may pause `open`; zero: nobody.
    function guardian() external view returns (address);
    /// @notice Whether new agreements are stopped.
    function openPaused() external view returns (bool);

    // Providers

    /// @notice `provider` is reached under this ed25519 link key from now on; `info` is what it says of itself.
    event ProviderRegistered(address indexed provider, bytes32 peerKey, string info);
    /// @notice `provider` takes new agreements, or no more.
    event ProviderOnline(address indexed provider, bool online);
    /// @notice `uptime` is U at this beat.
    event Beat(address indexed provider, uint64 uptime);

    error ProviderUnknown(address provider);
    error ProviderZeroPeerKey();
    error ProviderInfoTooLong(uint256 length, uint256 max);
    error ProviderIsOffline(address provider);
    error ProviderStale(address provider, uint64 lastBeat);

    /// @notice Registers the caller, or replaces its key. `info` is a JSON object of at most `MAX_INFO` bytes, kept in
    /// the event only and never trusted. A new provider is offline until `setOnline(true)`.
    function registerProvider(bytes32 peerKey, string calldata info) external;
    /// @notice Takes or stops taking new agreements; running ones are not touched. Also a beat.
    function setOnline(bool online) external;
    /// @notice Proof of life: credits the time since the last beat, at most `MAX_GAP`.
    function beat() external;
    /// @notice Empty (key zero) for an account that is no provider.
    function providerOf(address provider) external view returns (ProviderView memory);
    /// @notice U(now) = uptime + min(now - lastBeat, MAX_GAP).
    function uptimeOf(address provider) external view returns (uint64);
    /// @notice Longest time one beat vouches for; also how fresh a beat must be to open.
    function MAX_GAP() external view returns (uint40);
    /// @notice Silence after which anyone may fault the provider's leases.
    function FAULT_AFTER() external view returns (uint40);
    /// @notice Most bytes of a provider's info.
    function MAX_INFO() external view returns (uint256);

    // Offers and orders

    /// @notice The offer opens nothing more.
    event OfferCancelled(address indexed provider, bytes32 indexed offerHash);
    /// @notice Every offer of `provider` with another epoch than this one opens nothing more.
    event EpochBumped(address indexed provider, uint64 epoch);
    /// @notice No order of `renter` with this nonce fills any more.
    event OrderCancelled(address indexed renter, uint256 nonce);
    /// @notice Pair `index` of an `openMany` was refused; `reason` is the error's data.
    event OpenRefused(uint256 index, address indexed renter, address indexed provider, bytes reason);

    /// @notice A batch must bring enough gas for its next row.
    error BatchGas(uint256 left, uint256 needed);
    error OfferBadSignature(address provider, bytes32 offerHash);
    error OfferExpired(bytes32 offerHash, uint64 validUntil);
    error OfferIsCancelled(bytes32 offerHash);
    error OfferEpochOver(uint64 offered, uint64 current);
    error OfferFull(bytes32 offerHash, uint32 capacity);
    error OfferZeroPrice();
    /// @notice price * duration * pledgeBps / 10 000 is zero: the provider would risk nothing.
    error OfferZeroPledge();
    error OrderBadSignature(address renter, bytes32 orderHash);
    error OrderExpired(bytes32 orderHash, uint64 validUntil);
    error OrderNonceUsed(address renter, uint256 nonce);
    error OrderOtherSolver(address caller, address solver);
    error OrderOtherProvider(address offered, address ordered);
    error MatchKindDiffers(Kind offered, Kind ordered);
    /// @notice `what` is "vcpus", "memoryMiB", "diskGiB", "gpus", "pledgeBps" or "notice".
    error MatchTooSmall(bytes32 what, uint256 offered, uint256 ordered);
    /// @notice `what` is "startWithin" or "minCharge".
    error MatchTooLarge(bytes32 what, uint256 offered, uint256 ordered);
    error MatchTraitsDiffer(bytes32 offered, bytes32 ordered);
    error MatchPriceTooHigh(uint128 price, uint128 maxPrice);
    error MatchDurationOutside(uint32 duration, uint32 min, uint32 max);
    error MatchMediatorsDiffer(uint64 offered, uint64 ordered);
    error MatchMediatorsUnknown(uint64 mediatorSet);
    /// @notice A pledge has to pay the panel that would overturn its job.
    error MatchPledgeBelowFees(uint256 pledge, uint256 fees);
    error MatchWindowTooLong(uint32 window, uint32 max);
    /// @notice A lease has no result, so nothing to check.
    error MatchLeaseHasClass();
    /// @notice `what` is "price", "solverFee", "pledgeBps" or "pledge": more than the contract keeps.
    error MatchOutOfRange(bytes32 what, uint256 value, uint256 max);
    error AcceptanceBadSignature(address renter, uint64 job);

    /// @notice Opens one agreement. Allowed for the order's solver, or anyone if it names none, and for the renter
    /// itself. Locks escrow price * duration and the solver fee from the renter, and the pledge from the provider, all
    /// or nothing. The price is the offer's. Class exact needs the same mediator set in both documents, and a pledge of
    /// at least the fees of its panel. What only compares the two documents is
    /// in `fit()`. An order that was placed in `orders()` needs no signature.
    /// @return id number of the agreement, counted from 1 across leases and jobs.
    function open(
        Offer calldata offer,
        bytes calldata offerSignature,
        Order calldata order,
        bytes calldata orderSignature
    ) external returns (uint64 id);
    /// @notice Opens what can be opened; a refused pair emits `OpenRefused`, has id 0 and spoils no other.
    function openMany(Pair[] calldata pairs) external returns (uint64[] memory ids);
    /// @notice Ends one offer of the caller. Agreements already open are not touched.
    function cancelOffer(bytes32 offerHash) external;
    /// @notice Ends every offer of the caller signed so far.
    function bumpEpoch() external;
    /// @notice Uses up a nonce of the caller.
    function cancelOrder(uint256 nonce) external;
    /// @notice Agreements of an offer that are open now.
    function openCount(bytes32 offerHash) external view returns (uint32);
    /// @notice Whether `provider` cancelled this offer by its hash. An offer may also be over by its epoch or its time.
    function isOfferCancelled(address provider, bytes32 offerHash) external view returns (bool);
    /// @notice Whether an order of `renter` with this nonce was filled or cancelled.
    function isNonceUsed(address renter, uint256 nonce) external view returns (bool);
    /// @notice Agreements ever opened; the newest has this id.
    function agreementCount() external view returns (uint64);
    /// @notice The digest to sign.
    function hashOffer(Offer calldata offer) external view returns (bytes32);
    /// @notice The digest to sign.
    function hashOrder(Order calldata order) external view returns (bytes32);
    /// @notice The digest to sign.
    function hashAcceptance(uint64 id, bytes32 resultHash, uint128 cost) external view returns (bytes32);

    // All agreements

    /// @notice The fee of the agreement went to the account that opened it.
    event SolverPaid(uint64 indexed id, address indexed solver, uint128 amount);

    error AgreementOtherParty(uint64 id, address caller);
    error AgreementTooLate(uint64 id, uint256 deadline);
    error AgreementTooEarly(uint64 id, uint256 notBefore);

    /// @notice What is stored of an agreement, of either kind. `lens()` decodes it.
    function recordOf(uint64 id) external view returns (Record memory);

    // Leases

    /// @notice `escrow`, `pledge` and `solverFee` were locked. `solver` is the caller of `open`.
    event LeaseOpened(
        uint64 indexed id,
        address indexed renter,
        address indexed provider,
        bytes32 offerHash,
        bytes32 orderHash,
        bytes32 workload,
        bytes32 peerKey,
        uint128 price,
        uint32 duration,
        uint128 escrow,
        uint128 pledge,
        uint128 solverFee,
        address solver,
        uint64 startBy
    );
    /// @notice Rent accrues from now on.
    event LeaseStarted(uint64 indexed id, uint64 startedAt);
    /// @notice `seconds_` of rent, `paid`, went to the provider.
    event LeaseSettled(uint64 indexed id, uint32 seconds_, uint128 paid);
    /// @notice `payer` locked `escrow`, the provider `pledge`.
    event LeaseToppedUp(uint64 indexed id, address indexed payer, uint32 seconds_, uint128 escrow, uint128 pledge);
    /// @notice From `noticeAt` on the penalty of a close by the provider falls, until there is none; it stays given.
    event LeaseNoticeGiven(uint64 indexed id, uint64 noticeAt);
    /// @notice Nothing is held any more. Now paid: `paid` to the provider (besides earlier `LeaseSettled`), `refunded`
    /// (an unpaid solver fee included) to the renter, `pledgeBack` to the provider, and of `slashed`, `reward` to
    /// `caller` and the rest to the renter.
    event LeaseEnded(
        uint64 indexed id,
        LeaseEnd reason,
        uint128 paid,
        uint128 refunded,
        uint128 pledgeBack,
        uint128 slashed,
        address caller,
        uint128 reward
    );

    error LeaseWrongState(uint64 id, LeaseState state);
    error LeaseTooLong(uint64 id, uint256 duration, uint32 max);
    error LeaseNoticeAlreadyGiven(uint64 id, uint64 noticeAt);
    error LeaseZeroSeconds();
    /// @notice The caller would lose more than it said it would.
    error LeasePenaltyTooHigh(uint64 id, uint256 penalty, uint128 most);

    /// @notice Provider, Open, in time: rent accrues from here. Also a beat. Pays the solver.
    function startLease(uint64 id) external;
    /// @notice Provider, Open, in time: everything goes back.
    function rejectLease(uint64 id) external;
    /// @notice Renter, Open: the provider gets the minimum charge.
    function cancelLease(uint64 id) external;
    /// @notice Anyone, Open, after `startBy`: all back to the renter, and a tenth of the pledge.
    function expireLease(uint64 id) external;
    /// @notice Anyone, Active: pays the rent for uptime since the last settlement.
    /// @return paid what went to the provider.
    function settleLease(uint64 id) external returns (uint128 paid);
    /// @notice Anyone, Active, while the provider's last beat is fresh: settles, then buys `seconds_` more at the same
    /// price from the caller's free balance, and locks the provider's pledge in proportion. Refunds always go to the
    /// renter.
    function topUpLease(uint64 id, uint32 seconds_) external;
    /// @notice Provider, Active, once: starts the notice clock, for good.
    function giveNotice(uint64 id) external;
    /// @notice Renter, any time; provider, with a penalty for notice not given; either without, once the rent ran out.
    /// Refused when the caller would lose more than `maxPenalty`; a renter loses none.
    function closeLease(uint64 id, uint128 maxPenalty) external;
    /// @notice Anyone, Active, when the provider was silent for more than `FAULT_AFTER`: settles up to its last beat.
    function faultLease(uint64 id) external;

    // Jobs

    /// @notice `escrow`, `pledge` and `solverFee` were locked. `solver` is the caller of `open`.
    event JobOpened(
        uint64 indexed id,
        address indexed renter,
        address indexed provider,
        bytes32 offerHash,
        bytes32 orderHash,
        bytes32 workload,
        bytes32 peerKey,
        Class class,
        uint128 price,
        uint32 duration,
        uint128 escrow,
        uint128 pledge,
        uint128 solverFee,
        address solver,
        uint64 startBy,
        uint64 runBy
    );
    /// @notice `usedSeconds` is what counts, `cost` what is due for it.
    event JobSubmitted(uint64 indexed id, bytes32 resultHash, uint32 usedSeconds, uint128 cost, uint64 challengeUntil);
    /// @notice Nothing is held any more. Paid as in `LeaseEnded`; `resultHash` is what the provider submitted or the
    /// renter accepted, zero when there was none. If the court ruled, it is the `caller`, with no reward.
    event JobEnded(
        uint64 indexed id,
        JobEnd reason,
        bytes32 resultHash,
        uint128 paid,
        uint128 refunded,
        uint128 pledgeBack,
        uint128 slashed,
        address caller,
        uint128 reward
    );
    /// @notice The court hears the job: nothing but its ruling ends it now.
    event JobDisputed(uint64 indexed id);
    /// @notice The renter was told the end; `ok` is whether its `onJobEnded` came through.
    event JobCalledBack(uint64 indexed id, bool ok);
    /// @notice Row `index` of a `settleJobs` was refused; `reason` is the error's data.
    event SettleRefused(uint256 index, uint64 indexed id, bytes reason);

    error JobWrongState(uint64 id, JobState state);
    error JobZeroResult(uint64 id);
    error JobResultDiffers(uint64 id, bytes32 submitted, bytes32 given);
    error JobCostTooHigh(uint64 id, uint128 cost, uint128 max);
    /// @notice Only the provider itself may settle for less than it declared (or, before it declared, than the whole).
    error JobCostTooLow(uint64 id, uint128 cost, uint128 min);
    error JobNotRefusable(uint64 id, Class class);
    error JobNotDisputable(uint64 id, Class class);
    /// @notice The caller has to bring enough gas for the renter's callback.
    error JobCallbackGas(uint64 id, uint256 left, uint256 needed);

    /// @notice Provider, Open, until `startBy`: everything goes back.
    function rejectJob(uint64 id) external;
    /// @notice Provider, Open, until `runBy`. What counts as used is at most the time since the opening; the cost is
    /// price * min(used, duration). `resultHash` is not zero.
    function submitJob(uint64 id, bytes32 resultHash, uint32 usedSeconds) external;
    /// @notice Anyone with the renter's signed acceptance, Open or Submitted.
    function settleJob(uint64 id, bytes32 resultHash, uint128 cost, bytes calldata acceptance) external;
    /// @notice Settles what can be settled; a refused row emits `SettleRefused` and spoils no other.
    function settleJobs(Settlement[] calldata settlements) external;
    /// @notice Renter, Submitted: pays the declared cost.
    function acceptJob(uint64 id) external;
    /// @notice Anyone, Submitted, after the challenge window: silence is acceptance.
    function finalizeJob(uint64 id) external;
    /// @notice Anyone, Open, after `runBy`: all back to the renter, and a tenth of the pledge.
    function expireJob(uint64 id) external;
    /// @notice Renter, Submitted, in the window, class none: the declared cost is split evenly. Class exact has the
    /// court.
    function refuseJob(uint64 id) external;
    /// @notice Gas that a renter's `onJobEnded` gets.
    function CALLBACK_GAS() external view returns (uint256);
}
