//! The three signed documents: a provider's [`Offer`], a renter's [`Order`], a renter's [`Acceptance`] of a result.

use serde::{Deserialize, Serialize};
use sublet_base::{Address, Amount, AmountOverflow, B256, Bps, JobId, PeerKey, Price, Seconds, U256, UnixTime};
use thiserror::Error;

use crate::typed::{self, TypedData};
use crate::{Class, Kind, Resources};

/// Number of a set of mediators in the contract; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediatorSetId(pub u64);

/// A provider's promise: these resources at this price, up to `capacity` agreements at once, until `valid_until`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Who promises.
    pub provider: Address,
    /// Lease or job.
    pub kind: Kind,
    /// What each agreement gets.
    pub resources: Resources,
    /// Token units a second; this is what is paid.
    pub price: Price,
    /// Collateral as a share of the escrow; 10 000 is 1:1.
    pub pledge_bps: Bps,
    /// Agreements open at once.
    pub capacity: u32,
    /// Shortest agreement.
    pub min_duration: Seconds,
    /// Longest agreement, top-ups included.
    pub max_duration: Seconds,
    /// The provider starts within this, or pays.
    pub start_within: Seconds,
    /// Warning the provider gives before it closes a lease.
    pub notice: Seconds,
    /// A lease pays at least for this long.
    pub min_charge: Seconds,
    /// Who judges disputes; 0 for offers that are never `exact`.
    pub mediator_set: MediatorSetId,
    /// Longest challenge window the provider puts up with.
    pub max_challenge_window: Seconds,
    /// Not to be opened after this.
    pub valid_until: UnixTime,
    /// The provider's epoch on chain; raising it cancels every older offer.
    pub epoch: u64,
}

/// A renter's wish: at least these resources, at most this price. Fills once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Who pays.
    pub renter: Address,
    /// Lease or job.
    pub kind: Kind,
    /// The least that will do.
    pub resources: Resources,
    /// The most that will be paid, token units a second.
    pub max_price: Price,
    /// How long the escrow lasts, or how long the job may run.
    pub duration: Seconds,
    /// Hash of the [`crate::MachineRequest`] or [`crate::JobDocument`].
    pub workload: B256,
    /// The only link endpoint the provider will serve this agreement to.
    pub peer_key: PeerKey,
    /// How the result is checked.
    pub class: Class,
    /// Who judges; the same as the offer's when the class is exact.
    pub mediator_set: MediatorSetId,
    /// How long the renter may object to a result.
    pub challenge_window: Seconds,
    /// The least collateral, as a share of the escrow.
    pub min_pledge_bps: Bps,
    /// The longest the provider may take to start.
    pub max_start_within: Seconds,
    /// The least warning before a lease is closed. Jobs are not closed.
    pub min_notice: Seconds,
    /// The longest a lease is charged for at least. Jobs are not.
    pub max_min_charge: Seconds,
    /// Only this provider; zero for any.
    pub provider: Address,
    /// Only this solver may open it; zero for anyone.
    pub solver: Address,
    /// What the opener earns once the agreement starts or succeeds.
    pub solver_fee: Amount,
    /// Not to be opened after this.
    pub valid_until: UnixTime,
    /// Any number this renter has not used.
    pub nonce: U256,
}

/// A renter's word that a job's result is good and what it costs; lets anyone settle the job at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The job.
    pub job: JobId,
    /// keccak256 of the result archive.
    pub result_hash: B256,
    /// What the provider gets.
    pub cost: Amount,
}

/// Highest price and solver's fee the contract stores: 2^96 - 1 units.
pub const MAX_STORED: u128 = (1 << 96) - 1;
/// Highest pledge share the contract stores: 2^24 - 1.
pub const MAX_PLEDGE_BPS: Bps = Bps((1 << 24) - 1);

/// Longest job of class exact that the contract opens: whoever judges it runs it again.
pub const MAX_EXACT: Seconds = Seconds(7 * 24 * 3600);

/// What makes an offer or order impossible for anybody, whoever signs it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidDocument {
    /// A field that must not be zero is.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// The durations contradict each other.
    #[error("the shortest duration {min} exceeds the longest {max}")]
    DurationsReversed {
        /// Shortest.
        min: Seconds,
        /// Longest.
        max: Seconds,
    },
    /// Price times duration leaves the range of a balance.
    #[error("the price over the whole duration is more than any balance can hold")]
    TooMuchMoney,
    /// More than the contract stores.
    #[error("{0} is more than the contract can store")]
    OutOfRange(&'static str),
    /// Only jobs are checked.
    #[error("a lease has no result to check: its class must be none")]
    LeaseWithClass,
    /// An exact order needs someone to judge it.
    #[error("class exact needs a set of mediators")]
    NoMediators,
    /// Mediators would be held by it for too long.
    #[error("a job of class exact may take {MAX_EXACT} at most, so that mediators can run it again")]
    TooLongToJudge,
}

