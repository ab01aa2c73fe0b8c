//! A local network in a home of its own: the memory it idles in, and what a job costs in time beside `runc` by hand.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::runc::Bundle;

/// How long the network may take to come up: the first start boots a guest.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is measured, and the bar.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds, each one job and one run by hand.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds the network idles before its memory is read.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Most memory that may be, MiB.
    #[arg(long, default_value_t = 80)]
    bar: u64,
    /// The binary to measure [default: the `sublet` beside this program]
    #[arg(long)]
    sublet: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Measures and prints; fails if the bar is missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "nothing can be measured in 0 rounds");
    let sublet = match &options.sublet {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("sublet"),
    };
    let home = tempfile::tempdir()?;
    eprintln!("starting a network");
    let network = Network::start(&sublet, home.path())?;
    eprintln!("idling for {} s", options.idle);
    std::thread::sleep(Duration::from_secs(options.idle));
    let memory = Memory::of(network.0.id())?;
    let bundle = Bundle::make(&["/usr/games/cowsay", "--", "moo"])?;
    // The first mounts the image and wakes everything up; it is not counted.
    job(&sublet, home.path())?;
    bundle.run()?;
    let (mut jobs, mut by_hand) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        by_hand.push(bundle.run()?);
        jobs.push(job(&sublet, home.path())?);
    }
    drop(network);
    print(options, memory, &Stages::median(&jobs), median(by_hand));
    ensure!(memory.pss <= options.bar << 10, "it idles in {} KiB; the bar is {} MiB", memory.pss, options.bar);
    Ok(())
}

/// A `sublet up`, stopped in order at the end.
struct Network(Child);

impl Network {
    fn start(sublet: &Path, home: &Path) -> Result<Self> {
        let mut up = command(sublet, home);
        up.arg("up").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = up.spawn().with_context(|| format!("cannot run {}", sublet.display()))?;
        let output = child.stdout.take().context("its output is ours")?;
        let network = Self(child);
        let (tell, hear) = std::sync::mpsc::channel();
        // Reads on to the end, so that the network never waits for us.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line.contains("ctrl-c stops everything") {
                    tell.send(()).ok();
                }
            }
        });
        hear.recv_timeout(PATIENCE).context("the network does not come up")?;
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have ended by itself; everything it started ends with it.
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT);
        let _ = self.0.wait();
    }
}

fn command(sublet: &Path, home: &Path) -> Command {
    let mut command = Command::new(sublet);
    command.arg("--home").arg(home).stdin(Stdio::null());
    command
}

/// Memory of one process, KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    rss: u64,
    pss: u64,
    anonymous: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the network is gone")?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
            number.with_context(|| format!("the kernel does not say {name}"))
        };
        Ok(Self { rss: field("Rss:")?, pss: field("Pss:")?, anonymous: field("Anonymous:")? })
    }
}

/// Moments of one `sublet run`, since it began, in the order they must come.
#[derive(Clone, Copy, Debug)]
struct Stages {
    opened: Duration,
    handing: Duration,
    handed: Duration,
    fetching: Duration,
    on_disk: Duration,
    settled: Duration,
}

impl Stages {
    /// From the open job to its checked result on disk.
    fn overhead(&self) -> Duration {
        self.on_disk.saturating_sub(self.opened)
    }

    fn parts(&self) -> [(&'static str, Duration); 6] {
        [
            ("order until open (blocks)", self.opened),
            ("link to the provider", self.handing.saturating_sub(self.opened)),
            ("handed over", self.handed.saturating_sub(self.handing)),
            ("container made and run", self.fetching.saturating_sub(self.handed)),
            ("fetched and checked", self.on_disk.saturating_sub(self.fetching)),
            ("settlement (blocks)", self.settled.saturating_sub(self.on_disk)),
        ]
    }

    fn median(all: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> Duration| median(all.iter().map(pick).collect());
        Self {
            opened: of(|s| s.opened),
            handing: of(|s| s.handing),
            handed: of(|s| s.handed),
            fetching: of(|s| s.fetching),
            on_disk: of(|s| s.on_disk),
            settled: of(|s| s.settled),
        }
    }
}

/// Runs a job and takes the times of what it says on the way.
fn job(sublet: &Path, home: &Path) -> Result<Stages> {
    let begun = Instant::now();
    let mut run = command(sublet, home);
    run.args(["run", "cowsay", "-i", "message=moo"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = run.spawn().context("cannot run a job")?;
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().context("its errors are ours")?).lines() {
        said.push((begun.elapsed(), line?));
    }
    let status = child.wait()?;
    let settled = begun.elapsed();
    let last = said.last().map(|(_, line)| line.as_str()).unwrap_or_default();
    ensure!(status.success(), "the job failed: {last}");
    let at = |words: &str| {
        let found = said.iter().position(|(_, line)| line.contains(words));
        found.with_context(|| format!("`sublet run` no longer says `{words}`"))
    };
    let (handing, fetching) = (at("handing the job")?, at("fetching the result")?);
    // The first thing heard of the machine; a job that was over by the first look says nothing in between.
    let handed = (handing + 1).min(fetching);
    let time = |position: usize| said[position].0;
    Ok(Stages {
        opened: time(at("is open with provider")?),
        handing: time(handing),
        handed: time(handed),
        fetching: time(fetching),
        on_disk: time(at("hash is right")?),
        settled,
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[allow(clippy::print_stdout)]
fn print(options: &Options, memory: Memory, job: &Stages, by_hand: Duration) {
    let ratio = job.overhead().as_secs_f64() / by_hand.as_secs_f64();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if options.json {
        let parts = job.parts().map(|(what, time)| serde_json::json!({"what": what, "ms": millis(time)}));
        let all = serde_json::json!({
            "rounds": options.rounds,
            "memory_kib": {"pss": memory.pss, "rss": memory.rss, "anonymous": memory.anonymous},
            "job": {"open_to_disk_ms": millis(job.overhead()), "runc_ms": millis(by_hand), "ratio": ratio, "parts": parts},
        });
        println!("{all}");
        return;
    }
    println!("job, medians of {} rounds, milliseconds", options.rounds);
    for (what, time) in job.parts() {
        println!("  {what:<28}{:>8}", millis(time));
    }
    println!(
        "open -> result on disk {} ms, runc by hand {} ms, ratio {ratio:.1}",
        millis(job.overhead()),
        millis(by_hand)
    );
    println!(
        "idle memory of `sublet up` after {} s: Pss {:.1} MiB (bar {}), Rss {:.1} MiB, anonymous {:.1} MiB",
        options.idle,
        mib(memory.pss),
        options.bar,
        mib(memory.rss),
        mib(memory.anonymous)
    );
}

fn mib(kib: u64) -> f64 {
    Duration::from_millis(kib).as_secs_f64() * 1000.0 / 1024.0
}

/// Fails with what a program said if it did.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut words = String::new();
    child.stderr.take().context("its errors are ours")?.take(4096).read_to_string(&mut words)?;
    if !child.wait()?.success() {
        bail!("{}: {}", command.get_program().to_string_lossy(), words.trim());
    }
    Ok(())
}
