//! The login service: OpenSSH's server from the image, kept running, with a host key made here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::machine::{Machine, Phase};
use crate::{files, launch, log};

const SERVER: &str = "/usr/sbin/sshd";
const KEYGEN: &str = "/usr/bin/ssh-keygen";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
/// A server that lived shorter than this did not work.
const SETTLED: Duration = Duration::from_secs(10);
/// Servers in a row that did not work before it is said to have failed.
const ATTEMPTS: u32 = 5;
/// How often to look whether the server listens.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the service until the machine ends.
///
/// # Errors
/// Why it cannot be run, in a sentence.
pub(super) fn run(machine: &Arc<Machine>, authorized_keys: &[String], env: &[String]) -> Result<(), String> {
    let layout = &machine.layout;
    let server = layout.path(SERVER);
    if !server.is_file() {
        return Err(format!("this image has no {SERVER}"));
    }
    files::install_keys(&layout.path("/root"), authorized_keys)
        .map_err(|e| format!("cannot install the login keys: {e}"))?;
    let ssh_host_key = host_key(machine)?;
    fs::create_dir_all(layout.path("/run/sshd")).map_err(|e| format!("cannot make /run/sshd: {e}"))?;
    watch(machine, ssh_host_key)?;
    let mut short_lives = 0;
    loop {
        let begun = Instant::now();
        let mut command = launch::command(&server, &arguments(machine, env), super::group(layout));
        command.envs(super::environment(&[]));
        let (pid, _) = machine.reaper.spawn(&mut command).map_err(|e| format!("cannot start {SERVER}: {e}"))?;
        let code = machine.reaper.wait(pid);
        short_lives = if begun.elapsed() < SETTLED { short_lives + 1 } else { 0 };
        if short_lives >= ATTEMPTS {
            return Err(format!(
                "{SERVER} ended {ATTEMPTS} times in a row, last with {code}; the console has its words"
            ));
        }
        if machine.ending_within(Duration::from_millis(100 << short_lives.min(8))) {
            return Ok(());
        }
        log(&format!("{SERVER} ended with {code}; starting it again"));
    }
}

fn arguments(machine: &Machine, env: &[String]) -> Vec<String> {
    let host_key = format!("HostKey={}", machine.layout.path(HOST_KEY).display());
    let mut arguments: Vec<String> =
        ["-D", "-e", "-o", &host_key, "-o", "PasswordAuthentication=no", "-o", "UseDNS=no"].map(String::from).into();
    arguments.extend(["-o".to_owned(), format!("Port={}", machine.layout.ssh_port)]);
    if !env.is_empty() {
        let quoted: Vec<_> =
            env.iter().map(|entry| format!("\"{}\"", entry.replace('\\', "\\\\").replace('"', "\\\""))).collect();
        arguments.extend(["-o".to_owned(), format!("SetEnv={}", quoted.join(" "))]);
    }
    arguments
}

/// The machine's public host key; made on first use, and on the disk before anybody hears of it.
fn host_key(machine: &Machine) -> Result<String, String> {
    let path = machine.layout.path(HOST_KEY);
    let public = path.with_extension("pub");
    let usable = |path: &Path| fs::metadata(path).is_ok_and(|about| about.len() > 0);
    if !(usable(&path) && usable(&public)) {
        let fresh = path.with_extension("sublet-made");
        let fresh_public = path.with_extension("sublet-made.pub");
        for old in [&fresh, &fresh_public] {
            let _ = fs::remove_file(old);
        }
        let mut keygen = Command::new(machine.layout.path(KEYGEN));
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&fresh).env_clear();
        machine.reaper.run(&mut keygen).map_err(|e| format!("cannot make a host key: {e}"))?;
        // The public half last: with it in place, both are.
        adopt(&fresh, &path, 0o600)
            .and_then(|()| adopt(&fresh_public, &public, 0o644))
            .map_err(|e| format!("cannot keep the host key: {e}"))?;
    }
    let text = fs::read_to_string(&public).map_err(|e| format!("cannot read the host key: {e}"))?;
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    match words[..] {
        ["ssh-ed25519", key] if text.len() < 1000 => Ok(format!("ssh-ed25519 {key}")),
        _ => Err(format!("{HOST_KEY}.pub holds no ed25519 key")),
    }
}

fn adopt(from: &Path, to: &Path, mode: u32) -> std::io::Result<()> {
    files::replace(to, mode, &fs::read(from)?)?;
    fs::remove_file(from)
}

/// Says that the machine is ready when something listens on the service's port.
fn watch(machine: &Arc<Machine>, ssh_host_key: String) -> Result<(), String> {
    let machine = Arc::clone(machine);
    let look = move || {
        while !listening(machine.layout.ssh_port) {
            if machine.ending_within(LOOK) || machine.phase() != Phase::Working {
                return;
            }
        }
        machine.advance(Phase::Ready { ssh_host_key });
    };
    std::thread::Builder::new()
        .name("ready".into())
        .spawn(look)
        .map(drop)
        .map_err(|e| format!("cannot wait for {SERVER}: {e}"))
}

/// Whether anything in this network namespace listens on a port. Looking, unlike connecting, costs the server nothing.
fn listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().any(|table| {
        fs::read_to_string(table).is_ok_and(|text| text.lines().skip(1).any(|line| is_listener(line, port)))
    })
}

/// `sl local_address rem_address st …`, the address as `HEX:PORT`, state 0A for listening.
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let local =
        fields.next().and_then(|address| address.rsplit_once(':')).map(|(_, port)| u16::from_str_radix(port, 16));
    local == Some(Ok(port)) && fields.nth(1) == Some("0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_on_the_port_counts() {
        let line = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
        assert!(is_listener(line, 22));
        assert!(!is_listener(line, 23));
        assert!(!is_listener(&line.replace("0A", "01"), 22));
        assert!(!is_listener("", 22));
    }
}