impl Offer {
    /// The escrow `E` an agreement of `duration` locks, without the solver's fee.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn escrow(&self, duration: Seconds) -> Result<Amount, AmountOverflow> {
        self.price.over(duration)
    }

    /// The pledge `Q` an agreement of `duration` locks.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn pledge(&self, duration: Seconds) -> Result<Amount, AmountOverflow> {
        crate::sums::pledge(self.escrow(duration)?, self.pledge_bps)
    }

    /// Refuses an offer nobody could ever open.
    ///
    /// # Errors
    /// [`InvalidDocument`], the first reason found.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        let zero = InvalidDocument::Zero;
        if self.provider == Address::ZERO {
            return Err(zero("provider"));
        }
        if self.resources.vcpus.0 == 0 {
            return Err(zero("resources.vcpus"));
        }
        if self.resources.memory.0 == 0 {
            return Err(zero("resources.memory_mib"));
        }
        if self.capacity == 0 {
            return Err(zero("capacity"));
        }
        if self.max_duration.0 == 0 {
            return Err(zero("max_duration"));
        }
        if self.price.0 == 0 {
            return Err(zero("price"));
        }
        if self.pledge_bps.0 == 0 {
            return Err(zero("pledge_bps"));
        }
        if self.price.0 > MAX_STORED {
            return Err(InvalidDocument::OutOfRange("price"));
        }
        if self.pledge_bps > MAX_PLEDGE_BPS {
            return Err(InvalidDocument::OutOfRange("pledge_bps"));
        }
        if self.min_duration > self.max_duration {
            return Err(InvalidDocument::DurationsReversed { min: self.min_duration, max: self.max_duration });
        }
        self.pledge(self.max_duration).map_err(|_| InvalidDocument::TooMuchMoney).map(|_| ())
    }
}

impl Order {
    /// The most this order can lock: escrow at its highest price, and the solver's fee.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn most_locked(&self) -> Result<Amount, AmountOverflow> {
        self.max_price.over(self.duration)?.plus(self.solver_fee)
    }

    /// Refuses an order no offer could ever fill.
    ///
    /// # Errors
    /// [`InvalidDocument`], the first reason found.
    pub fn check(&self) -> Result<(), InvalidDocument> {
        if self.renter == Address::ZERO {
            return Err(InvalidDocument::Zero("renter"));
        }
        if self.duration.0 == 0 {
            return Err(InvalidDocument::Zero("duration"));
        }
        if self.workload == B256::ZERO {
            return Err(InvalidDocument::Zero("workload"));
        }
        if self.peer_key.0 == [0; 32] {
            return Err(InvalidDocument::Zero("peer_key"));
        }
        if self.solver_fee.0 > MAX_STORED {
            return Err(InvalidDocument::OutOfRange("solver_fee"));
        }
        if self.min_pledge_bps > MAX_PLEDGE_BPS {
            return Err(InvalidDocument::OutOfRange("min_pledge_bps"));
        }
        match (self.kind, self.class) {
            (Kind::Lease, Class::Exact) => return Err(InvalidDocument::LeaseWithClass),
            (Kind::Job, Class::Exact) if self.mediator_set == MediatorSetId(0) => {
                return Err(InvalidDocument::NoMediators);
            }
            (Kind::Job, Class::Exact) if self.duration > MAX_EXACT => return Err(InvalidDocument::TooLongToJudge),
            (Kind::Lease | Kind::Job, Class::None) | (Kind::Job, Class::Exact) => {}
        }
        self.most_locked().map_err(|_| InvalidDocument::TooMuchMoney).map(|_| ())
    }
}

impl TypedData for Offer {
    type Solidity = typed::Offer;

    fn solidity(&self) -> typed::Offer {
        typed::Offer {
            provider: self.provider,
            kind: self.kind.into(),
            resources: (&self.resources).into(),
            price: self.price.0,
            pledgeBps: self.pledge_bps.0,
            capacity: self.capacity,
            minDuration: self.min_duration.0,
            maxDuration: self.max_duration.0,
            startWithin: self.start_within.0,
            notice: self.notice.0,
            minCharge: self.min_charge.0,
            mediatorSet: self.mediator_set.0,
            maxChallengeWindow: self.max_challenge_window.0,
            validUntil: self.valid_until.0,
            epoch: self.epoch,
        }
    }
}

impl TypedData for Order {
    type Solidity = typed::Order;

