//! Calls as the contracts' call data.

use alloy::primitives::{Bytes, Uint};
use alloy::sol_types::SolCall;
use sublet_base::{Address, Amount, B256, U256};
use sublet_market::{SignedAcceptance, SignedOffer, SignedOrder};

use super::{Call, Target};
use crate::bindings::{Court as c, Gateways as g, Sublet as s, SubletToken as t};
use crate::branch::Branch;
use crate::convert;

impl Call {
    /// Target and call data; `contract` is the Sublet contract's address.
    pub(crate) fn encode(&self, contract: Address) -> (Target, Bytes) {
        let data = match self {
            Self::Approve(amount) => {
                return to(Target::Token, &t::approveCall { spender: contract, value: U256::from(amount.0) });
            }
            Self::Transfer { to: account, amount } => {
                return to(Target::Token, &t::transferCall { to: *account, value: U256::from(amount.0) });
            }
            Self::Mint { to: account, amount } => {
                return to(Target::Token, &t::mintCall { to: *account, amount: U256::from(amount.0) });
            }
            Self::Deposit(amount) => s::depositCall { amount: amount.0 }.abi_encode(),
            Self::DepositFor { account, amount } => {
                s::depositForCall { account: *account, amount: amount.0 }.abi_encode()
            }
            Self::Withdraw(amount) => s::withdrawCall { amount: amount.0 }.abi_encode(),
            Self::RegisterProvider { peer_key, info } => {
                s::registerProviderCall { peerKey: B256::from(peer_key.0), info: info.clone() }.abi_encode()
            }
            Self::SetOnline(online) => s::setOnlineCall { online: *online }.abi_encode(),
            Self::Beat => s::beatCall {}.abi_encode(),
            Self::Open(pair) => encode_open(&pair.0, &pair.1),
            Self::OpenMany(pairs) => {
                s::openManyCall { pairs: pairs.iter().map(|(o, w)| convert::pair(o, w)).collect() }.abi_encode()
            }
            Self::CancelOffer(hash) => s::cancelOfferCall { offerHash: *hash }.abi_encode(),
            Self::BumpEpoch => s::bumpEpochCall {}.abi_encode(),
            Self::CancelOrder(nonce) => s::cancelOrderCall { nonce: *nonce }.abi_encode(),
            Self::StartLease(id) => s::startLeaseCall { id: id.0 }.abi_encode(),
            Self::RejectLease(id) => s::rejectLeaseCall { id: id.0 }.abi_encode(),
            Self::CancelLease(id) => s::cancelLeaseCall { id: id.0 }.abi_encode(),
            Self::ExpireLease(id) => s::expireLeaseCall { id: id.0 }.abi_encode(),
            Self::SettleLease(id) => s::settleLeaseCall { id: id.0 }.abi_encode(),
            Self::TopUpLease(id, more) => s::topUpLeaseCall { id: id.0, seconds_: more.0 }.abi_encode(),
            Self::GiveNotice(id) => s::giveNoticeCall { id: id.0 }.abi_encode(),
            Self::CloseLease { id, max_penalty } => {
                s::closeLeaseCall { id: id.0, maxPenalty: max_penalty.0 }.abi_encode()
            }
            Self::FaultLease(id) => s::faultLeaseCall { id: id.0 }.abi_encode(),
            Self::RejectJob(id) => s::rejectJobCall { id: id.0 }.abi_encode(),
            Self::SubmitJob { job, result, used } => {
                s::submitJobCall { id: job.0, resultHash: *result, usedSeconds: used.0 }.abi_encode()
            }
            Self::SettleJob(signed) => encode_settle(signed),
            Self::SettleJobs(signed) => {
                s::settleJobsCall { settlements: signed.iter().map(settlement).collect() }.abi_encode()
            }
            Self::AcceptJob(id) => s::acceptJobCall { id: id.0 }.abi_encode(),
            Self::FinalizeJob(id) => s::finalizeJobCall { id: id.0 }.abi_encode(),
            Self::ExpireJob(id) => s::expireJobCall { id: id.0 }.abi_encode(),
            Self::RefuseJob(id) => s::refuseJobCall { id: id.0 }.abi_encode(),
            Self::RegisterMediator { peer_key, bond } => {
                let call = c::registerMediatorCall { peerKey: B256::from(peer_key.0), bond: bond.0 };
                return to(Target::Court, &call);
            }
            Self::RetireMediator => return to(Target::Court, &c::retireMediatorCall {}),
            Self::WithdrawBond(Branch::Court) => return to(Target::Court, &c::withdrawBondCall {}),
            Self::WithdrawBond(Branch::Gateways) => return to(Target::Gateways, &g::withdrawBondCall {}),
            Self::JoinSet(set) => return to(Target::Court, &c::joinSetCall { set: set.0 }),
            Self::LeaveSet(set) => return to(Target::Court, &c::leaveSetCall { set: set.0 }),
            Self::CreateMediatorSet { members, panel_size, fee } => {
                return (Target::Court, encode_set(members, *panel_size, *fee));
            }
            Self::Dispute(id) => return to(Target::Court, &c::disputeCall { id: id.0 }),
            Self::Draw(id) => return to(Target::Court, &c::drawCall { id: id.0 }),
            Self::CommitVote { job, commitment } => {
                return to(Target::Court, &c::commitVoteCall { id: job.0, commitment: *commitment });
            }
            Self::RevealVote { job, result, salt } => {
                return to(Target::Court, &c::revealVoteCall { id: job.0, resultHash: *result, salt: *salt });
            }
            Self::Resolve(id) => return to(Target::Court, &c::resolveCall { id: id.0 }),
            Self::RegisterGateway { peer_key, url, region, bond } => {
                let (url, region) = (url.clone(), region.clone());
                let call = g::registerGatewayCall { peerKey: B256::from(peer_key.0), url, region, bond: bond.0 };
                return to(Target::Gateways, &call);
            }
            Self::GatewayBeat => return to(Target::Gateways, &g::beatCall {}),
            Self::RetireGateway => return to(Target::Gateways, &g::retireGatewayCall {}),
            Self::PlaceOrder { order, workload, callback } => {
                return to(Target::Orders, &convert::place(order, workload.as_deref(), *callback));
            }
        };
        (Target::Sublet, data.into())
    }
}

