//! Machine create -> ssh login, in turns with the same by hand.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sublet_base::{GiB, MiB, Vcpus};
use sublet_drivers::Helper;
use sublet_drivers::qemu::{QemuConfig, QemuDriver};
use sublet_images::Artefacts;
use sublet_machine::{Clock, Driver, MachineSpec, Resources};

use crate::hand;
use crate::login::{Person, Times};

/// What is measured, and the bar.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Rounds, each one boot of either kind.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Most that the ratio of the medians may be.
    #[arg(long, default_value_t = 1.3)]
    bar: f64,
    /// Image to boot.
    #[arg(long, default_value = "debian-12")]
    image: String,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// A driver over `root`.
pub(crate) fn driver(root: PathBuf) -> Result<QemuDriver> {
    let artefacts = Artefacts::locate()?;
    let helper = Helper::new(std::env::current_exe()?);
    let (kernel, initrd) = (artefacts.vmlinuz(), artefacts.initrd());
    Ok(QemuDriver::new(QemuConfig { root, helper, qemu: "qemu-system-x86_64".into(), kernel, initrd })?)
}

/// Measures and prints; fails if the bar is missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.rounds == 0 {
        bail!("nothing can be measured in 0 rounds");
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("qemu");
    let driver = driver(root.clone())?;
    let can = driver.probe().context("virtual machines do not run here")?;
    let store = Artefacts::locate()?.store()?;
    let image = store.prepare(&store.resolve(&options.image)?.digest)?;
    let resources = Resources { vcpus: Vcpus(1), memory: MiB(512), disk: GiB(2), pids: 512 };
    let (hostname, clock) = ("bench".to_owned(), Clock::Host);
    let spec = MachineSpec { id: "bench".parse()?, resources, image, hostname, clock };
    let flags = driver.flags(&spec)?;
    let person = Person::new(folder.path())?;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        by_hand.push(hand::boot(&person, &spec, &flags)?);
        ours.push(rent(&person, &driver, &spec, &root)?);
    }
    let (ours, by_hand) = (median(&ours), median(&by_hand));
    let ratio = ours.login.as_secs_f64() / by_hand.login.as_secs_f64();
    print(options, can.accelerated, &ours, &by_hand, ratio);
    if ratio > options.bar {
        bail!("create -> login takes {ratio:.2} times as long as by hand; the bar is {}", options.bar);
    }
    Ok(())
}

fn rent(person: &Person, driver: &QemuDriver, spec: &MachineSpec, root: &std::path::Path) -> Result<Times> {
    let proxy = format!("{} dial {} {} 22", std::env::current_exe()?.display(), root.display(), spec.id);
    let route = ["-o".to_owned(), format!("ProxyCommand={proxy}")];
    let begun = Instant::now();
    let create = || {
        let prepared = driver.create(spec)?;
        driver.start(&spec.id)?;
        anyhow::Ok(prepared)
    };
    let times = create().and_then(|prepared| person.log_in(begun, &prepared.guest_channel, &route));
    driver.delete(&spec.id)?;
    times
}

fn median(times: &[Times]) -> Times {
    let of = |pick: fn(&Times) -> Duration| {
        let mut sorted: Vec<_> = times.iter().map(pick).collect();
        sorted.sort();
        sorted[sorted.len() / 2]
    };
    Times { started: of(|t| t.started), hello: of(|t| t.hello), ready: of(|t| t.ready), login: of(|t| t.login) }
}

#[allow(clippy::print_stdout)]
fn print(options: &Options, accelerated: bool, ours: &Times, by_hand: &Times, ratio: f64) {
    let rows = [
        ("QEMU started", ours.started, by_hand.started),
        ("init speaks", ours.hello, by_hand.hello),
        ("sshd answers", ours.ready, by_hand.ready),
        ("logged in", ours.login, by_hand.login),
    ];
    if options.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(what, ours, hand)| {
                serde_json::json!({"what": what, "ours_ms": ours.as_millis() as u64, "by_hand_ms": hand.as_millis() as u64})
            })
            .collect();
        let all =
            serde_json::json!({"accelerated": accelerated, "rounds": options.rounds, "medians": rows, "ratio": ratio});
        println!("{all}");
        return;
    }
    let engine = if accelerated { "on the processor" } else { "emulated" };
    println!("machine create -> ssh login, {engine}, medians of {} rounds, seconds from the beginning", options.rounds);
    println!("{:<14}{:>9}{:>9}", "", "sublet", "by hand");
    for (what, ours, hand) in rows {
        println!("{what:<14}{:>9.2}{:>9.2}", ours.as_secs_f64(), hand.as_secs_f64());
    }
    println!("ratio {ratio:.2} (bar {})", options.bar);
}
