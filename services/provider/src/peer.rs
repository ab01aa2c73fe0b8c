//! Answers renters over the link, and the mediators of disputed jobs. Each is known by its peer key, and only asks about
//! the agreement that names it, or that it was drawn to judge.

use std::sync::Arc;

use async_trait::async_trait;
use sublet_base::{Amount, JobId, LeaseId, PeerKey};
use sublet_chain::{Call, LeaseState, ReadError};
use sublet_client::HostError;
use sublet_machine::{Guest, Phase};
use sublet_market::{Acceptance, BadWorkload, Domain, Signature, SignedAcceptance, Unproven, sums};
use sublet_store::StoreError;
use sublet_wire::host::{LogSource, MachineView};
use sublet_wire::link::{
    Agreement, ByteSource, ByteStream, MachineState, PeerHandler, Refusal, RefusalReason, ResultArchive, Sentence,
    Status,
};
use tokio::io::AsyncReadExt;

use crate::case::{Case, Finished, Note};
use crate::decide::{OnChain, OnHost};
use crate::handover::{Unfit, check};
use crate::state::State;
use crate::taken::Taken;

/// The handler.
pub(crate) struct Peers {
    state: Arc<State>,
}

fn refuse(reason: RefusalReason, message: impl AsRef<str>) -> Refusal {
    Refusal::new(reason, message.as_ref())
}

fn from_store(error: &StoreError) -> Refusal {
    tracing::error!(error = %error, "could not answer a peer");
    refuse(RefusalReason::Internal, "the provider could not store it; try again")
}

fn from_host(error: HostError) -> Refusal {
    match error {
        HostError::NotFound(_) | HostError::WrongPhase(_) => {
            refuse(RefusalReason::NotReady, "the machine does not run")
        }
        HostError::Unavailable(_) => refuse(RefusalReason::NoAnswer, "the machine does not answer there"),
        HostError::Invalid(why) => refuse(RefusalReason::Invalid, why),
        HostError::NoRoom(_) | HostError::Taken(_) => refuse(RefusalReason::Busy, "the host is busy; try again"),
        error @ (HostError::BadSocket(_) | HostError::Failed(_) | HostError::Malformed(_) | HostError::Write(_)) => {
            tracing::error!(error = %error, "could not answer a peer");
            refuse(RefusalReason::Internal, "the host failed")
        }
    }
}

fn from_check(error: Unfit) -> Refusal {
    match error {
        Unfit::Store(error) => from_store(&error),
        Unfit::Foreign => refuse(RefusalReason::Unsupported, Unfit::Foreign.to_string()),
        Unfit::Workload(error) => from_workload(&error),
    }
}

fn from_workload(error: &BadWorkload) -> Refusal {
    let reason = match error {
        BadWorkload::OtherHash { .. } => RefusalReason::HashDiffers,
        BadWorkload::Canonical(_)
        | BadWorkload::Text { .. }
        | BadWorkload::Count { .. }
        | BadWorkload::TooBig { .. }
        | BadWorkload::TooLong { .. }
        | BadWorkload::Zero(_) => RefusalReason::Invalid,
    };
    refuse(reason, error.to_string())
}

fn unreachable(error: &ReadError) -> Refusal {
    tracing::warn!(error = %error, "could not ask the chain for a peer");
    refuse(RefusalReason::Busy, "the provider cannot reach the chain; try again")
}

impl Peers {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// The case, if this peer may ask about it. A stranger learns nothing about it.
    fn case(&self, peer: PeerKey, id: Agreement) -> Result<Case, Refusal> {
        match self.state.case(id) {
            None => Err(refuse(RefusalReason::NotSeen, "this provider knows of no such agreement, or not yet")),
            Some(case) if case.opened.peer_key != peer => {
                Err(refuse(RefusalReason::Stranger, "the agreement names another peer"))
            }
            Some(case) => Ok(case),
        }
    }

    /// The job's case, for its renter or, while it is disputed, a mediator drawn for it.
    fn judged(&self, peer: PeerKey, job: JobId) -> Result<Case, Refusal> {
        match self.state.case(Agreement::Job(job)) {
            Some(case) if self.state.panels.sits(peer, job) => Ok(case),
            Some(_) | None => self.case(peer, Agreement::Job(job)),
        }
    }

