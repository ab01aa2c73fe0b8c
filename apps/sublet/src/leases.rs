//! A lease after it opened: hand the request over, wait until the machine is ready, pin its host key.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_base::LeaseId;
use sublet_chain::{Call, LeaseState, Ledger, TxKey, Wallet};
use sublet_client::peer::PeerError;
use sublet_wire::link::{Agreement, HostKey, MachineState, Status};
use tokio::time::sleep;

use crate::home::Home;
use crate::jobs::sentence;
use crate::output::{Advise, Progress};
use crate::records::{Opened, Record};
use crate::session::Session;

const HANDOVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(300);

/// Hands the machine request over and waits until the machine is ready and its rent runs.
pub(crate) async fn bring_up(
    session: &Session,
    wallet: &Wallet,
    record: &Record,
    opened: Opened,
    progress: &Progress,
) -> Result<HostKey> {
    let id = LeaseId(opened.id);
    let link = session.provider(opened.provider).await?;
    progress.step("handing the machine request to the provider");
    let outcome = match link.client.handover(Agreement::Lease(id), &record.document, HANDOVER).await {
        Ok(()) => wait_ready(session, wallet, &link.client, id, progress).await,
        Err(error) => {
            Err(anyhow::Error::new(error)).advise(|| format!("take the money back with `sublet leases close {id}`"))
        }
    };
    link.close().await;
    let key = outcome?;
    pin(&session.home, id, &key)?;
    Ok(key)
}

async fn wait_ready(
    session: &Session,
    wallet: &Wallet,
    client: &sublet_client::peer::PeerClient,
    id: LeaseId,
    progress: &Progress,
) -> Result<HostKey> {
    loop {
        match client.status(Agreement::Lease(id)).await {
            Ok(Status { state: MachineState::Ready { ssh_host_key }, .. }) => {
                let lease = session.ledger.lease(id).await?;
                if lease.is_some_and(|lease| lease.state == LeaseState::Active) {
                    return Ok(ssh_host_key);
                }
                progress.step("the machine is ready; its lease is being started on chain");
            }
            Ok(Status { state: MachineState::Failed { reason }, .. }) => {
                bail!("the provider could not make the machine: {reason}")
            }
            Ok(Status { state, .. }) => progress.step(sentence(&state)),
            Err(PeerError::Transport(_) | PeerError::Silent(_)) => {
                progress.step("the provider does not answer; waiting")
            }
            Err(error) => return Err(error.into()),
        }
        expire_if_late(session, wallet, id).await?;
        sleep(POLL).await;
    }
}

/// A lease that ended, or was not started in time, is not worth waiting for; the money comes back.
async fn expire_if_late(session: &Session, wallet: &Wallet, id: LeaseId) -> Result<()> {
    let lease = session.ledger.lease(id).await?.with_context(|| format!("the chain knows no {id}"))?;
    if lease.state == LeaseState::Ended {
        bail!("{id} ended before its machine was ready: {}; what was locked came back", lease.end);
    }
    if lease.state == LeaseState::Open && session.ledger.head().await?.time > lease.start_by {
        let sender = Session::sender(&session.home, session.output, wallet.clone()).await?;
        let landed = sender.ledger.submit(&TxKey::passing(format!("expire {id}")), &Call::ExpireLease(id)).await?;
        bail!(
            "the provider did not start {id} in time; everything came back, and a part of its pledge (transaction {})",
            landed.tx
        );
    }
    Ok(())
}

/// The key pair `sublet ssh` logs in with: made on first use, by OpenSSH's own tool. The public line.
pub(crate) fn login_key(home: &Home) -> Result<String> {
    let (secret, public) = login_key_files(home);
    if !public.exists() {
        sublet_daemon::create_private_dir(home.root())?;
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "sublet", "-f"])
            .arg(&secret)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .context("ssh-keygen cannot be run")
            .advise(|| "install the package openssh-client".to_owned())?;
        if !status.success() {
            bail!("ssh-keygen failed: {status}");
        }
    }
    Ok(std::fs::read_to_string(&public).with_context(|| format!("cannot read {}", public.display()))?.trim().to_owned())
}

/// Secret and public file of the login key.
pub(crate) fn login_key_files(home: &Home) -> (PathBuf, PathBuf) {
    (home.root().join("login_ed25519"), home.root().join("login_ed25519.pub"))
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
    match std::fs::read_to_string(&path) {
        Ok(pinned) if pinned == line => return Ok(()),
        Ok(_) => {
            let error = anyhow::anyhow!("the machine of {id} shows another host key than the one pinned before");
            return Err(error).advise(|| format!("if you trust the change, remove {}", path.display()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    sublet_daemon::create_private_dir(&home.known_hosts())?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(line.as_bytes())?;
    Ok(file.sync_all()?)
}
