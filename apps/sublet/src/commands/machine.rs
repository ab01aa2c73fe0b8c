//! `sublet machine`: the machines of a host, for whoever owns the computer. Renters use `rent` and `ssh`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use futures_util::TryStreamExt;
use sublet_base::{GiB, MachineId, MiB, Seconds, Vcpus};
use sublet_client::{HostClient, HostError};
use sublet_machine::{Clock, DriverKind, Guest, ImageRef, Phase, Resources};
use sublet_wire::guest::{Configure, Workload};
use sublet_wire::host::{LogSource, MachineRequest, MachineView};
use tokio::io::AsyncWriteExt;

use crate::home::Home;
use crate::modules::image_digest;
use crate::output::{Advise, Output, refuse, table};
use crate::roles::host;

/// Flags of `sublet machine`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sublet machine create test --ssh-key ~/.ssh/id_ed25519.pub\n  sublet machine create job1 --image cowsay -- /usr/games/cowsay moo\n  sublet machine list --host birch\n  sublet machine logs test"
)]
pub(crate) struct Args {
    /// The host: a name in this home (`sublet up` runs birch and cedar), or the path of its socket
    #[arg(long, global = true, default_value = host::DEFAULT, value_name = "NAME|SOCKET")]
    host: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prepare a machine: for logins, or for one run of a command
    Create(Box<Create>),
    /// List the host's machines
    List,
    /// Show one machine
    Get {
        /// Its name
        name: MachineId,
    },
    /// Start a stopped machine
    Start {
        /// Its name
        name: MachineId,
    },
    /// Ask a machine to stop, then stop it
    Stop {
        /// Its name
        name: MachineId,
        /// Seconds it gets to stop by itself
        #[arg(long, default_value_t = 10, value_name = "SECONDS")]
        grace: u32,
    },
    /// Halt a machine's processors
    Pause {
        /// Its name
        name: MachineId,
    },
    /// Let them go on
    Resume {
        /// Its name
        name: MachineId,
    },
    /// Print what a machine or its task wrote
    Logs {
        /// Its name
        name: MachineId,
        /// What to print
        #[arg(long, default_value = "console")]
        source: Source,
        /// Go on until it stops
        #[arg(long, short)]
        follow: bool,
    },
    /// Remove every trace of a machine
    Delete {
        /// Its name
        name: MachineId,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it: a-z, 0-9 and -
    name: MachineId,
    /// Image, by name or NAME@sha256:DIGEST
    #[arg(long, default_value = "debian-12")]
    image: String,
    /// Virtual processors
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// Memory, MiB
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    memory: u32,
    /// Disk, GiB
    #[arg(long, default_value_t = 2, value_name = "GIB")]
    disk: u32,
    /// Processes at once
    #[arg(long, default_value_t = 1024)]
    pids: u32,
    /// Driver; the host chooses otherwise
    #[arg(long)]
    driver: Option<Driver>,
    /// Public key that may log in as root; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    ssh_key: Vec<PathBuf>,
    /// Run this once instead of waiting for logins
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Qemu,
    Container,
    Fake,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Source {
    Console,
    Stdout,
    Stderr,
}

impl Args {
    /// Runs the action.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let socket = host::socket(home, &self.host);
        let client = HostClient::new(&socket)?;
        let Err(error) = act(&client, self.action, output).await else { return Ok(ExitCode::SUCCESS) };
        match error.downcast_ref() {
            Some(HostError::Unavailable(_)) => Err(error.context(format!("no host answers on {}", socket.display())))
                .advise(|| "start one with `sublet host run` or `sublet up`, or name another with --host".to_owned()),
            Some(HostError::NotFound(_)) => {
                Err(error).advise(|| "see what there is with `sublet machine list`".to_owned())
            }
            _ => Err(error),
        }
    }
}

async fn act(client: &HostClient, action: Action, output: Output) -> Result<()> {
    let view = match action {
        Action::Create(create) => made(client.create(create.request()?).await?)?,
        Action::List => return list(client, output).await,
        Action::Get { name } => client.get(&name).await?,
        Action::Start { name } => client.start(&name).await?,
        Action::Stop { name, grace } => client.stop(&name, Seconds(grace)).await?,
        Action::Pause { name } => client.pause(&name).await?,
        Action::Resume { name } => client.resume(&name).await?,
        Action::Logs { name, source, follow } => return logs(client, &name, source, follow).await,
        Action::Delete { name } => {
            // To the host, what is not there is as good as deleted; a person has mistyped.
            client.get(&name).await?;
            client.delete(&name).await?;
            return output.answer(&serde_json::json!({ "deleted": name }), || format!("{name} is gone"));
        }
    };
    output.answer(&view, || describe(&view))
}

/// A machine that could not be made stays on the host, as what went wrong.
fn made(view: MachineView) -> Result<MachineView> {
    match &view.phase {
        Phase::Failed(why) => refuse(
            format!("{} could not be made: {why}", view.id),
            format!("once that is mended: `sublet machine delete {}`, and make it again", view.id),
        ),
        _ => Ok(view),
    }
}

async fn list(client: &HostClient, output: Output) -> Result<()> {
    let machines = client.list().await?;
    output.answer(&machines, || {
        if machines.is_empty() {
            return "no machines".to_owned();
        }
        let mut rows = table(["NAME", "PHASE", "INSIDE", "DRIVER", "IMAGE", "SIZE"]);
        for machine in &machines {
            rows.add_row([
                machine.id.to_string(),
                phase(&machine.phase),
                inside(&machine.guest),
                machine.driver.to_string(),
                machine.image.name.clone(),
                size(&machine.resources),
            ]);
        }
        rows.to_string()
    })
}

async fn logs(client: &HostClient, name: &MachineId, source: Source, follow: bool) -> Result<()> {
    let source = match source {
        Source::Console => LogSource::Console,
        Source::Stdout => LogSource::Stdout,
        Source::Stderr => LogSource::Stderr,
    };
    let mut pieces = client.logs(name, source, follow).await?;
    let mut out = tokio::io::stdout();
    while let Some(piece) = pieces.try_next().await? {
        out.write_all(&piece).await?;
        out.flush().await?;
    }
    Ok(())
}

impl Create {
    fn request(self) -> Result<MachineRequest> {
        let name = self.image.split('@').next().unwrap_or_default().to_owned();
        let image = ImageRef { name, digest: image_digest(&self.image, None)? };
        let resources =
            Resources { vcpus: Vcpus(self.vcpus), memory: MiB(self.memory), disk: GiB(self.disk), pids: self.pids };
        let workload = match self.command.is_empty() {
            false => Workload::Task { argv: self.command, cwd: "/".to_owned() },
            true => Workload::Login { authorized_keys: keys(&self.ssh_key)? },
        };
        let driver = self.driver.map(|driver| match driver {
            Driver::Qemu => DriverKind::Qemu,
            Driver::Container => DriverKind::Container,
            Driver::Fake => DriverKind::Fake,
        });
        let hostname = self.name.to_string();
        let guest = Configure { hostname, workload, env: Vec::new(), files: Vec::new(), pids: self.pids };
        Ok(MachineRequest { id: self.name, resources, image, driver, guest, clock: Clock::Host })
    }
}

fn keys(files: &[PathBuf]) -> Result<Vec<String>> {
    if files.is_empty() {
        bail!("name a public key with --ssh-key, or a command after --");
    }
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().to_owned())
    };
    files.iter().map(read).collect()
}

