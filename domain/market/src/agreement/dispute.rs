//! A dispute: mediators run a job again and vote on its result.
//!
//! ```text
//! Armed ──draw──▶ Voting ──resolve──▶ Resolved(verdict)
//! │  ▲ │            │ ▲
//! │  └─┘ too late:  └─┘ commit, then reveal
//! │      armed anew
//! └──draw, too few for a majority──▶ Resolved(Inconclusive)
//! ```
//! Who may be drawn is fixed when it is armed, at block B; who is drawn follows from the hash of block B + 2, which nobody
//! knows then. Each stage has its own clock. The court pays from the renter's fees `F` only: when the provider was wrong,
//! the renter has the whole pledge to make up for it.

use std::collections::BTreeMap;

use sublet_base::{Address, Amount, AmountOverflow, B256, JobId, Seconds, U256, UnixTime, keccak256};

use super::Denied;
use super::bench::Bench;
use crate::{MediatorSetId, Verdict, sums};

/// Blocks from arming to the one whose hash draws.
const SEED_AFTER: u64 = 2;
/// Blocks whose hash the chain remembers.
const SEED_LIFE: u64 = 256;

/// The court's constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CourtRules {
    /// Time to commit besides the job's duration: to notice, to fetch the archive, to start.
    pub commit_slack: Seconds,
    /// Time to reveal.
    pub reveal_window: Seconds,
    /// From a mediator's retirement until it may have its bond back.
    pub unbonding: Seconds,
}

impl Default for CourtRules {
    /// The values the contract is compiled with.
    fn default() -> Self {
        Self { commit_slack: Seconds(3600), reveal_window: Seconds(3600), unbonding: Seconds(7 * 24 * 3600) }
    }
}

/// What the court knows of a case from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// The job.
    pub job: JobId,
    /// Who disputes.
    pub renter: Address,
    /// Whose result it is.
    pub provider: Address,
    /// Whose members judge: those that serve it when the dispute is armed.
    pub set: MediatorSetId,
    /// Seats on a panel; odd.
    pub panel_size: u8,
    /// What a vote earns and silence costs.
    pub fee: Amount,
    /// What the provider submitted.
    pub result: B256,
    /// The job's longest run.
    pub duration: Seconds,
}

/// How far a member of a panel got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Drawn, nothing heard.
    Silent,
    /// Bound to a vote that nobody can read yet.
    Committed(B256),
    /// What it found; zero if the archive was withheld.
    Revealed(B256),
}

/// Where a dispute stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisputeState {
    /// Waits for the draw.
    Armed {
        /// Block B.
        at: u64,
        /// Who may be drawn, ascending like the set.
        electorate: Vec<Address>,
    },
    /// The panel commits and reveals.
    Voting {
        /// Who was drawn, in order.
        panel: Vec<(Address, Vote)>,
        /// Last second to commit.
        commit_by: UnixTime,
        /// Last second to reveal.
        reveal_by: UnixTime,
    },
    /// Over; nothing is held.
    Resolved(Verdict),
}

/// A call of the court.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisputeCall {
    /// `draw`, with what the chain says is the deciding block's hash.
    Draw {
        /// Hash of block B + 2; not looked at when that is too long ago.
        seed: B256,
    },
    /// `commitVote`
    Commit(B256),
    /// `revealVote`
    Reveal {
        /// What the mediator's run gave; zero if there was nothing to compare with.
        result: B256,
        /// What kept the vote secret.
        salt: B256,
    },
    /// `resolve`
    Resolve,
}

/// When a call happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CourtMoment {
    /// The block's timestamp.
    pub now: UnixTime,
    /// The block's number.
    pub block: u64,
}

/// Where money is, from the court's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purse {
    /// The renter's free balance.
    Renter,
    /// The provider's free balance.
    Provider,
    /// A mediator's free balance.
    Mediator(Address),
    /// The renter's fees that the court holds for this dispute.
    Fees,
    /// A mediator's bond.
    Bond(Address),
}

