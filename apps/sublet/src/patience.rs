//! Waiting for what is away. Before money is at stake a command says what does not answer and ends; afterwards it waits, because
//! ending would not bring the money back.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use sublet_base::UnixTime;
use sublet_chain::{Ledger, ReadError, SubmitError};
use sublet_client::peer::PeerError;
use sublet_daemon::Retryable;
use tokio::time::{Instant, sleep};

use crate::output::Progress;
use crate::session::Session;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(3);

/// Asks until the chain can be reached. Whatever else is wrong is an answer.
pub(crate) async fn patiently<T>(progress: &Progress, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut pause = FIRST;
    loop {
        match ask().await {
            Err(error) if chain_is_away(&error) => progress.step("the chain does not answer; waiting for it"),
            answer => return answer,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Does `work` until ctrl-c, and then says what is left behind.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T>>,
    left: impl FnOnce() -> String,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        Ok(()) = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; {}", left())),
    }
}

/// Whether the chain could not be reached, so that the same will work once it can.
pub(crate) fn chain_is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let reading = cause.downcast_ref::<ReadError>().is_some_and(|e| matches!(e, ReadError::Unreachable { .. }));
        let sending = cause.downcast_ref::<SubmitError>().is_some_and(|e| match e {
            SubmitError::Unknown { .. } => true,
            SubmitError::NotSent(read) => matches!(read, ReadError::Unreachable { .. }),
            _ => false,
        });
        reading || sending
    })
}

/// Whether the provider could not be reached, or is not itself for the moment.
pub(crate) fn provider_is_away(error: &PeerError) -> bool {
    // One that starts again may refuse a connection before it has read what it knows.
    matches!(error, PeerError::Transport(_)) || error.is_retryable()
}

/// What is said while a provider is away: that the money comes back, and when at the latest.
pub(crate) struct Absence<'a> {
    progress: &'a Progress,
    /// When anybody may end the agreement for the provider's silence.
    until: Instant,
    said: RefCell<Option<String>>,
}

impl<'a> Absence<'a> {
    /// Of a provider who has until `deadline`, by the chain's clock.
    pub(crate) async fn until(deadline: UnixTime, session: &Session, progress: &'a Progress) -> Result<Self> {
        let now = session.ledger.head().await?.time;
        let until = Instant::now() + Duration::from_secs(deadline.since(now));
        Ok(Self { progress, until, said: RefCell::new(None) })
    }

    /// It does not answer. Said in the same words for as long as that lasts.
    pub(crate) fn begins(&self) {
        let mut said = self.said.borrow_mut();
        let sentence = said.get_or_insert_with(|| {
            let left = self.until.saturating_duration_since(Instant::now()).as_secs();
            format!("the provider does not answer; waiting. If it stays away, the money comes back in about {left} s")
        });
        self.progress.step(sentence.as_str());
    }

    /// It answers.
    pub(crate) fn ends(&self) {
        self.said.borrow_mut().take();
    }

    /// Says what is being done, unless nobody is there to do it with.
    pub(crate) fn step(&self, what: &str) {
        if self.said.borrow().is_none() {
            self.progress.step(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use anyhow::Context;
    use sublet_base::Address;
    use sublet_chain::{Depth, EvmLedger, EvmOptions};

    use super::*;
    use crate::output::Advise;

    #[tokio::test]
    async fn only_a_chain_that_cannot_be_reached_is_waited_for() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options =
            EvmOptions { url: format!("http://127.0.0.1:{port}"), contract: Address::ZERO, depth: Depth::Newest };
        let wrapped = EvmLedger::connect(&options, None).await.context("it cannot be used").advise(|| "wait".into());
        assert!(chain_is_away(&wrapped.unwrap_err()));
        let unsent = EvmLedger::connect(&options, None).await.map_err(SubmitError::NotSent).unwrap_err();
        assert!(chain_is_away(&unsent.into()));
        let wrong = ReadError::NoContract { address: Address::ZERO, chain_id: 1 };
        assert!(!chain_is_away(&wrong.into()));
        assert!(!chain_is_away(&anyhow::anyhow!("something else")));
    }
}
