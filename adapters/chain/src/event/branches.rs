//! Reads the events of the court and of the gateways' list.

use sublet_base::{JobId, UnixTime};
use sublet_market::{MediatorSetId, UnknownCode, Verdict};

use super::{C, Event, G};
use crate::branch::Branch;
use crate::convert::{amount, peer_key, units};

impl Event {
    pub(super) fn from_court(event: C) -> Result<Self, UnknownCode> {
        let branch = Branch::Court;
        Ok(match event {
            C::BondPosted(e) => {
                Self::BondPosted { branch, account: e.account, amount: amount(e.amount), bond: amount(e.bond) }
            }
            C::BondRetired(e) => {
                Self::BondRetired { branch, account: e.account, withdrawable_at: UnixTime(e.withdrawableAt) }
            }
            C::BondWithdrawn(e) => Self::BondWithdrawn { branch, account: e.account, amount: amount(e.amount) },
            C::MediatorRegistered(e) => {
                Self::MediatorRegistered { mediator: e.mediator, peer_key: peer_key(e.peerKey) }
            }
            C::MediatorSetCreated(e) => Self::MediatorSetCreated {
                set: MediatorSetId(e.mediatorSet),
                members: e.members,
                panel_size: e.panelSize,
                fee: units(e.fee.to()),
            },
            C::MediatorJoined(e) => Self::MediatorJoined { set: MediatorSetId(e.mediatorSet), mediator: e.mediator },
            C::MediatorLeft(e) => Self::MediatorLeft { set: MediatorSetId(e.mediatorSet), mediator: e.mediator },
            C::MediatorSlashed(e) => Self::MediatorSlashed {
                id: JobId(e.id),
                mediator: e.mediator,
                to_renter: amount(e.toRenter),
                to_provider: amount(e.toProvider),
            },
            C::DisputeRaised(e) => Self::DisputeRaised {
                id: JobId(e.id),
                renter: e.renter,
                provider: e.provider,
                set: MediatorSetId(e.mediatorSet),
                result: e.resultHash,
                fees: amount(e.fees),
            },
            C::DisputeArmed(e) => Self::DisputeArmed { id: JobId(e.id), armed_at: e.armedAt, electorate: e.electorate },
            C::PanelDrawn(e) => Self::PanelDrawn { id: JobId(e.id), panel: e.panel, commit_by: UnixTime(e.commitBy) },
            C::VoteCommitted(e) => {
                Self::VoteCommitted { id: JobId(e.id), mediator: e.mediator, commitment: e.commitment }
            }
            C::CommitsComplete(e) => Self::CommitsComplete { id: JobId(e.id), reveal_by: UnixTime(e.revealBy) },
            C::VoteRevealed(e) => Self::VoteRevealed { id: JobId(e.id), mediator: e.mediator, result: e.resultHash },
            C::DisputeResolved(e) => {
                let verdict = Verdict::try_from(e.verdict)?;
                let result = match verdict {
                    // Zero is a result too: the archive was withheld.
                    Verdict::Upheld | Verdict::Overturned => Some(e.resultHash),
                    Verdict::Inconclusive => None,
                };
                let (paid, back) = (amount(e.paid), amount(e.back));
                Self::DisputeResolved { id: JobId(e.id), verdict, result, votes: e.votes, paid, back }
            }
        })
    }

    pub(super) fn from_gateways(event: G) -> Self {
        let branch = Branch::Gateways;
        match event {
            G::BondPosted(e) => {
                Self::BondPosted { branch, account: e.account, amount: amount(e.amount), bond: amount(e.bond) }
            }
            G::BondRetired(e) => {
                Self::BondRetired { branch, account: e.account, withdrawable_at: UnixTime(e.withdrawableAt) }
            }
            G::BondWithdrawn(e) => Self::BondWithdrawn { branch, account: e.account, amount: amount(e.amount) },
            G::GatewayRegistered(e) => Self::GatewayRegistered {
                gateway: e.gateway,
                peer_key: peer_key(e.peerKey),
                url: e.url,
                region: e.region,
            },
            G::GatewayBeat(e) => Self::GatewayBeat { gateway: e.gateway },
        }
    }
}
