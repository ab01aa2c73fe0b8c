//! Why an order waits, as the interface says it.

use sublet_matching::Reason;
use sublet_wire::solver::Unfilled;

/// What the plan said.
pub(crate) fn told(reason: &Reason) -> Unfilled {
    Unfilled { code: code(reason).to_owned(), message: reason.to_string() }
}

/// It was matched, and the agreement was not opened.
pub(crate) fn not_opened(why: &str) -> Unfilled {
    Unfilled { code: "not-opened".to_owned(), message: format!("it was matched, but not opened: {why}") }
}

/// The reason's word in the interface; part of its version.
fn code(reason: &Reason) -> &'static str {
    match reason {
        Reason::Invalid(_) => "senseless",
        Reason::Expired(_) => "expires-too-soon",
        Reason::OtherSolver(_) => "other-solver",
        Reason::FeeTooLow { .. } => "fee-too-low",
        Reason::BalanceTooLow { .. } => "balance-too-low",
        Reason::TooExpensive { .. } => "too-expensive",
        Reason::UnknownMediators(_) => "unknown-mediators",
        Reason::NoOffers(_) => "no-offers",
        Reason::NothingFits(_) => "nothing-fits",
        Reason::NextRound => "next-round",
    }
}
