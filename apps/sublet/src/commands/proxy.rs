//! `sublet __proxy LEASE PORT`: a stream to a port of a machine on standard input and output; OpenSSH's ProxyCommand.

use std::process::ExitCode;

use anyhow::Result;
use sublet_base::LeaseId;
use sublet_link::pipe_stdio;

use crate::home::Home;
use crate::leases::refuse_ended;
use crate::output::Output;
use crate::records::Records;
use crate::session::Session;

/// Arguments of `sublet __proxy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of the lease
    lease: LeaseId,
    /// Port inside the machine
    port: u16,
}

impl Args {
    /// Pipes until either side closes.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let records = Records::open(home).await?;
        let (id, _, opened) = records.lease(&self.lease.to_string()).await?;
        records.close().await;
        let session = Session::reader(home, output).await?;
        refuse_ended(&session, id).await?;
        let link = session.provider(opened.provider).await?;
        let stream = link.client.connect(id, self.port).await?;
        let piped = pipe_stdio(stream).await;
        link.close().await;
        piped?;
        Ok(ExitCode::SUCCESS)
    }
}
