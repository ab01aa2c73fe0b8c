//! A lease after it opened: hand the request over, wait until the machine is ready, pin its host key.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_base::LeaseId;
use sublet_chain::{Call, Event, LeaseRecord, LeaseState, Ledger, SubmitError, TxKey, Wallet};
use sublet_client::peer::PeerClient;
use sublet_daemon::{Backoff, create_private, create_private_dir, read_secret};
use sublet_wire::link::{Agreement, HostKey, MachineState, Status};
use tokio::time::{sleep, timeout};

use crate::home::Home;
use crate::jobs::sentence;
use crate::money::Money;
use crate::output::{Advise, Progress, refuse};
use crate::patience::{Absence, patiently, provider_is_away};
use crate::records::{Opened, Record};
use crate::session::Session;

const HANDOVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(300);
/// How long the refund of a lease that the provider gave up is waited for, so that it can be said.
const REJECTION: Duration = Duration::from_secs(20);

/// Hands the machine request over and waits until the machine is ready and its rent runs.
pub(crate) async fn bring_up(
    session: &Session,
    wallet: &Wallet,
    record: &Record,
    opened: Opened,
    progress: &Progress,
) -> Result<HostKey> {
    let id = LeaseId(opened.id);
    let link = patiently(progress, async || session.provider(opened.provider).await).await?;
    let lease = patiently(progress, async || Ok(session.ledger.lease(id).await?)).await?;
    let deadline = lease.with_context(|| format!("the chain knows no {id}"))?.start_by;
    let absence = patiently(progress, async || Absence::until(deadline, session, progress).await).await?;
    let waiting = Waiting { session, wallet, record, id, progress, absence, client: &link.client };
    let outcome = waiting.to_its_start().await;
    link.close().await;
    let key = outcome?;
    pin(&session.home, id, &key).advise(|| format!("the machine is up; once that is mended, `sublet ssh {id}`"))?;
    Ok(key)
}

/// A lease that was opened, its provider within reach.
struct Waiting<'a> {
    session: &'a Session,
    wallet: &'a Wallet,
    record: &'a Record,
    id: LeaseId,
    progress: &'a Progress,
    absence: Absence<'a>,
    client: &'a PeerClient,
}