    /// The lease's machine, while the rent accrues.
    async fn active(&self, peer: PeerKey, lease: LeaseId) -> Result<Case, Refusal> {
        let case = self.case(peer, Agreement::Lease(lease))?;
        if case.ran_out_at.is_some() {
            return Err(refuse(RefusalReason::NotReady, "the rent is used up: top the lease up to go on"));
        }
        match self.lease_state(lease).await? {
            LeaseState::Active => Ok(case),
            LeaseState::Ended => Err(refuse(RefusalReason::Ended, "the lease is over")),
            LeaseState::Open | LeaseState::None => Err(refuse(RefusalReason::NotReady, "the lease has not started")),
        }
    }

    /// Whether the contract pays for this acceptance now: it asks a contract account for its signature, and knows the
    /// escrow.
    async fn payable(&self, signed: &SignedAcceptance) -> Result<(), Refusal> {
        match self.state.ledger.check(&Call::SettleJob(signed.clone())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(refuse(RefusalReason::Invalid, format!("the contract does not take it: {why}"))),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// What was heard last if it says the lease runs, else the chain's own word: the renter may have read it first.
    async fn lease_state(&self, lease: LeaseId) -> Result<LeaseState, Refusal> {
        if let Some(OnChain::Lease(record)) = self.state.heard().chain.get(&Agreement::Lease(lease))
            && record.state == LeaseState::Active
        {
            return Ok(LeaseState::Active);
        }
        match self.state.ledger.lease(lease).await {
            Ok(record) => Ok(record.map_or(LeaseState::None, |record| record.state)),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

fn finished(case: Case) -> Result<(Case, Finished), Refusal> {
    match case.finished {
        Some(finished) => Ok((case, finished)),
        None => Err(refuse(RefusalReason::NotReady, "the job has not finished")),
    }
}

/// Whether the contract is to be asked about an acceptance. A signature that is no key's may be a contract account's, which
/// may answer otherwise once it costs gas: it may do so once.
fn worth_asking(case: &Case, signed: &SignedAcceptance, domain: &Domain) -> Result<(), Refusal> {
    match signed.verify(domain, case.opened.renter) {
        Err(error @ Unproven::OtherSigner { .. }) => Err(refuse(RefusalReason::Invalid, error.to_string())),
        Err(Unproven::NotAKey) if case.in_vain => Err(refuse(RefusalReason::Invalid, IN_VAIN)),
        Ok(()) | Err(Unproven::NotAKey) => Ok(()),
    }
}

const IN_VAIN: &str = "an acceptance of this job failed on chain: only one that a key signed is taken now; without one the \
                       result is submitted, and paid after the challenge window";

/// What a finished job costs.
fn asked(case: &Case, finished: &Finished) -> Amount {
    sums::job_cost(case.opened.price, finished.result.seconds, case.opened.duration, Amount(u128::MAX))
}

#[async_trait]
impl PeerHandler for Peers {
    async fn admit(&self, peer: PeerKey) -> Result<(), Refusal> {
        let renter = self.state.cases().values().any(|case| case.opened.peer_key == peer);
        let known = renter || self.state.panels.knows(peer);
        // Not "stranger": the agreement may be in a block this provider has not read yet.
        if known {
            Ok(())
        } else {
            Err(refuse(RefusalReason::NotSeen, "no agreement here names this peer, or not yet"))
        }
    }

    async fn handover(&self, peer: PeerKey, agreement: Agreement, document: String) -> Result<(), Refusal> {
        let case = self.case(peer, agreement)?;
        if case.document.as_deref() == Some(&*document) {
            return Ok(());
        }
        if case.ended_at.is_some() {
            return Err(refuse(RefusalReason::Ended, "the agreement is over"));
        }
        check(&self.state, &case, &document).await.map_err(from_check)?;
        self.state.note(agreement, Note::Handed(document)).await.map_err(|e| from_store(&e))?;
        tracing::info!(%agreement, "the renter handed over the workload");
        self.state.wake.notify_one();
        Ok(())
    }

    async fn status(&self, peer: PeerKey, agreement: Agreement) -> Result<Status, Refusal> {
        let case = self.case(peer, agreement)?;
        let heard = self.state.heard();
        Ok(status(&case, heard.chain.get(&agreement), heard.on_host(&self.state.machine(agreement))))
    }

    async fn connect(&self, peer: PeerKey, lease: LeaseId, port: u16) -> Result<ByteStream, Refusal> {
        let case = self.active(peer, lease).await?;
        self.state.host.connect(&self.state.machine(case.id()), port).await.map_err(from_host)
    }

    async fn result(&self, peer: PeerKey, job: JobId) -> Result<ResultArchive, Refusal> {
        let (case, finished) = finished(self.judged(peer, job)?)?;
        let first_for_renter = case.opened.peer_key == peer && !case.fetched;
        let (length, hash) = (finished.result.bytes, finished.result.hash);
        let source: ByteSource = match &case.verdict {
            Some(verdict) => Box::new(std::io::Cursor::new(verdict.archive())),
            None => self.state.host.result(&self.state.machine(case.id())).await.map_err(from_host)?,
        };
        let (content, taken) = Taken::new(source.take(length), length);
        let state = self.state.clone();
        tokio::spawn(async move {
            // The renter may leave at any time; then it has not got the result.
            if taken.await.is_ok()
                && first_for_renter
                && let Err(error) = state.note(case.id(), Note::Fetched).await
            {
                tracing::warn!(agreement = %case.id(), error = %error, "could not note that the result was fetched");
            }
        });
        Ok(ResultArchive { length, hash, content: Box::new(content) })
    }

    async fn document(&self, peer: PeerKey, job: JobId) -> Result<String, Refusal> {
        let case = self.judged(peer, job)?;
        case.document
            .map(|document| document.as_ref().to_owned())
            .ok_or_else(|| refuse(RefusalReason::NotReady, "the job was never handed over"))
    }

    async fn accept(&self, peer: PeerKey, acceptance: Acceptance, signature: Signature) -> Result<(), Refusal> {
        let (case, finished) = finished(self.case(peer, Agreement::Job(acceptance.job))?)?;
        if acceptance.result_hash != finished.result.hash {
            return Err(refuse(RefusalReason::HashDiffers, "that is not this job's result"));
        }
        // The first that holds is enough; one that turns out not to is forgotten.
        if case.acceptance.is_some() {
            return Ok(());
        }
        let least = asked(&case, &finished);
        if acceptance.cost < least {
            return Err(refuse(RefusalReason::Invalid, format!("the job costs {least}")));
        }
        let signed = SignedAcceptance { acceptance, signature };
        let domain = self.state.ledger.domain();
        worth_asking(&case, &signed, &domain)?;
        self.payable(&signed).await?;
        // Another one may have failed while the chain was asked.
        worth_asking(&self.case(peer, case.id())?, &signed, &domain)?;
        let note = Note::Accepted(Some(Box::new(signed)));
        self.state.note(case.id(), note).await.map_err(|e| from_store(&e))?;
        tracing::info!(agreement = %case.id(), "the renter accepted the result");
        self.state.wake.notify_one();
        Ok(())
    }

    async fn logs(&self, peer: PeerKey, agreement: Agreement, follow: bool) -> Result<ByteSource, Refusal> {
        let case = self.case(peer, agreement)?;
        let source = match agreement {
            Agreement::Lease(_) => LogSource::Console,
            Agreement::Job(_) => LogSource::Stdout,
        };
        self.state.host.logs(&self.state.machine(case.id()), source, follow).await.map_err(from_host)
    }

    async fn set_keys(&self, peer: PeerKey, lease: LeaseId, authorized_keys: Vec<String>) -> Result<(), Refusal> {
        let case = self.active(peer, lease).await?;
        self.state.host.set_keys(&self.state.machine(case.id()), authorized_keys).await.map_err(from_host)?;
        Ok(())
    }
}

/// How far a case is, for its renter.
fn status(case: &Case, chain: Option<&OnChain>, host: OnHost<'_>) -> Status {
    let cost = match chain {
        Some(OnChain::Lease(l)) => {
            l.price.over(sublet_base::Seconds(l.paid_seconds.0.saturating_add(l.owed_seconds.0))).ok()
        }
        Some(OnChain::Job(_) | OnChain::Disputed { .. }) => case.finished.as_ref().map(|f| asked(case, f)),
        Some(OnChain::Nothing(_)) | None => None,
    };
    Status { state: machine_state(case, host), cost }
}

fn machine_state(case: &Case, host: OnHost<'_>) -> MachineState {
    if let Some(finished) = &case.finished {
        let (exit_code, result_hash) = (finished.result.exit_code, finished.result.hash);
        return MachineState::Finished { exit_code, result_hash, cost: asked(case, finished) };
    }
    if let Some(reason) = &case.failed {
        return MachineState::Failed { reason: Sentence::new(reason) };
    }
    if case.ended_at.is_some() {
        return MachineState::Ended;
    }
    if case.ran_out_at.is_some() {
        return MachineState::Failed { reason: "the rent is used up; top up to go on".into() };
    }
    match host {
        _ if case.document.is_none() => MachineState::Waiting,
        OnHost::Here(machine) => on_host(machine),
        OnHost::Silent => MachineState::Preparing { progress: "the host does not answer; waiting".into() },
        OnHost::Absent => {
            let waits = |why: &String| Sentence::new(&format!("waiting for the host: {why}"));
            let progress = case.hindered.as_ref().map_or("the host is asked for a machine".into(), waits);
            MachineState::Preparing { progress }
        }
    }
}

fn on_host(machine: &MachineView) -> MachineState {
    let preparing = |text: &str| MachineState::Preparing { progress: text.into() };
    match (&machine.phase, &machine.guest) {
        (Phase::Failed(reason), _) | (_, Guest::GaveUp { reason }) => {
            MachineState::Failed { reason: Sentence::new(reason) }
        }
        (Phase::Running, Guest::Ready { ssh_host_key }) => match ssh_host_key.parse() {
            Ok(ssh_host_key) => MachineState::Ready { ssh_host_key },
            Err(_) => MachineState::Failed { reason: "the machine reported no usable ssh host key".into() },
        },
        (Phase::Running, Guest::Silent | Guest::Exited { .. }) => match machine.kernel {
            Some(_) => MachineState::Running,
            None => MachineState::Booting { progress: "the machine boots".into() },
        },
        (Phase::Creating, _) => preparing("the image is fetched and the disk is made"),
        (Phase::Starting | Phase::Stopped, _) => MachineState::Booting { progress: "the machine starts".into() },
        (Phase::Pausing | Phase::Paused | Phase::Resuming | Phase::Stopping | Phase::Deleting | Phase::Deleted, _) => {
            preparing("the machine stands still")
        }
    }
}

#[cfg(test)]
mod tests {
    use sublet_base::{Address, B256};
    use sublet_chain::Wallet;

    use super::*;
    use crate::case::Opened;

    #[test]
    fn once_one_cost_gas_in_vain_only_a_keys_acceptance_is_taken() {
        let (wallet, domain) = (Wallet::random(), Domain { chain_id: 31_337, contract: Address::repeat_byte(4) });
        let acceptance = Acceptance { job: JobId(7), result_hash: B256::repeat_byte(7), cost: Amount(10) };
        let by_key = wallet.sign_acceptance(acceptance.clone(), &domain).expect("signs");
        let with = |bytes| SignedAcceptance {
            acceptance: acceptance.clone(),
            signature: Signature::new(bytes).expect("short"),
        };
        let code = with(vec![0]);
        // Its parity in another way, and with something after it.
        let mut bytes = by_key.signature.bytes().to_vec();
        bytes[64] -= 27;
        let nearly = with(bytes.clone());
        bytes[64] += 27;
        bytes.push(27);
        let longer = with(bytes);

        let opened = crate::decide::tests::opened(Agreement::Job(JobId(7)), 120);
        let mut case = Case::new(Opened { renter: wallet.address(), ..opened });
        let taken = |case: &Case| [&by_key, &code, &nearly, &longer].map(|s| worth_asking(case, s, &domain).is_ok());
        assert_eq!(taken(&case), [true; 4]);
        case.learn(&Note::Accepted(Some(Box::new(code.clone()))));
        case.learn(&Note::Accepted(None));
        assert_eq!(taken(&case), [true; 4], "that it was refused cost nothing");
        case.learn(&Note::Accepted(Some(Box::new(code.clone()))));
        case.learn(&Note::InVain);
        assert_eq!(case.acceptance, None);
        assert_eq!(taken(&case), [true, false, false, false]);
        case.learn(&Note::Accepted(Some(Box::new(by_key.clone()))));
        assert_eq!(taken(&case), [true, false, false, false], "for good");
        let why = worth_asking(&case, &code, &domain).expect_err("as above");
        assert_eq!(why, refuse(RefusalReason::Invalid, IN_VAIN));
    }
}
