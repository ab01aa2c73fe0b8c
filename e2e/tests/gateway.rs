//! An ssh session through a gateway that is killed and started again: the same session goes on, and leaves nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sublet_e2e::network::Network;
use sublet_e2e::roles::gateway;
use sublet_e2e::sublet::Sublet;
use sublet_e2e::traces::started_in;
use sublet_e2e::wait;

/// Both ends reconnect within their own back-off, 16 seconds at most; a busy computer takes longer.
const RECOVERY: Duration = Duration::from_secs(120);

#[test]
fn an_open_ssh_session_outlives_its_gateway() -> Result<()> {
    let relay_home = Sublet::new()?;
    let (mut relay, url) = gateway(&relay_home, 0)?;
    let network = Network::start(&["--providers", "1", "--mediators", "0", "--gateway", &url])?;
    network.sublet.json(&["rent", "--name", "web"])?;
    let mut session = Session::open(&network)?;
    let shell = session.ask("before")?;

    relay.crash()?;
    let port = url.rsplit(':').next().context("the gateway names no port")?.trim_end_matches('/').parse()?;
    let (_relay, again) = gateway(&relay_home, port)?;
    anyhow::ensure!(again == url, "the gateway came back elsewhere: {again}");

    anyhow::ensure!(session.ask("after")? == shell, "another shell answered: it is not the same session");
    network.sublet.json(&["leases", "close", "web"])?;

    // Nobody tells the way in that it is over: it ends all the same once its ssh is gone.
    let sublet = network.sublet.clone();
    drop((network, session));
    wait::until("the way in to end with its ssh", RECOVERY, || Ok(started_in(sublet.home())?.is_empty().then_some(())))
}

/// One login whose remote side answers each line.
struct Session {
    ssh: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Session {
    fn open(network: &Network) -> Result<Self> {
        let remote = "while read -r line; do echo \"$$ $line\"; done";
        let mut ssh = network
            .sublet
            .command(["ssh", "web", "--", remote])
            .env("SUBLET_LINK_PATH", "relay-only")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = ssh.stdin.take().context("no input")?;
        let output = BufReader::new(ssh.stdout.take().context("no output")?);
        let (send, answers) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Ok(Self { ssh, input, answers })
    }

    /// Sends a word and waits for the machine to say it; the process id of the shell that did.
    fn ask(&mut self, word: &str) -> Result<String> {
        writeln!(self.input, "{word}")?;
        self.input.flush()?;
        match self.answers.recv_timeout(RECOVERY) {
            Ok(answer) if answer.ends_with(word) => Ok(answer.split(' ').next().unwrap_or_default().to_owned()),
            Ok(answer) => bail!("asked `{word}`, heard `{answer}`"),
            Err(RecvTimeoutError::Timeout) => bail!("the session does not answer `{word}`"),
            Err(RecvTimeoutError::Disconnected) => bail!("the session ended: {:?}", self.ssh.wait()?),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}