impl Waiting<'_> {
    async fn to_its_start(&self) -> Result<HostKey> {
        let agreement = Agreement::Lease(self.id);
        self.progress.step("handing the machine request to the provider");
        let mut handed = false;
        // We ask again ourselves, and look at the chain in between.
        let client = self.client.clone().with_backoff(Backoff::default().attempts(1));
        loop {
            if !handed {
                // A provider whose chain is away too does not know the lease yet: meanwhile we say how the chain is.
                let handover = tokio::select! {
                    handover = self.client.handover(agreement, &self.record.document, HANDOVER) => handover,
                    error = self.watch() => return Err(error),
                };
                match handover {
                    Ok(()) => handed = true,
                    Err(error) if provider_is_away(&error) => self.absence.begins(),
                    Err(error) => {
                        self.refuse_ended().await?;
                        return Err(anyhow::Error::new(error))
                            .advise(|| format!("take the money back with `sublet leases close {}`", self.id));
                    }
                }
            }
            match client.status(agreement).await {
                Ok(Status { state: MachineState::Ready { ssh_host_key }, .. }) => {
                    if self.record_on_chain().await?.state == LeaseState::Active {
                        return Ok(ssh_host_key);
                    }
                    self.progress.step("the machine is ready; its lease is being started on chain");
                }
                Ok(Status { state: MachineState::Failed { reason }, .. }) => {
                    return self.given_up(reason.as_str()).await;
                }
                Ok(Status { state, .. }) => {
                    self.absence.ends();
                    self.progress.step(sentence(&state));
                }
                Err(error) if provider_is_away(&error) => self.absence.begins(),
                Err(error) => {
                    self.refuse_ended().await?;
                    return Err(error.into());
                }
            }
            self.refuse_ended().await?;
            sleep(POLL).await;
        }
    }

    async fn record_on_chain(&self) -> Result<LeaseRecord> {
        let lease = patiently(self.progress, async || Ok(self.session.ledger.lease(self.id).await?)).await?;
        lease.with_context(|| format!("the chain knows no {}", self.id))
    }

    /// The provider rejects the lease now, unless it is too late for that.
    async fn given_up(&self, reason: &str) -> Result<HostKey> {
        let why = format!("the provider could not make the machine: {reason}");
        let ended = async {
            while self.record_on_chain().await?.state != LeaseState::Ended {
                self.expire_if_late().await?;
                sleep(POLL).await;
            }
            self.how_it_ended().await
        };
        match timeout(REJECTION, ended).await {
            Ok(end) => bail!("{why}; {}", end?),
            Err(_) => refuse(why, format!("take the money back with `sublet leases close {}`", self.id)),
        }
    }

    /// Looks at the chain until there is nothing more to wait for.
    async fn watch(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.refuse_ended().await {
                return error;
            }
            sleep(POLL).await;
        }
    }

    /// A lease that ended, or was not started in time, is not worth waiting for; the money comes back.
    async fn refuse_ended(&self) -> Result<()> {
        self.expire_if_late().await?;
        if self.record_on_chain().await?.state != LeaseState::Ended {
            return Ok(());
        }
        bail!("{}", patiently(self.progress, async || self.how_it_ended().await).await?)
    }

    async fn expire_if_late(&self) -> Result<()> {
        let (lease, now) = patiently(self.progress, async || {
            Ok((self.session.ledger.lease(self.id).await?, self.session.ledger.head().await?.time))
        })
        .await?;
        if !lease.is_some_and(|lease| lease.state == LeaseState::Open && now > lease.start_by) {
            return Ok(());
        }
        let key = TxKey::passing(format!("expire {}", self.id));
        patiently(self.progress, async || {
            let sender = Session::sender(&self.session.home, self.session.output, self.wallet.clone()).await?;
            match sender.ledger.submit(&key, &Call::ExpireLease(self.id)).await {
                // Somebody else may have been quicker; the next look tells.
                Ok(_) | Err(SubmitError::Refused(_) | SubmitError::Reverted { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Before its machine was ready, and where the money went.
    async fn how_it_ended(&self) -> Result<String> {
        let ledger = &self.session.ledger;
        let head = ledger.head().await?.block.number;
        let id = self.id;
        for located in ledger.events(self.record.since, head).await?.into_iter().rev() {
            if let Event::LeaseEnded { id: which, end, split } = located.event
                && which == id
            {
                return Ok(format!("{id} is over ({end}): {} (transaction {})", Money::from(&split), located.tx));
            }
        }
        bail!("{id} has ended, but the node has no record of how")
    }
}

/// A machine whose lease is over is gone; its provider knows nothing of it any more.
pub(crate) async fn refuse_ended(session: &Session, id: LeaseId) -> Result<()> {
    let lease = session.ledger.lease(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    if lease.state != LeaseState::Ended {
        return Ok(());
    }
    refuse(format!("{id} has ended; its machine is gone"), "rent another with `sublet rent`")
}

/// The key `sublet ssh` logs in with: made on first use, by OpenSSH's own tool. Its public line.
pub(crate) fn login_key(home: &Home) -> Result<String> {
    let secret = login_key_file(home);
    if !secret.exists() {
        make_login_key(home, &secret)?;
    }
    Ok(ssh_keygen(&["-y", "-P", "", "-f"], &secret)?.trim().to_owned())
}

/// In a folder aside, so that one that was cut short is not taken for a key.
fn make_login_key(home: &Home, secret: &Path) -> Result<()> {
    create_private_dir(home.root())?;
    let aside = tempfile::Builder::new()
        .prefix("login-")
        .tempdir_in(home.root())
        .with_context(|| format!("cannot write to {}", home.root().display()))?;
    let fresh = aside.path().join("key");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "sublet", "-f"], &fresh)?;
    match create_private(secret, &read_secret(&fresh)?) {
        // Another command was faster: both are to have the same.
        Err(error) if error.is_taken() => Ok(()),
        made => Ok(made?),
    }
}

/// What `ssh-keygen` says of, or does to, the key in a file.
fn ssh_keygen(arguments: &[&str], key: &Path) -> Result<String> {
    let output = Command::new("ssh-keygen")
        .args(arguments)
        .arg(key)
        .stdin(std::process::Stdio::null())
        .output()
        .context("ssh-keygen cannot be run")
        .advise(|| "install the package openssh-client".to_owned())?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("ssh-keygen gave no login key at {}: {}", key.display(), words.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The login key's file.
pub(crate) fn login_key_file(home: &Home) -> PathBuf {
    home.root().join("login_ed25519")
}

/// The file `ssh` checks the machine's host key against.
pub(crate) fn known_hosts(home: &Home, id: LeaseId) -> PathBuf {
    home.known_hosts().join(id.to_string())
}

/// The name the host key is pinned under.
pub(crate) fn host_alias(id: LeaseId) -> String {
    format!("sublet-{id}")
}

/// Pins the machine's host key. A key that changes is refused, not replaced: somebody would be in the middle.
pub(crate) fn pin(home: &Home, id: LeaseId, key: &HostKey) -> Result<()> {
    let path = known_hosts(home, id);
    let line = format!("{} {key}\n", host_alias(id));
    if !path.exists() {
        match create_private(&path, line.as_bytes()) {
            // Another command was faster.
            Err(error) if error.is_taken() => {}
            pinned => return Ok(pinned?),
        }
    }
    let pinned = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if pinned == line {
        return Ok(());
    }
    refuse(
        format!("the machine of {id} shows another host key than the one pinned before"),
        format!("if you trust the change, remove {}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_make_a_login_key_at_once_have_the_same() -> Result<()> {
        for _ in 0..10 {
            let folder = tempfile::tempdir()?;
            let home = Home::locate(Some(folder.path().join("home")))?;
            let keys = std::thread::scope(|threads| {
                let makers: Vec<_> = (0..8).map(|_| threads.spawn(|| login_key(&home))).collect();
                makers.into_iter().map(|maker| maker.join().expect("no panic")).collect::<Result<Vec<_>>>()
            })?;
            assert!(keys[0].starts_with("ssh-ed25519 ") && keys[0].ends_with(" sublet"), "{keys:?}");
            assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        }
        Ok(())
    }

    #[test]
    fn the_first_host_key_is_the_one() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let home = Home::locate(Some(folder.path().join("home")))?;
        let key = |letter: &str| -> Result<HostKey> {
            Ok(format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", letter.repeat(43)).parse()?)
        };
        let pinned = std::thread::scope(|threads| {
            let pins: Vec<_> = ["A", "B", "C", "D"]
                .map(|letter| (letter, threads.spawn(|| pin(&home, LeaseId(1), &key(letter)?))))
                .into_iter()
                .filter_map(|(letter, pin)| pin.join().expect("no panic").is_ok().then_some(letter))
                .collect();
            pins
        });
        assert_eq!(pinned.len(), 1, "{pinned:?}");
        pin(&home, LeaseId(1), &key(pinned[0])?)
    }
}
