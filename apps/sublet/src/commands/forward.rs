//! `sublet forward LEASE 8080:80`: a port of this computer leads to a port of the machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::Serialize;
use sublet_base::LeaseId;
use sublet_daemon::shutdown_on_signals;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::home::Home;
use crate::leases::refuse_ended;
use crate::output::{Advise, Output};
use crate::records::Records;
use crate::session::Session;

/// Connections at once over one forwarding.
const MAX_CONNECTIONS: usize = 100;

/// Flags of `sublet forward`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet forward web 8080:80\n  sublet forward web 5432       the same port on both sides"
)]
pub(crate) struct Args {
    /// Name, or number like lease-3
    lease: String,
    /// LOCAL:REMOTE, or one port for both
    ports: Ports,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    local: u16,
    remote: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is no port"));
        match (port(local)?, port(remote)?) {
            (_, 0) => Err("the machine has no port 0".to_owned()),
            (local, remote) => Ok(Self { local, remote }),
        }
    }
}

impl Args {
    /// Listens on loopback until ctrl-c.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let stop = shutdown_on_signals()?;
        let records = Records::open(home).await?;
        let (id, _, opened) = records.lease(&self.lease).await?;
        records.close().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.ports.local))
            .await
            .with_context(|| format!("port {} of this computer cannot be used", self.ports.local))
            .advise(|| {
                format!(
                    "choose another one: `sublet forward {} 0:{}` takes any free port",
                    self.lease, self.ports.remote
                )
            })?;
        let address = listener.local_addr()?;
        let session = Session::reader(home, output).await?;
        refuse_ended(&session, id).await?;
        let link = session.provider(opened.provider).await?;
        announce(output, id, address, self.ports.remote)?;
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = open.join_next(), if !open.is_empty() => {}
                accepted = listener.accept(), if open.len() < MAX_CONNECTIONS => {
                    let (socket, _) = accepted?;
                    open.spawn(carry(link.client.clone(), id, self.ports.remote, socket));
                }
            }
        }
        open.shutdown().await;
        link.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

fn announce(output: Output, lease: LeaseId, local: SocketAddr, remote: u16) -> Result<()> {
    #[derive(Serialize)]
    struct Forwarding {
        lease: LeaseId,
        local: SocketAddr,
        remote: u16,
    }
    output.answer(&Forwarding { lease, local, remote }, || {
        format!("{local} leads to port {remote} of {lease}; ctrl-c ends it")
    })
}

async fn carry(client: sublet_client::peer::PeerClient, lease: LeaseId, port: u16, mut socket: TcpStream) {
    match client.connect(lease, port).await {
        Ok(mut stream) => {
            if let Err(error) = sublet_link::forward(&mut socket, &mut stream).await {
                tracing::debug!(%error, "a forwarded connection broke");
            }
        }
        Err(error) => eprintln!("a connection was not forwarded: {}", sublet_daemon::report(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        assert_eq!("8080:80".parse(), Ok(Ports { local: 8080, remote: 80 }));
        assert_eq!("22".parse(), Ok(Ports { local: 22, remote: 22 }));
        for bad in ["", "80:0", "a:1", "1:2:3", "70000"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad:?} should be refused");
        }
    }
}
