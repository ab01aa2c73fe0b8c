//! Real containers on this host. Needs root and the guest's init; says so and skips without.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use sublet_base::Seconds;
use sublet_drivers::conformance::{HalfCreate, Subject, check};
use sublet_drivers::container::ContainerDriver;
use sublet_machine::{Driver, DriverError, MachineSpec, Observed};
use support::{Rig, looks, task};

/// What a create has made after each of its steps.
fn half_created(rig: &Rig) -> Vec<HalfCreate<'_>> {
    let folder = |spec: &MachineSpec| {
        let path = rig.root().join("machines").join(spec.id.as_str());
        fs::create_dir_all(&path).expect("a folder");
        path
    };
    let describe = |path: &Path, spec: &MachineSpec| {
        fs::write(path.join("spec.json"), serde_json::to_vec(spec).expect("text")).expect("written");
    };
    vec![
        Box::new(move |spec| drop(folder(spec))),
        Box::new(move |spec| describe(&folder(spec), spec)),
        Box::new(move |spec| {
            let path = folder(spec);
            describe(&path, spec);
            fs::write(path.join("disk.next"), vec![0; 4096]).expect("written");
        }),
    ]
}

#[test]
fn it_conforms() {
    let Some(rig) = Rig::new() else { return };
    let open = || Box::new(rig.driver()) as Box<dyn Driver>;
    let subject = Subject {
        open: &open,
        spec: rig.spec("one"),
        half_created: half_created(&rig),
        task: Some(task(&rig.worker(&["echo-port", "4000"]))),
        open_port: 4000,
        closed_port: 9,
    };
    check(&subject).unwrap_or_else(|violation| panic!("{violation}"));
    rig.assert_no_trace();
}

#[test]
fn the_probe_leaves_nothing() {
    let Some(rig) = Rig::new() else { return };
    let can = rig.driver().probe().expect("usable");
    assert!(can.pause && !can.notes.is_empty(), "{can:?}");
    rig.assert_no_trace();
}

#[test]
fn a_port_inside_is_reached_and_only_from_inside() {
    let Some(rig) = Rig::new() else { return };
    let driver = rig.started("ports", &rig.worker(&["echo-port", "4000"]));
    let spec = rig.spec("ports");
    let mut stream = support::eventually("the port answers", || driver.dial(&spec.id, 4000).ok());
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream.write_all(b"hello").expect("written");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"hello");
    assert!(std::net::TcpStream::connect(("127.0.0.1", 4000)).is_err(), "the host's own loopback is another");
    driver.delete(&spec.id).expect("deleted");
    rig.assert_no_trace();
}

#[test]
fn limits_hold() {
    let Some(rig) = Rig::new() else { return };
    for (name, words, wanted) in [
        ("memory", vec!["eat-memory", "256"], "killed"),
        ("pids", vec!["fork", "200"], "refused"),
        ("disk", vec!["fill-disk", "1500"], "full"),
        ("users", vec!["privileges"], "none"),
    ] {
        let outcome = rig.run_task(name, &rig.worker(&words));
        assert_eq!(outcome.stdout.trim(), wanted, "{name}: {outcome:?}");
    }
    rig.assert_no_trace();
}

#[test]
fn a_task_cannot_tell_who_runs_it() {
    let Some(rig) = Rig::new() else { return };
    let look = rig.worker(&["look"]);
    let [all, host, _] = looks::parts(&rig.run_task("job-7", &look).stdout);
    assert!(all.starts_with(looks::LOOKS), "{all}");
    assert_eq!(looks::limit(&all, "Max open files"), ["1024", "16384"]);
    assert_eq!(looks::limit(&all, "Max core file size"), ["0", "0"]);
    // Another host's daemon may have been started by somebody with other habits.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(4242)]).expect("root may");
    let [other, other_host, _] = looks::parts(&rig.run_task("mediation-of-job-7", &look).stdout);
    assert_eq!((all, host), (other, other_host.clone()));
    let folder = rig.root().display().to_string();
    assert!(!other_host.contains("job-7") && !other_host.contains(&folder), "{other_host}");
    rig.assert_no_trace();
}

#[test]
fn what_a_machine_wrote_survives_a_stop() {
    let Some(rig) = Rig::new() else { return };
    let spec = rig.spec("keeps");
    let driver = rig.driver();
    driver.create(&spec).expect("created");
    for wanted in ["written", "found"] {
        driver.start(&spec.id).expect("started");
        let outcome = rig.finish_task(&driver, &spec.id, &task(&rig.worker(&["remember"])));
        assert_eq!(outcome.stdout.trim(), wanted, "{outcome:?}");
        driver.stop(&spec.id, Seconds(5)).expect("stopped");
    }
    driver.delete(&spec.id).expect("deleted");
    rig.assert_no_trace();
}

#[test]
fn a_channel_that_is_a_link_is_not_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&secret).expect("bound");
    let bait = folder.path().join("guest.sock");
    std::os::unix::fs::symlink(&secret, &bait).expect("linked");
    assert!(sublet_drivers::guest::connect(&bait).is_err(), "a guest's link must not lead the host anywhere");
    assert!(sublet_drivers::guest::connect(&secret).is_ok());
}

#[test]
fn an_init_killed_from_outside_is_seen_and_cleared() {
    let Some(rig) = Rig::new() else { return };
    let spec = rig.spec("dies");
    let driver = rig.started("dies", &rig.worker(&["sleep"]));
    let init: serde_json::Value =
        serde_json::from_slice(&fs::read(rig.root().join("machines/dies/init.json")).expect("read")).expect("parsed");
    let pid = i32::try_from(init["pid"].as_i64().expect("a pid")).expect("small");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("killed");
    support::eventually("it is stopped", || (driver.observe(&spec.id).ok()? == Observed::Stopped).then_some(()));
    assert!(matches!(driver.dial(&spec.id, 22), Err(DriverError::WrongState { .. })));
    ContainerDriver::delete(&driver, &spec.id).expect("deleted");
    rig.assert_no_trace();
}

#[test]
fn a_process_of_the_host_is_no_way_in() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("listens");
    let address = listener.local_addr().expect("bound");
    let helper = sublet_drivers::Helper::new(env!("CARGO_BIN_EXE_sublet-driver-helper").into());
    let refused =
        sublet_drivers::netns::dial(&helper, std::process::id(), address).expect_err("the host's own network");
    assert!(refused.to_string().contains("no machine's"), "{refused}");
}
