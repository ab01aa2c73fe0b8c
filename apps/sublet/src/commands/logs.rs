//! `sublet logs LEASE`: what a machine printed on its console, or a job on its outputs.

use std::process::ExitCode;

use anyhow::Result;
use sublet_base::JobId;
use sublet_wire::link::Agreement;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::home::Home;
use crate::leases::refuse_ended;
use crate::output::Output;
use crate::records::Records;
use crate::session::Session;

/// Flags of `sublet logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sublet logs web\n  sublet logs job-4 --follow")]
pub(crate) struct Args {
    /// A lease by name or number, or a job by number like job-4
    agreement: String,
    /// Go on until the machine ends
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    /// Copies the log to standard output; control sequences a machine could play with are left out.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let records = Records::open(home).await?;
        let (agreement, opened) = if self.agreement.parse::<JobId>().is_ok() {
            let (id, _, opened) = records.job(&self.agreement).await?;
            (Agreement::Job(id), opened)
        } else {
            let (id, _, opened) = records.lease(&self.agreement).await?;
            (Agreement::Lease(id), opened)
        };
        records.close().await;
        let session = Session::reader(home, output).await?;
        if let Agreement::Lease(id) = agreement {
            refuse_ended(&session, id).await?;
        }
        let link = session.provider(opened.provider).await?;
        let mut stream = link.client.logs(agreement, self.follow).await?;
        let mut out = tokio::io::stdout();
        let mut buffer = vec![0; 16 << 10];
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => {
                    let clean: Vec<u8> = buffer[..count]
                        .iter()
                        .copied()
                        .filter(|b| !b.is_ascii_control() || matches!(b, b'\n' | b'\t'))
                        .collect();
                    out.write_all(&clean).await?;
                    out.flush().await?;
                }
            }
        }
        link.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
