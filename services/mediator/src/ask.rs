//! Asks a provider for what it must hand over: the document, and the archive it submitted. What it answers is noted; that
//! it does not, only while our own end of the link is up.

use std::time::Duration;

use sublet_base::{JobId, Seconds, UnixTime};
use sublet_chain::ReadError;
use sublet_client::peer::PeerError;
use sublet_store::StoreError;
use sublet_wire::provider::ProviderInfo;
use thiserror::Error;
use tokio::time::timeout;

use crate::case::{Case, Note};
use crate::decide::lapsed;
use crate::ports::Whereabouts;
use crate::state::State;

/// A question that could not be asked: nobody's fault but ours.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("the chain did not say where the provider is")]
    Chain(#[from] ReadError),
    #[error("the journal failed")]
    Store(#[from] StoreError),
    #[error("our own end of the link is down")]
    Offline,
    #[error("the question was not asked")]
    Ours(#[source] PeerError),
}

/// Why the provider handed nothing over.
#[derive(Debug, Error)]
enum Withheld {
    #[error("it is not registered, or does not say where it is")]
    Nowhere,
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error(transparent)]
    Answer(PeerError),
}

/// How much a question may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For a document, and to be heard at all.
    pub(crate) answer: Duration,
    /// For a whole archive.
    pub(crate) archive: Duration,
    /// Bytes of an archive.
    pub(crate) most: u64,
    /// A silence is broken when nobody asked for longer than this.
    pub(crate) gap: Seconds,
}

/// Asks once, from `now` on, for everything that is missing.
pub(crate) async fn ask(state: &State, case: &Case, bounds: Bounds, now: UnixTime) -> Result<(), AskError> {
    let id = case.id();
    if lapsed(case, now, bounds.gap) {
        state.note(id, Note::Unasked).await?;
    }
    match hand_over(state, case, bounds).await? {
        Ok(()) => Ok(()),
        Err(why) if state.providers.online() => {
            let times = state.case(id).and_then(|case| case.silence).map_or(0, |s| s.times) + 1;
            tracing::info!(job = %id, times, error = %sublet_daemon::report(&why), "the provider hands nothing over");
            let until = state.heard().now;
            Ok(state.note(id, Note::Unanswered(until)).await?)
        }
        Err(_) => Err(AskError::Offline),
    }
}

async fn hand_over(state: &State, case: &Case, bounds: Bounds) -> Result<Result<(), Withheld>, AskError> {
    if !state.providers.online() {
        return Err(AskError::Offline);
    }
    let (id, raised) = (case.id(), &case.raised);
    let Some(provider) = whereabouts(state, case).await? else { return Ok(Err(Withheld::Nowhere)) };
    if case.document.is_none() {
        let answer = timeout(bounds.answer, state.providers.document(&provider, id, raised.workload)).await;
        match theirs(answer.map_err(|_| bounds.answer))? {
            Ok(document) => noted(state, id, Note::Document(document)).await?,
            Err(why) => return Ok(Err(why)),
        }
    }
    if !case.archive_seen {
        let archive = state.providers.archive(&provider, id, raised.submitted, bounds.most, bounds.archive);
        match theirs(Ok(archive.await))? {
            Ok(()) => noted(state, id, Note::Archive).await?,
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(()))
}

/// Tells their failures from ours.
fn theirs<T>(answer: Result<Result<T, PeerError>, Duration>) -> Result<Result<T, Withheld>, AskError> {
    match answer {
        Ok(Ok(given)) => Ok(Ok(given)),
        Ok(Err(error @ (PeerError::Stopped | PeerError::Store(_) | PeerError::Unasked(_)))) => {
            Err(AskError::Ours(error))
        }
        Ok(Err(
            error @ (PeerError::Transport(_)
            | PeerError::Refused(_)
            | PeerError::Silent(_)
            | PeerError::Broken { .. }
            | PeerError::Unexpected(_)
            | PeerError::WrongResult { .. }
            | PeerError::WrongDocument { .. }
            | PeerError::TooLarge { .. }),
        )) => Ok(Err(Withheld::Answer(error))),
        Err(waited) => Ok(Err(Withheld::Late(waited))),
    }
}

async fn noted(state: &State, id: JobId, note: Note) -> Result<(), StoreError> {
    tracing::info!(job = %id, what = note.step().0, "handed over by the provider");
    state.note(id, note).await?;
    state.wake.notify_one();
    Ok(())
}

async fn whereabouts(state: &State, case: &Case) -> Result<Option<Whereabouts>, ReadError> {
    let provider = case.raised.provider;
    let Some(record) = state.ledger.provider(provider).await? else { return Ok(None) };
    let info = state.ledger.provider_info(provider).await?.unwrap_or_default();
    Ok(ProviderInfo::parse(&info).ok().map(|info| Whereabouts { key: record.peer_key, relay: info.relay }))
}