/// One consequence of a call, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CourtEffect {
    /// Money moves; never zero, never from a purse to itself.
    Move {
        /// From.
        from: Purse,
        /// To.
        to: Purse,
        /// How much.
        amount: Amount,
    },
    /// The job ends: [`super::JobCall::Rule`].
    Rule(Verdict),
}

/// What a mediator commits to: nobody can repeat somebody else's vote unseen.
#[must_use]
pub fn commitment(job: JobId, mediator: Address, result: B256, salt: B256) -> B256 {
    let mut words = [0; 128];
    words[24..32].copy_from_slice(&job.0.to_be_bytes());
    words[44..64].copy_from_slice(mediator.as_slice());
    words[64..96].copy_from_slice(result.as_slice());
    words[96..].copy_from_slice(salt.as_slice());
    keccak256(words)
}

/// A dispute and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    hearing: Hearing,
    rules: CourtRules,
    fees: Amount,
    state: DisputeState,
}

impl Dispute {
    /// Raises a dispute in block `block`: the electorate is fixed, the panel's fees are locked.
    ///
    /// # Errors
    /// [`AmountOverflow`] if a panel's fees leave the range of a balance; the contract takes no such set.
    pub fn raise(
        hearing: Hearing,
        rules: CourtRules,
        block: u64,
        bench: &Bench,
    ) -> Result<(Self, Vec<CourtEffect>), AmountOverflow> {
        let fees = sums::panel_fees(hearing.fee, hearing.panel_size)?;
        let state = DisputeState::Armed { at: block, electorate: electorate(&hearing, bench) };
        let effects = vec![CourtEffect::Move { from: Purse::Renter, to: Purse::Fees, amount: fees }];
        Ok((Self { hearing, rules, fees, state }, effects))
    }

    /// What it is about.
    #[must_use]
    pub fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// What it holds of the renter's.
    #[must_use]
    pub fn fees(&self) -> Amount {
        self.fees
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &DisputeState {
        &self.state
    }

    /// The block whose hash draws the panel, while that is awaited.
    #[must_use]
    pub fn seed_block(&self) -> Option<u64> {
        match &self.state {
            DisputeState::Armed { at, .. } => Some(at.saturating_add(SEED_AFTER)),
            DisputeState::Voting { .. } | DisputeState::Resolved(_) => None,
        }
    }

    /// Does what `call` does, or nothing.
    ///
    /// # Errors
    /// [`Denied`]; neither the dispute nor a bond has changed.
    pub fn apply(
        &mut self,
        call: DisputeCall,
        caller: Address,
        at: CourtMoment,
        bench: &mut Bench,
    ) -> Result<Vec<CourtEffect>, Denied> {
        match (&self.state, call) {
            (DisputeState::Armed { .. }, DisputeCall::Draw { seed }) => self.draw(seed, at, bench),
            (DisputeState::Armed { .. }, _) => Err(Denied::State("armed")),
            (DisputeState::Voting { .. }, DisputeCall::Draw { .. }) => Err(Denied::State("drawn")),
            (DisputeState::Voting { .. }, DisputeCall::Commit(commitment)) => {
                self.commit(caller, commitment, at.now).map(|()| Vec::new())
            }
            (DisputeState::Voting { .. }, DisputeCall::Reveal { result, salt }) => {
                self.reveal(caller, result, salt, at.now).map(|()| Vec::new())
            }
            (DisputeState::Voting { .. }, DisputeCall::Resolve) => self.resolve(at.now, bench),
            (DisputeState::Resolved(_), _) => Err(Denied::State("resolved")),
        }
    }
}

impl Dispute {
    fn draw(&mut self, seed: B256, at: CourtMoment, bench: &mut Bench) -> Result<Vec<CourtEffect>, Denied> {
        let DisputeState::Armed { at: armed, electorate: eligible } = &self.state else {
            return Err(Denied::State("drawn"));
        };
        let decides = armed.saturating_add(SEED_AFTER);
        if at.block <= decides {
            return Err(Denied::TooEarlyBlock(decides + 1));
        }
        if at.block > decides.saturating_add(SEED_LIFE) {
            self.state = DisputeState::Armed { at: at.block, electorate: electorate(&self.hearing, bench) };
            return Ok(Vec::new());
        }
        let drawn = pick(eligible, self.hearing.panel_size, seed_of(seed, self.hearing.job));
        if drawn.len() < sums::majority(self.hearing.panel_size) {
            return Ok(self.conclude(&[], bench));
        }
        for mediator in &drawn {
            bench.seat(*mediator, self.hearing.fee);
        }
        let commit_by = at.now.plus(self.hearing.duration).plus(self.rules.commit_slack);
        let panel = drawn.into_iter().map(|mediator| (mediator, Vote::Silent)).collect();
        self.state = DisputeState::Voting { panel, commit_by, reveal_by: commit_by.plus(self.rules.reveal_window) };
        Ok(Vec::new())
    }

