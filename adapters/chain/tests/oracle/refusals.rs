//! Which of the domain's refusals is which of the contracts', values included.

use sublet_base::Amount;
use sublet_chain::Refusal as R;
use sublet_market::agreement::Denied as D;

/// True if both say the same.
pub(crate) fn alike(denied: &D, refusal: &R) -> bool {
    match denied {
        D::State(_) => matches!(
            refusal,
            R::LeaseWrongState { .. }
                | R::JobWrongState { .. }
                | R::DisputeWrongStage { .. }
                | R::BondIsRetired { .. }
                | R::BondNotRetired { .. }
        ),
        D::Caller(_) => matches!(refusal, R::OtherParty { .. }),
        D::TooLate(until) => matches!(refusal, R::TooLate { deadline, .. } if deadline == until),
        D::TooEarly(from) => match refusal {
            R::TooEarly { not_before, .. } | R::BondTooEarly { not_before, .. } => not_before == from,
            _ => false,
        },
        D::TooLong { total, max } => {
            matches!(refusal, R::LeaseTooLong { duration, max: most, .. } if duration == total && most == max)
        }
        D::Zero(_) => matches!(refusal, R::LeaseZeroSeconds | R::JobZeroResult { .. } | R::BondZero),
        D::Stale(since) => matches!(refusal, R::ProviderStale { last_beat, .. } if last_beat == since),
        D::PenaltyTooHigh { penalty, most } => same(refusal, *penalty, *most, |r| match r {
            R::LeasePenaltyTooHigh { penalty, most, .. } => Some((*penalty, *most)),
            _ => None,
        }),
        D::AlreadyNoticed(at) => matches!(refusal, R::LeaseNoticeAlreadyGiven { notice_at, .. } if notice_at == at),
        D::OtherResult => matches!(refusal, R::JobResultDiffers { .. }),
        D::CostTooHigh { cost, max } => same(refusal, *cost, *max, |r| match r {
            R::JobCostTooHigh { cost, max, .. } => Some((*cost, *max)),
            _ => None,
        }),
        D::CostTooLow { cost, min } => same(refusal, *cost, *min, |r| match r {
            R::JobCostTooLow { cost, min, .. } => Some((*cost, *min)),
            _ => None,
        }),
        D::NotRefusable => matches!(refusal, R::JobNotRefusable { .. }),
        D::NotDisputable => matches!(refusal, R::JobNotDisputable { .. }),
        D::TooEarlyBlock(block) => matches!(refusal, R::DisputeTooEarly { from, .. } if from == block),
        D::NotListed => matches!(refusal, R::SetOtherMembers { .. }),
        D::NotSeated => matches!(refusal, R::VoteNotSeated { .. }),
        D::VoteStage => matches!(refusal, R::VoteWrongStage { .. }),
        D::OtherVote => matches!(refusal, R::VoteOtherThanCommitted { .. }),
        D::NoBond => matches!(refusal, R::BondUnknown { .. }),
        D::BondTooLarge(total) => matches!(refusal, R::BondTooLarge { bond, .. } if bond == total),
        D::AtStake(amount) => matches!(refusal, R::BondAtStake { at_stake, .. } if at_stake == amount),
    }
}

fn same(refusal: &R, one: Amount, other: Amount, read: impl Fn(&R) -> Option<(Amount, Amount)>) -> bool {
    read(refusal) == Some((one, other))
}
