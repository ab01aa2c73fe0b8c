//! `sublet doctor`: what this computer can do, what it cannot, and what would change that.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;
use serde::Serialize;
use sublet_chain::find_anvil;
use sublet_images::Artefacts;
use sublet_machine::Isolation;

use crate::home::Home;
use crate::output::Output;
use crate::roles::chain;
use crate::roles::host::{self, Kinds};

/// Flags of `sublet doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 0: everything `sublet up` needs is there. Example: sublet doctor --json")]
pub(crate) struct Args {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// As it should be.
    Good,
    /// Works, but one should know.
    Note,
    /// Does not work.
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    ready: bool,
    findings: Vec<Finding>,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, state: State::Good, detail: detail.into(), remedy: None }
    }

    fn note(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, state: State::Note, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    fn bad(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, state: State::Bad, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

impl Args {
    /// Looks, and boots a guest where that is the only way to know.
    pub(crate) async fn run(self, home: &Home, output: Output) -> Result<ExitCode> {
        let progress = output.progress("looking at this computer; this boots a guest");
        let mut findings = vec![user(), local_chain(), kvm(), ssh(), home_folder(home)];
        findings.extend(images());
        let (drivers, usable) = tokio::task::spawn_blocking(drivers).await??;
        findings.extend(drivers);
        progress.done();
        let ready = usable && findings.iter().all(|f| f.state != State::Bad || f.what == "driver");
        let report = Report { ready, findings };
        output.answer(&report, || text(&report))?;
        Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn user() -> Finding {
    if nix::unistd::geteuid().is_root() {
        return Finding::good("user", "root: control groups, namespaces and mounts are available");
    }
    let switch = std::fs::read_to_string("/proc/sys/kernel/unprivileged_userns_clone").unwrap_or_default();
    if switch.trim() == "0" {
        return Finding::bad(
            "user",
            "not root, and user namespaces are switched off",
            "sysctl kernel.unprivileged_userns_clone=1, or run the host as root",
        );
    }
    Finding::note(
        "user",
        "not root: virtual machines run in user namespaces, without hard limits on the host's memory and processors; containers do not run",
        "run the host as root for containers and hard limits",
    )
}

fn local_chain() -> Finding {
    match find_anvil(chain::binary().as_deref(), &[]) {
        Ok(path) => Finding::good("local chain", format!("anvil at {}", path.display())),
        Err(error) => {
            Finding::bad("local chain", error.to_string(), "run `make setup`, or name the binary in SUBLET_ANVIL")
        }
    }
}

fn kvm() -> Finding {
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => {
            Finding::good("/dev/kvm", "can be opened; whether a guest runs on it is told by the qemu driver below")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::note(
            "/dev/kvm",
            "is not there: virtual machines are emulated, ten to twenty times slower",
            "switch on virtualisation in the firmware or in the hypervisor",
        ),
        Err(error) => Finding::note(
            "/dev/kvm",
            format!("cannot be opened ({error}): virtual machines are emulated"),
            "add your user to the group kvm",
        ),
    }
}

fn ssh() -> Finding {
    match Command::new("ssh").arg("-V").output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if output.status.success() {
                Finding::good("ssh", said)
            } else {
                Finding::note("ssh", said, "repair the OpenSSH client; `sublet ssh` needs it")
            }
        }
        Err(error) => Finding::bad("ssh", format!("cannot be started: {error}"), "install openssh-client"),
    }
}

fn home_folder(home: &Home) -> Finding {
    let existing = home.root().ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match nix::sys::statvfs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size()) >> 20;
            let detail = format!("{} ({free} MiB free)", home.root().display());
            if free < 1024 {
                Finding::note("home", detail, "free some space: a machine writes up to its disk size here")
            } else {
                Finding::good("home", detail)
            }
        }
        Err(error) => Finding::bad("home", format!("{}: {error}", home.root().display()), "name another with --home"),
    }
}

fn images() -> Vec<Finding> {
    let artefacts = match Artefacts::locate() {
        Ok(artefacts) => artefacts,
        Err(error) => return vec![Finding::bad("images", error.to_string(), "set SUBLET_CACHE")],
    };
    let kernel = match artefacts.check() {
        Ok(()) => Finding::good("guest kernel", artefacts.kernel().display().to_string()),
        Err(error) => Finding::bad("guest kernel", error.to_string(), "run `make images`"),
    };
    let names = artefacts.store().and_then(|store| store.list());
    let images = match names {
        Ok(images) if images.is_empty() => Finding::bad("images", "none", "run `make images`"),
        Ok(images) => {
            let mut text = String::new();
            for image in images {
                let _ = write!(
                    text,
                    "{}{} {}",
                    if text.is_empty() { "" } else { ", " },
                    image.name,
                    &image.digest.hex()[..12]
                );
            }
            Finding::good("images", text)
        }
        Err(error) => Finding::bad("images", sublet_daemon::report(&error), "run `make images`"),
    };
    vec![kernel, images]
}

/// One finding a driver, and whether any can be used.
fn drivers() -> Result<(Vec<Finding>, bool)> {
    let folder = tempfile::Builder::new().prefix("sublet-doctor-").tempdir()?;
    let mut findings = Vec::new();
    let mut usable = false;
    for driver in host::drivers(folder.path(), Kinds::Real)? {
        findings.push(match driver.probe() {
            Ok(can) => {
                usable = true;
                let isolation = match can.isolation {
                    Isolation::VirtualMachine if can.accelerated => "virtual machines on the processor",
                    Isolation::VirtualMachine => "virtual machines, emulated",
                    Isolation::Namespaces => "containers",
                    Isolation::Simulated => "nothing real",
                };
                let mut detail = format!("{}: {isolation}", driver.kind());
                for note in &can.notes {
                    let _ = write!(detail, "; {note}");
                }
                Finding::good("driver", detail)
            }
            Err(cannot) => Finding::bad("driver", format!("{}: {}", driver.kind(), cannot.reason), cannot.remedy),
        });
    }
    Ok((findings, usable))
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for finding in &report.findings {
        let mark = match finding.state {
            State::Good => "ok  ",
            State::Note => "note",
            State::Bad => "no  ",
        };
        lines.push(format!("{mark}  {:<13} {}", finding.what, finding.detail));
        if let Some(remedy) = &finding.remedy {
            lines.push(format!("                      -> {remedy}"));
        }
    }
    lines.push(if report.ready { "ready for `sublet up`" } else { "not ready; see above" }.to_owned());
    lines.join("\n")
}