    fn commit(&mut self, caller: Address, commitment: B256, now: UnixTime) -> Result<(), Denied> {
        let window = self.rules.reveal_window;
        let DisputeState::Voting { panel, commit_by, reveal_by } = &mut self.state else {
            return Err(Denied::State("not drawn"));
        };
        if stage(panel, *commit_by, *reveal_by, now) != Stage::Commit {
            return Err(Denied::State("past the commit window"));
        }
        match seat(panel, caller)? {
            vote @ Vote::Silent => *vote = Vote::Committed(commitment),
            Vote::Committed(_) | Vote::Revealed(_) => return Err(Denied::VoteStage),
        }
        if panel.iter().all(|(_, vote)| *vote != Vote::Silent) {
            *reveal_by = now.plus(window);
        }
        Ok(())
    }

    fn reveal(&mut self, caller: Address, result: B256, salt: B256, now: UnixTime) -> Result<(), Denied> {
        let job = self.hearing.job;
        let DisputeState::Voting { panel, commit_by, reveal_by } = &mut self.state else {
            return Err(Denied::State("not drawn"));
        };
        if stage(panel, *commit_by, *reveal_by, now) != Stage::Reveal {
            return Err(Denied::State("not in the reveal window"));
        }
        match seat(panel, caller)? {
            Vote::Committed(word) if *word != commitment(job, caller, result, salt) => Err(Denied::OtherVote),
            vote @ Vote::Committed(_) => {
                *vote = Vote::Revealed(result);
                Ok(())
            }
            Vote::Silent | Vote::Revealed(_) => Err(Denied::VoteStage),
        }
    }

    fn resolve(&mut self, now: UnixTime, bench: &mut Bench) -> Result<Vec<CourtEffect>, Denied> {
        let DisputeState::Voting { panel, commit_by, reveal_by } = &self.state else {
            return Err(Denied::State("not drawn"));
        };
        match stage(panel, *commit_by, *reveal_by, now) {
            Stage::Commit => Err(Denied::State("in the commit window")),
            Stage::Reveal => Err(Denied::State("in the reveal window")),
            Stage::Over => {
                let panel = panel.clone();
                Ok(self.conclude(&panel, bench))
            }
        }
    }