fn to(target: Target, call: &impl SolCall) -> (Target, Bytes) {
    (target, call.abi_encode().into())
}

/// A fee that the contract's 96 bits cannot hold is handed over as it is, for the contract to refuse.
fn encode_set(members: &[Address], panel_size: u8, fee: Amount) -> Bytes {
    let call = c::createMediatorSetCall { members: members.to_vec(), panelSize: panel_size, fee: Uint::ZERO };
    let mut data = call.abi_encode();
    data[4 + 2 * 32..4 + 3 * 32].copy_from_slice(&U256::from(fee.0).to_be_bytes::<32>());
    data.into()
}

fn encode_open(offered: &SignedOffer, ordered: &SignedOrder) -> Vec<u8> {
    let pair = convert::pair(offered, ordered);
    s::openCall {
        offer: pair.offer,
        offerSignature: pair.offerSignature,
        order: pair.order,
        orderSignature: pair.orderSignature,
    }
    .abi_encode()
}

fn encode_settle(signed: &SignedAcceptance) -> Vec<u8> {
    let row = settlement(signed);
    s::settleJobCall { id: row.id, resultHash: row.resultHash, cost: row.cost, acceptance: row.acceptance }.abi_encode()
}

fn settlement(signed: &SignedAcceptance) -> s::Settlement {
    s::Settlement {
        id: signed.acceptance.job.0,
        resultHash: signed.acceptance.result_hash,
        cost: signed.acceptance.cost.0,
        acceptance: signed.signature.bytes().to_vec().into(),
    }
}
