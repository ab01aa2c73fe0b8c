//! Why an order waits, in words that say which limit to move.

use sublet_base::{Address, Amount, B256, Price, UnixTime};
use sublet_market::{InvalidDocument, Kind, MediatorSetId, Misfit};
use thiserror::Error;

/// Why no order could open an offer now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unusable {
    /// The contract does not know the provider.
    #[error("its provider is not registered")]
    Unregistered,
    /// The contract would refuse the document.
    #[error("it is not a valid offer")]
    Invalid,
    /// It is over, or will be before it can be opened.
    #[error("it expires at {0}")]
    Expired(UnixTime),
    /// The provider took back its older offers.
    #[error("it is of epoch {offered}, its provider is at {current}")]
    OldEpoch {
        /// The offer's.
        offered: u64,
        /// On chain.
        current: u64,
    },
    /// The provider takes nothing new.
    #[error("its provider is offline")]
    Offline,
    /// The provider has not beaten lately.
    #[error("its provider last gave a sign of life at {last_beat}")]
    Silent {
        /// When it did.
        last_beat: UnixTime,
    },
    /// All places are taken.
    #[error("all its {capacity} places are taken")]
    Full {
        /// Agreements at once.
        capacity: u32,
    },
    /// The provider cannot lock the pledge.
    #[error("its provider has {free} free and must pledge {needed}")]
    PledgeShort {
        /// For this agreement.
        needed: Amount,
        /// The provider's free balance.
        free: Amount,
    },
    /// The contract refused it, whoever ordered.
    #[error("the contract refused it a moment ago: {0}")]
    Refused(String),
}

impl Unusable {
    /// The same without what moves by itself, such as balances: two that are equal in this are no news.
    #[must_use]
    pub fn gist(self) -> Self {
        match self {
            Self::PledgeShort { needed, .. } => Self::PledgeShort { needed, free: Amount::ZERO },
            Self::Silent { .. } => Self::Silent { last_beat: UnixTime(0) },
            Self::Refused(_) => Self::Refused(String::new()),
            Self::Unregistered
            | Self::Invalid
            | Self::Expired(_)
            | Self::OldEpoch { .. }
            | Self::Offline
            | Self::Full { .. } => self,
        }
    }
}

/// Why the contract would not open this pair, although their words fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Apart {
    /// A pledge has to pay the panel that would overturn its job.
    #[error("its pledge of {pledge} does not pay for a panel of mediators, which costs {fees}")]
    PledgeBelowFees {
        /// For this agreement.
        pledge: Amount,
        /// Of the order's set.
        fees: Amount,
    },
    /// It said so.
    #[error("the contract refused the two a moment ago: {0}")]
    Refused(String),
}

/// One thing between an order and an offer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Obstacle {
    /// The two documents do not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Nobody can open the offer now.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The two do not go together.
    #[error(transparent)]
    Apart(#[from] Apart),
}

impl Obstacle {
    fn gist(self) -> Self {
        match self {
            Self::Unusable(why) => Self::Unusable(why.gist()),
            Self::Apart(Apart::Refused(_)) => Self::Apart(Apart::Refused(String::new())),
            Self::Misfit(_) | Self::Apart(Apart::PledgeBelowFees { .. }) => self,
        }
    }
}

/// The offer that comes closest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Its hash.
    pub offer: B256,
    /// Its price.
    pub price: Price,
    /// What is in the way.
    pub obstacles: Vec<Obstacle>,
}

impl std::fmt::Display for Nearest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "offer {} at {}: ", self.offer, self.price)?;
        for (position, obstacle) in self.obstacles.iter().enumerate() {
            write!(f, "{}{obstacle}", if position > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// Why an order is not filled by this plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// No offer could ever fill it.
    #[error(transparent)]
    Invalid(#[from] InvalidDocument),
    /// It is over, or will be before it can be opened.
    #[error("the order expires at {0}")]
    Expired(UnixTime),
    /// It names another solver.
    #[error("only solver {0} may open the order")]
    OtherSolver(Address),
    /// It pays this solver too little.
    #[error("the order pays the solver {fee}; this one asks for {least}")]
    FeeTooLow {
        /// The order's.
        fee: Amount,
        /// The policy's.
        least: Amount,
    },
    /// The renter cannot lock what the agreement takes.
    #[error("the renter's free balance is {free} and {needed} must be locked: {missing} is missing")]
    BalanceTooLow {
        /// Left after earlier orders of the same renter.
        free: Amount,
        /// Escrow at the offer's price, and the fee.
        needed: Amount,
        /// The difference.
        missing: Amount,
    },
    /// Something fits, but costs more.
    #[error("the order pays at most {max}; the cheapest offer that fits costs {cheapest}")]
    TooExpensive {
        /// The order's.
        max: Price,
        /// The offer's.
        cheapest: Price,
        /// Which.
        offer: B256,
    },
    /// Nobody could judge its result.
    #[error("there is no set {} of mediators", .0.0)]
    UnknownMediators(MediatorSetId),
    /// Nothing in the book is of its kind.
    #[error("there are no offers for a {0}")]
    NoOffers(Kind),
    /// Nothing fits, whatever the price.
    #[error("no offer fits; the nearest is {0}")]
    NothingFits(Nearest),
    /// Something fits, but this plan is full; the next will look again.
    #[error("the order waits for the next round")]
    NextRound,
}

impl Reason {
    /// The same without what moves by itself, such as balances: two that are equal in this are no news.
    #[must_use]
    pub fn gist(self) -> Self {
        match self {
            Self::BalanceTooLow { needed, .. } => {
                Self::BalanceTooLow { free: Amount::ZERO, needed, missing: Amount::ZERO }
            }
            Self::NothingFits(Nearest { offer, price, obstacles }) => {
                let obstacles = obstacles.into_iter().map(Obstacle::gist).collect();
                Self::NothingFits(Nearest { offer, price, obstacles })
            }
            Self::Invalid(_)
            | Self::Expired(_)
            | Self::OtherSolver(_)
            | Self::FeeTooLow { .. }
            | Self::TooExpensive { .. }
            | Self::UnknownMediators(_)
            | Self::NoOffers(_)
            | Self::NextRound => self,
        }
    }
}