    /// Pays who earned it, slashes who kept silent, gives back the rest, and has the job ended.
    fn conclude(&mut self, panel: &[(Address, Vote)], bench: &mut Bench) -> Vec<CourtEffect> {
        let fee = self.hearing.fee;
        let winner = winner(panel, sums::majority(self.hearing.panel_size));
        let verdict = match winner {
            Some(hash) if hash == self.hearing.result => Verdict::Upheld,
            Some(_) => Verdict::Overturned,
            None => Verdict::Inconclusive,
        };
        let mut out = Vec::new();
        for (mediator, vote) in panel {
            match vote {
                Vote::Revealed(hash) => {
                    bench.release(*mediator, fee);
                    if winner.is_none_or(|winner| winner == *hash) {
                        self.fees.0 -= fee.0;
                        flow(Purse::Fees, Purse::Mediator(*mediator), fee, &mut out);
                    }
                }
                Vote::Silent | Vote::Committed(_) => {
                    bench.release(*mediator, fee);
                    let (renter, provider) = bench.forfeit(*mediator, fee);
                    flow(Purse::Bond(*mediator), Purse::Renter, renter, &mut out);
                    flow(Purse::Bond(*mediator), Purse::Provider, provider, &mut out);
                }
            }
        }
        flow(Purse::Fees, Purse::Renter, std::mem::take(&mut self.fees), &mut out);
        out.push(CourtEffect::Rule(verdict));
        self.state = DisputeState::Resolved(verdict);
        out
    }
}

/// What the clocks make of a panel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Commit,
    Reveal,
    Over,
}

fn stage(panel: &[(Address, Vote)], commit_by: UnixTime, reveal_by: UnixTime, now: UnixTime) -> Stage {
    let silent = panel.iter().any(|(_, vote)| *vote == Vote::Silent);
    let secret = panel.iter().any(|(_, vote)| matches!(vote, Vote::Committed(_)));
    if silent && now <= commit_by {
        Stage::Commit
    } else if secret && now <= reveal_by {
        Stage::Reveal
    } else {
        Stage::Over
    }
}

fn seat(panel: &mut [(Address, Vote)], caller: Address) -> Result<&mut Vote, Denied> {
    panel.iter_mut().find(|(mediator, _)| *mediator == caller).map(|(_, vote)| vote).ok_or(Denied::NotSeated)
}

fn flow(from: Purse, to: Purse, amount: Amount, out: &mut Vec<CourtEffect>) {
    if amount > Amount::ZERO {
        out.push(CourtEffect::Move { from, to, amount });
    }
}

/// The result that at least `majority` of the panel revealed.
fn winner(panel: &[(Address, Vote)], majority: usize) -> Option<B256> {
    let mut votes: BTreeMap<B256, usize> = BTreeMap::new();
    for (_, vote) in panel {
        if let Vote::Revealed(hash) = vote {
            *votes.entry(*hash).or_default() += 1;
        }
    }
    // More than half is one result's at most.
    votes.into_iter().find(|(_, count)| *count >= majority).map(|(hash, _)| hash)
}

/// Members that may be drawn now: they joined, are no party, are not retired, and have a fee of their bond not at stake.
fn electorate(hearing: &Hearing, bench: &Bench) -> Vec<Address> {
    let is_party = |member: &Address| *member == hearing.renter || *member == hearing.provider;
    let serves = |member: &Address| !is_party(member) && bench.bond(*member).can_serve(hearing.fee);
    bench.joined(hearing.set).filter(serves).collect()
}

/// Two disputes armed in one block draw differently.
fn seed_of(hash: B256, job: JobId) -> B256 {
    let mut words = [0; 64];
    words[..32].copy_from_slice(hash.as_slice());
    words[56..].copy_from_slice(&job.0.to_be_bytes());
    keccak256(words)
}

/// Up to `most` of the electorate, all equally likely: each pick takes one out of the pool, and the last fills its place.
fn pick(electorate: &[Address], most: u8, seed: B256) -> Vec<Address> {
    let mut pool = electorate.to_vec();
    let mut picked = Vec::new();
    for turn in 0..most {
        if pool.is_empty() {
            break;
        }
        let mut words = [0; 64];
        words[..32].copy_from_slice(seed.as_slice());
        words[63] = turn;
        let chance = U256::from_be_bytes(keccak256(words).0) % U256::from(pool.len());
        picked.push(pool.swap_remove(chance.saturating_to()));
    }
    picked
}
