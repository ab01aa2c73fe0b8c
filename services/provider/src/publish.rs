//! Keeps the provider's offers signed, stored, and on every solver's book.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sublet_base::B256;
use sublet_chain::{Call, SignError, SubmitError, TxKey, Wallet};
use sublet_client::HostError;
use sublet_daemon::{BoxError, CancellationToken};
use sublet_market::{Offer, TypedData};
use sublet_store::{Expect, StoreError};
use thiserror::Error;
use tokio::time::Instant;

use crate::config::{OfferConfig, ProviderConfig};
use crate::offers::{Signed, Signing, Step, capacity, step};
use crate::ports::OfferBoard;
use crate::state::{LEAVING, SIGNED, STANDING, State};

/// Looks whether something has to change this often.
const EVERY: Duration = Duration::from_secs(2);
/// Posts to every solver again this often, because a solver may have lost its book.
const AGAIN: Duration = Duration::from_secs(60);
/// Posts again to a solver that did not take it after this.
const SOON: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
enum PublishError {
    #[error("the host was not asked for its capacity")]
    Host(#[from] HostError),
    #[error("the old offer could not be cancelled")]
    Chain(#[from] SubmitError),
    #[error("the offer could not be signed")]
    Sign(#[from] SignError),
    #[error("the offer could not be stored")]
    Store(#[from] StoreError),
}

/// When each board is to get each offer next.
type Posted = BTreeMap<(usize, B256), Instant>;

/// Publishes until `stop`.
pub(crate) async fn publish(
    state: Arc<State>,
    config: Arc<ProviderConfig>,
    wallet: Wallet,
    boards: Vec<Arc<dyn OfferBoard>>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let mut posted = Posted::new();
    let mut complaint = String::new();
    loop {
        let round = round(&state, &config, &wallet, &boards, &mut posted);
        match stop.run_until_cancelled(round).await {
            None => return Ok(()),
            Some(errors) => {
                // Said once, not every round.
                let text = errors.iter().map(|error| sublet_daemon::report(error)).collect::<Vec<_>>().join("; ");
                if text != complaint && !text.is_empty() {
                    tracing::warn!(error = %text, "offers are not up to date");
                }
                complaint = text;
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return Ok(());
        }
    }
}

async fn round(
    state: &State,
    config: &ProviderConfig,
    wallet: &Wallet,
    boards: &[Arc<dyn OfferBoard>],
    posted: &mut Posted,
) -> Vec<PublishError> {
    // A solver refuses offers of a provider that is not registered and online.
    let (record, now) = {
        let heard = state.heard();
        (heard.account.clone(), heard.now)
    };
    let Some(record) = record.filter(|r| r.online) else { return vec![] };
    let mut errors: Vec<_> = take_back(state, config, record.epoch).await.err().into_iter().collect();
    if config.offers.is_empty() {
        return errors;
    }
    let host = match state.host.report().await {
        Ok(host) => host,
        Err(error) => {
            errors.push(error.into());
            return errors;
        }
    };
    let signing = Signing { provider: state.me, epoch: record.epoch, now, validity: config.offer_validity };
    for wanted in &config.offers {
        let room = capacity(&host, wanted, config.offers.len());
        match stand(state, wallet, wanted, room, signing).await {
            Ok(Some(signed)) => post(&signed, boards, posted).await,
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Cancels what stands but is not configured any more.
async fn take_back(state: &State, config: &ProviderConfig, epoch: u64) -> Result<(), PublishError> {
    let standing = state.store.documents(STANDING);
    for document in standing.list::<Signed>().await? {
        if config.offers.iter().any(|o| o.name == document.key) {
            continue;
        }
        if document.value.offer.offer.epoch == epoch {
            leave(state, &document.value).await?;
        } else {
            standing.delete(&document.key, Expect::Anything).await?;
        }
        tracing::info!(name = document.key, "took an offer back");
    }
    for document in state.store.documents(LEAVING).list::<Signed>().await? {
        if !config.offers.iter().any(|o| o.name == document.key) {
            cancel(state, &document.value).await?;
        }
    }
    Ok(())
}

/// An offer stands no longer, whatever becomes of its cancellation.
async fn leave(state: &State, signed: &Signed) -> Result<(), StoreError> {
    let mut tx = state.store.begin().await?;
    tx.delete_document(STANDING, &signed.name, Expect::Anything).await?;
    tx.put_document(LEAVING, &signed.name, signed, Expect::Anything).await?;
    tx.commit().await
}

/// Cancels an offer that is leaving; again is harmless.
async fn cancel(state: &State, signed: &Signed) -> Result<(), PublishError> {
    let (hash, key) = (signed.hash, TxKey::passing(format!("offer/cancel/{}", signed.hash)));
    state.ledger.submit(&key, &Call::CancelOffer(hash)).await?;
    Ok(state.store.documents(LEAVING).delete(&signed.name, Expect::Anything).await?)
}

/// The signed offer that stands for a configured one, after replacing it if it has to change.
async fn stand(
    state: &State,
    wallet: &Wallet,
    wanted: &OfferConfig,
    room: u32,
    signing: Signing,
) -> Result<Option<Signed>, PublishError> {
    // Both together would promise more than there is.
    if let Some(leaving) = state.store.documents(LEAVING).get::<Signed>(&wanted.name).await? {
        cancel(state, &leaving.value).await?;
    }
    let standing = state.store.documents(STANDING);
    let signed: Option<Signed> = standing.get(&wanted.name).await?.map(|d| d.value);
    match step(wanted, room, signing, signed.as_ref()) {
        Step::Keep => Ok(signed),
        Step::NoRoom => {
            tracing::debug!(offer = wanted.name, "the host has no room for even one");
            Ok(None)
        }
        Step::Replace { with, cancel: old } => {
            if let (Some(_), Some(signed)) = (old, &signed) {
                leave(state, signed).await?;
                cancel(state, signed).await?;
            }
            sign(state, wallet, wanted, *with).await.map(Some)
        }
    }
}

/// Signs and stores; only then may anybody see it.
async fn sign(state: &State, wallet: &Wallet, wanted: &OfferConfig, offer: Offer) -> Result<Signed, PublishError> {
    let domain = state.ledger.domain();
    let hash = offer.signing_hash(&domain);
    let signed = Signed { offer: wallet.sign_offer(offer, &domain)?, hash, name: wanted.name.clone() };
    let mut tx = state.store.begin().await?;
    tx.put_document(SIGNED, &hash.to_string(), &signed, Expect::Anything).await?;
    tx.put_document(STANDING, &wanted.name, &signed, Expect::Anything).await?;
    tx.commit().await?;
    let offer = &signed.offer.offer;
    tracing::info!(name = wanted.name, %hash, price = %offer.price, capacity = offer.capacity, "signed an offer");
    Ok(signed)
}

async fn post(signed: &Signed, boards: &[Arc<dyn OfferBoard>], posted: &mut Posted) {
    for (index, board) in boards.iter().enumerate() {
        let key = (index, signed.hash);
        if posted.get(&key).is_some_and(|next| Instant::now() < *next) {
            continue;
        }
        let wait = match board.post(&signed.offer).await {
            Ok(()) => AGAIN,
            Err(error) => {
                tracing::warn!(board = board.name(), error = %sublet_daemon::report(&*error), "not posted");
                SOON
            }
        };
        posted.insert(key, Instant::now() + wait);
    }
}