    fn solidity(&self) -> typed::Order {
        typed::Order {
            renter: self.renter,
            kind: self.kind.into(),
            resources: (&self.resources).into(),
            maxPrice: self.max_price.0,
            duration: self.duration.0,
            workload: self.workload,
            peerKey: B256::from(self.peer_key.0),
            class: self.class.into(),
            mediatorSet: self.mediator_set.0,
            challengeWindow: self.challenge_window.0,
            minPledgeBps: self.min_pledge_bps.0,
            maxStartWithin: self.max_start_within.0,
            minNotice: self.min_notice.0,
            maxMinCharge: self.max_min_charge.0,
            provider: self.provider,
            solver: self.solver,
            solverFee: self.solver_fee.0,
            validUntil: self.valid_until.0,
            nonce: self.nonce,
        }
    }
}

impl TypedData for Acceptance {
    type Solidity = typed::Acceptance;

    fn solidity(&self) -> typed::Acceptance {
        typed::Acceptance { job: self.job.0, resultHash: self.result_hash, cost: self.cost.0 }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sublet_base::{GiB, MiB, Vcpus, keccak256};

    use super::*;
    use crate::{Domain, Traits};

    pub(crate) fn offer() -> Offer {
        Offer {
            provider: Address::repeat_byte(0x11),
            kind: Kind::Job,
            resources: Resources {
                vcpus: Vcpus(2),
                memory: MiB(4096),
                disk: GiB(20),
                gpus: 1,
                traits: Traits(B256::repeat_byte(0xaa)),
            },
            price: Price(1_000_000_007),
            pledge_bps: Bps(12_500),
            capacity: 3,
            min_duration: Seconds(60),
            max_duration: Seconds(86_400),
            start_within: Seconds(120),
            notice: Seconds(600),
            min_charge: Seconds(30),
            mediator_set: MediatorSetId(9),
            max_challenge_window: Seconds(7_200),
            valid_until: UnixTime(1_800_000_000),
            epoch: 5,
        }
    }

    pub(crate) fn order() -> Order {
        Order {
            renter: Address::repeat_byte(0x22),
            kind: Kind::Job,
            resources: Resources { vcpus: Vcpus(1), memory: MiB(1024), disk: GiB(10), gpus: 0, traits: Traits::NONE },
            max_price: Price(2_000_000_000),
            duration: Seconds(3_600),
            workload: B256::repeat_byte(0xbb),
            peer_key: PeerKey([0xcc; 32]),
            class: Class::Exact,
            mediator_set: MediatorSetId(9),
            challenge_window: Seconds(1_800),
            min_pledge_bps: Bps(10_000),
            max_start_within: Seconds(300),
            min_notice: Seconds(500),
            max_min_charge: Seconds(45),
            provider: Address::ZERO,
            solver: Address::repeat_byte(0x33),
            solver_fee: Amount(77),
            valid_until: UnixTime(1_800_000_001),
            nonce: U256::from(1u128 << 100),
        }
    }

    const DOMAIN: Domain = Domain { chain_id: 31_337, contract: Address::repeat_byte(0x44) };

    fn word(value: u128) -> B256 {
        B256::from(U256::from(value))
    }

    fn hash(type_name: &str, words: &[B256]) -> B256 {
        keccak256([&[keccak256(type_name)], words].concat().concat())
    }

    const RESOURCES: &str = "Resources(uint32 vcpus,uint32 memoryMiB,uint32 diskGiB,uint32 gpus,bytes32 traits)";

    fn resources(r: &Resources) -> B256 {
        let sizes = [r.vcpus.0, r.memory.0, r.disk.0, r.gpus].map(|n| word(n.into()));
        hash(RESOURCES, &[sizes.as_slice(), &[r.traits.0]].concat())
    }

    /// EIP-712 written out by hand, from the type strings in the contract.
    #[test]
    fn struct_hashes_are_what_the_contract_computes() {
        let o = offer();
        let head = "Offer(address provider,uint8 kind,Resources resources,uint128 price,uint32 pledgeBps,uint32 capacity,\
            uint32 minDuration,uint32 maxDuration,uint32 startWithin,uint32 notice,uint32 minCharge,uint64 mediatorSet,\
            uint32 maxChallengeWindow,uint64 validUntil,uint64 epoch)";
        let numbers = [1_000_000_007, 12_500, 3, 60, 86_400, 120, 600, 30, 9, 7_200, 1_800_000_000, 5].map(word);
        let words = [[o.provider.into_word(), word(1), resources(&o.resources)].as_slice(), &numbers].concat();
        assert_eq!(o.struct_hash(), hash(&format!("{head}{RESOURCES}"), &words));

        let o = order();
        let head = "Order(address renter,uint8 kind,Resources resources,uint128 maxPrice,uint32 duration,bytes32 workload,\
            bytes32 peerKey,uint8 class,uint64 mediatorSet,uint32 challengeWindow,uint32 minPledgeBps,uint32 maxStartWithin,\
            uint32 minNotice,uint32 maxMinCharge,address provider,address solver,uint128 solverFee,uint64 validUntil,uint256 nonce)";
        let words = [
            [o.renter.into_word(), word(1), resources(&o.resources)].as_slice(),
            &[2_000_000_000, 3_600].map(word),
            &[o.workload, B256::from(o.peer_key.0), word(1), word(9), word(1_800)],
            &[10_000, 300, 500, 45, 0].map(word),
            &[o.solver.into_word(), word(77), word(1_800_000_001), B256::from(o.nonce)],
        ]
        .concat();
        assert_eq!(o.struct_hash(), hash(&format!("{head}{RESOURCES}"), &words));

        let a = Acceptance { job: JobId(7), result_hash: B256::repeat_byte(0xdd), cost: Amount(42) };
        let words = [word(7), a.result_hash, word(42)];
        assert_eq!(a.struct_hash(), hash("Acceptance(uint64 job,bytes32 resultHash,uint128 cost)", &words));
    }

    #[test]
    fn what_is_signed_binds_chain_and_contract() {
        let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        let words = [keccak256("Sublet"), keccak256("1"), word(31_337), DOMAIN.contract.into_word()];
        let separator = hash(domain, &words);
        assert_eq!(DOMAIN.separator(), separator);
        let digest = keccak256([&[0x19, 0x01], separator.as_slice(), offer().struct_hash().as_slice()].concat());
        assert_eq!(offer().signing_hash(&DOMAIN), digest);
        assert_ne!(offer().signing_hash(&Domain { chain_id: 1, ..DOMAIN }), digest);
        assert_ne!(offer().signing_hash(&Domain { contract: Address::ZERO, ..DOMAIN }), digest);
    }

    /// Known answers, for the contract's tests and clients in other languages: the documents above in `DOMAIN`.
    #[test]
    fn known_answers() {
        let acceptance = Acceptance { job: JobId(7), result_hash: B256::repeat_byte(0xdd), cost: Amount(42) };
        let hashes = [offer().signing_hash(&DOMAIN), order().signing_hash(&DOMAIN), acceptance.signing_hash(&DOMAIN)];
        assert_eq!(hashes.map(|h| h.to_string()), KNOWN);
    }

    const KNOWN: [&str; 3] = [
        "0xe5f161d732cbefb9c7dc9baf5dc301cf5e1e5f9b92898296c8ebd761db58712c",
        "0x1ce5af951eb3fe47fba62b6daa60173bfe31fcb36d29127a9ea1d5a521314ee9",
        "0x7c13157bc2c43d254c804103bca314ed60bdcc6b710b1e1f283df4c31337a97d",
    ];

    #[test]
    fn impossible_documents_are_refused() {
        assert_eq!(offer().check(), Ok(()));
        assert_eq!(order().check(), Ok(()));
        let broken: [fn(&mut Offer); 6] = [
            |o| o.price = Price(0),
            |o| o.price = Price(MAX_STORED + 1),
            |o| o.pledge_bps = Bps(0),
            |o| o.capacity = 0,
            |o| o.min_duration = Seconds(86_401),
            |o| (o.price, o.max_duration, o.pledge_bps) = (Price(MAX_STORED), Seconds(u32::MAX), Bps(20_000)),
        ];
        for (position, change) in broken.into_iter().enumerate() {
            let mut o = offer();
            change(&mut o);
            assert!(o.check().is_err(), "broken offer {position} should be refused");
        }
        let broken: [fn(&mut Order); 8] = [
            |o| o.duration = Seconds(MAX_EXACT.0 + 1),
            |o| o.duration = Seconds(0),
            |o| o.workload = B256::ZERO,
            |o| o.peer_key = PeerKey([0; 32]),
            |o| o.mediator_set = MediatorSetId(0),
            |o| o.kind = Kind::Lease,
            |o| o.min_pledge_bps = Bps(MAX_PLEDGE_BPS.0 + 1),
            |o| (o.max_price, o.duration) = (Price(u128::MAX), Seconds(2)),
        ];
        for (position, change) in broken.into_iter().enumerate() {
            let mut o = order();
            change(&mut o);
            assert!(o.check().is_err(), "broken order {position} should be refused");
        }
    }

    #[test]
    fn json_reads_back_and_unknown_fields_are_refused() {
        let text = serde_json::to_string(&order()).expect("JSON");
        assert_eq!(serde_json::from_str::<Order>(&text).expect("reads"), order());
        assert!(text.contains("\"max_price\":\"2000000000\"") && text.contains("\"memory_mib\":1024"), "{text}");
        assert!(serde_json::from_str::<Order>(&text.replacen('{', "{\"extra\":1,", 1)).is_err());
    }
}