fn describe(machine: &MachineView) -> String {
    let mut text = format!(
        "{}\nphase   {}\ninside  {}\ndriver  {}\nimage   {} {}\nsize    {}",
        machine.id,
        phase(&machine.phase),
        inside(&machine.guest),
        machine.driver,
        machine.image.name,
        machine.image.digest,
        size(&machine.resources)
    );
    if let Guest::Ready { ssh_host_key } = &machine.guest {
        text.push_str(&format!("\nkey     {ssh_host_key}"));
    }
    if let Some(result) = &machine.result {
        text.push_str(&format!("\nresult  {} bytes, hash {}, {} used", result.bytes, result.hash, result.seconds));
    }
    text
}

fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Creating => "creating".to_owned(),
        Phase::Stopped => "stopped".to_owned(),
        Phase::Starting => "starting".to_owned(),
        Phase::Running => "running".to_owned(),
        Phase::Pausing => "pausing".to_owned(),
        Phase::Paused => "paused".to_owned(),
        Phase::Resuming => "resuming".to_owned(),
        Phase::Stopping => "stopping".to_owned(),
        Phase::Failed(why) => format!("failed: {why}"),
        Phase::Deleting => "deleting".to_owned(),
        Phase::Deleted => "deleted".to_owned(),
    }
}

fn inside(guest: &Guest) -> String {
    match guest {
        Guest::Silent => "-".to_owned(),
        Guest::Ready { .. } => "ready".to_owned(),
        Guest::Exited { code } => format!("exited with {code}"),
        Guest::GaveUp { reason } => format!("gave up: {reason}"),
    }
}

fn size(resources: &Resources) -> String {
    format!("{}, {}, {}", resources.vcpus, resources.memory, resources.disk)
}
