//! The host over its real socket, with machines that are simulated.

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt};
use nix::sys::resource::{Resource, getrlimit};
use sublet_base::{MachineId, MiB, Seconds, keccak256};
use sublet_client::{HostError, MachineChange};
use sublet_drivers::fake::{FakeDriver, HOST_KEY};
use sublet_host::{PortError, Record, Records};
use sublet_machine::{Driver, DriverKind, Guest, ImageRef, Observed, Phase, Resources};
use sublet_wire::guest::{FromGuest, Workload, write_frame};
use sublet_wire::host::{LogSource, MachineView};
use support::{Host, MISSING, eventually, request, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn fake(folder: &Path) -> Arc<FakeDriver> {
    Arc::new(FakeDriver::new(&folder.join("fake")).expect("opens"))
}

async fn host(folder: &Path) -> Host {
    Host::start(folder, vec![fake(folder)]).await
}

fn login() -> Workload {
    Workload::Login { authorized_keys: vec!["ssh-ed25519 AAAA a@b".into()] }
}

fn id(name: &str) -> MachineId {
    name.parse().expect("a name")
}

/// Creates and starts it, and waits until its task is over.
async fn run(host: &Host, name: &str, argv: &[&str]) -> MachineView {
    host.client.create(task(name, argv)).await.expect("created");
    host.client.start(&id(name)).await.expect("started");
    eventually("the task is over", async || {
        let view = host.client.get(&id(name)).await.expect("there");
        (view.phase == Phase::Stopped && view.guest != Guest::Silent).then_some(view)
    })
    .await
}

#[tokio::test]
async fn a_driver_that_was_put_right_is_used_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = fake(folder.path());
    driver.be_unusable(true);
    let host = Host::start(folder.path(), vec![driver.clone()]).await;
    assert!(host.client.create(request("one", login())).await.is_err());
    driver.be_unusable(false);
    eventually("it is created", async || host.client.create(request("one", login())).await.ok()).await;
    host.stop().await;
}

#[tokio::test]
async fn a_task_runs_and_its_result_is_fetched_and_repeatable() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let mut hashes = Vec::new();
    for name in ["one", "two"] {
        let view = run(&host, name, &["save", "note", "text"]).await;
        let result = view.result.expect("a result");
        let mut archive = Vec::new();
        let length = host.client.fetch_result(&id(name), &mut archive).await.expect("fetched");
        assert_eq!((length, result.exit_code), (result.bytes, 0));
        assert_eq!(keccak256(&archive), result.hash);
        hashes.push(result.hash);
    }
    assert_eq!(hashes[0], hashes[1]);
    let view = run(&host, "code", &["exit", "3"]).await;
    assert_eq!(view.guest, Guest::Exited { code: 3 });
    let again = host.client.start(&id("code")).await;
    assert!(matches!(again, Err(HostError::WrongPhase(_))), "a task runs once: {again:?}");
    let view = run(&host, "says", &["hello", "world"]).await;
    let log: Vec<Vec<u8>> =
        host.client.logs(&view.id, LogSource::Stdout, true).await.expect("a log").try_collect().await.expect("read");
    assert_eq!(log.concat(), b"hello world\n");
    host.stop().await;
}

#[tokio::test]
async fn a_task_that_breaks_a_limit_or_gives_up_fails_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    for (name, argv, wanted) in [
        ("flood", vec!["flood"], "longer than the 1 MiB"),
        ("fails", vec!["fail", "no such program"], "no such program"),
        ("climbs", vec!["save", "../up", "x"], "cannot be taken"),
    ] {
        let view = run(&host, name, &argv).await;
        let Guest::GaveUp { reason } = &view.guest else { panic!("{view:?}") };
        assert!(reason.contains(wanted), "{name}: {reason}");
        let refused = host.client.fetch_result(&id(name), &mut Vec::new()).await;
        assert!(matches!(refused, Err(HostError::WrongPhase(_))), "{refused:?}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_login_is_reached_paused_and_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let client = &host.client;
    let view = client.create(request("box", login())).await.expect("created");
    assert_eq!((view.phase, view.driver), (Phase::Stopped, DriverKind::Fake));
    let early = client.connect(&id("box"), 7).await;
    assert!(matches!(early, Err(HostError::WrongPhase(_))), "{early:?}");
    client.start(&id("box")).await.expect("started");
    let key = eventually("ready", async || match client.get(&id("box")).await.expect("there").guest {
        Guest::Ready { ssh_host_key } => Some(ssh_host_key),
        _ => None,
    });
    assert_eq!(key.await, HOST_KEY);

    let mut stream = client.connect(&id("box"), 7).await.expect("connected");
    let message = vec![b'x'; 300_000];
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let mut back = Vec::new();
    let (sent, read) = tokio::join!(
        async {
            writer.write_all(&message).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut back)
    );
    sent.expect("sent");
    read.expect("read");
    assert!(back == message, "{} bytes came back", back.len());
    let refused = client.connect(&id("box"), 9).await;
    assert!(matches!(refused, Err(HostError::Unavailable(_))), "{refused:?}");

    client.set_keys(&id("box"), vec!["ssh-ed25519 BBBB".into()]).await.expect("set");
    assert!(matches!(client.set_keys(&id("box"), vec!["two\nlines".into()]).await, Err(HostError::Invalid(_))));
    assert_eq!(client.pause(&id("box")).await.expect("paused").phase, Phase::Paused);
    assert!(matches!(client.start(&id("box")).await, Err(HostError::WrongPhase(_))));
    assert_eq!(client.resume(&id("box")).await.expect("resumed").phase, Phase::Running);
    assert_eq!(client.stop(&id("box"), Seconds(1)).await.expect("stopped").phase, Phase::Stopped);
    assert_eq!(client.start(&id("box")).await.expect("started again").phase, Phase::Running);
    client.delete(&id("box")).await.expect("deleted");
    client.delete(&id("box")).await.expect("deleting again is harmless");
    assert!(matches!(client.get(&id("box")).await, Err(HostError::NotFound(_))));
    host.stop().await;
}

#[tokio::test]
async fn requests_are_checked_and_capacity_is_not_overpromised() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let client = &host.client;
    let big = |name: &str| {
        let request = task(name, &["x"]);
        let resources = Resources { memory: MiB(600), ..request.resources };
        sublet_wire::host::MachineRequest { resources, ..request }
    };
    client.create(big("one")).await.expect("fits");
    client.create(big("one")).await.expect("the same again is harmless");
    assert_eq!(client.report().await.expect("a report").free.memory, MiB(424));
    let refused = client.create(big("two")).await.expect_err("does not fit");
    assert!(matches!(&refused, HostError::NoRoom(text) if text.contains("600 MiB of memory")), "{refused}");
    let taken = client.create(task("one", &["other"])).await;
    assert!(matches!(taken, Err(HostError::Taken(_))), "{taken:?}");
    client.delete(&id("one")).await.expect("deleted");
    client.create(big("two")).await.expect("fits now");

    let mut lost = task("lost", &["x"]);
    lost.image = ImageRef { name: "gone".into(), digest: MISSING };
    let view = client.create(lost).await.expect("answered");
    assert!(
        matches!(&view.phase, Phase::Failed(why) if why.contains("gone") && why.contains("not on this host")),
        "{view:?}"
    );
    let mut none = task("none", &["x"]);
    none.driver = Some(DriverKind::Qemu);
    assert!(matches!(client.create(none).await, Err(HostError::WrongPhase(_))));
    assert!(matches!(client.create(task("empty", &[])).await, Err(HostError::Invalid(_))));
    let mode = std::fs::metadata(&host.socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    host.stop().await;
}

#[tokio::test]
async fn watchers_see_every_machine_and_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    host.client.create(request("early", login())).await.expect("created");
    let mut changes = host.client.watch().await.expect("watching");
    let mut seen = BTreeMap::new();
    host.client.create(request("late", login())).await.expect("created");
    host.client.start(&id("late")).await.expect("started");
    host.client.delete(&id("early")).await.expect("deleted");
    let watch = async {
        while let Some(change) = changes.next().await {
            match change.expect("a change") {
                MachineChange::Now(view) => drop(seen.insert(view.id.clone(), Some(view.guest))),
                MachineChange::Deleted(id) => drop(seen.insert(id, None)),
            }
            let ready = matches!(seen.get(&id("late")), Some(Some(Guest::Ready { .. })));
            if ready && seen.get(&id("early")) == Some(&None) {
                return;
            }
        }
        panic!("the stream ended: {seen:?}");
    };
    tokio::time::timeout(support::PATIENCE, watch).await.expect("seen in time");
    host.stop().await;
}

#[tokio::test]
async fn a_restart_adopts_what_runs_finishes_what_was_begun_and_removes_what_nobody_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = host(folder.path()).await;
    first.client.create(request("runs", login())).await.expect("created");
    first.client.start(&id("runs")).await.expect("started");
    let done = run(&first, "done", &["said"]).await;
    first.stop().await;
    let driver = fake(folder.path());
    driver.create(&sublet_drivers::fake::example_spec("orphan")).expect("made behind the host's back");

    let second = Host::start(folder.path(), vec![driver.clone()]).await;
    eventually("ready again", async || {
        let view = second.client.get(&id("runs")).await.expect("remembered");
        matches!(view.guest, Guest::Ready { .. }).then_some(())
    })
    .await;
    assert_eq!(second.client.get(&id("done")).await.expect("remembered"), done);
    second.client.fetch_result(&id("done"), &mut Vec::new()).await.expect("its result too");
    assert!(!driver.list().expect("listed").contains(&id("orphan")));
    let free = second.client.report().await.expect("a report").free;
    assert_eq!(free.memory, MiB(1024 - 2 * 128), "what machines have taken stays taken");
    second.stop().await;
}

#[tokio::test]
async fn a_driver_that_fails_anywhere_leaves_a_machine_that_can_be_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = fake(folder.path());
    let host = Host::start(folder.path(), vec![driver.clone()]).await;
    for step in 1..=8 {
        driver.fail_step(step);
        let name = format!("try-{step}");
        let mut failed = match host.client.create(request(&name, login())).await.expect("answered").phase {
            Phase::Failed(reason) => Some(reason),
            _ => None,
        };
        if failed.is_none() {
            failed = host.client.start(&id(&name)).await.err().map(|e| e.to_string());
        }
        if failed.is_none() {
            failed = host.client.pause(&id(&name)).await.err().map(|e| e.to_string());
        }
        if let Some(reason) = &failed {
            assert!(reason.contains("a fault was asked for"), "{reason}");
        } else {
            // The fault waits for the delete, which then has to be repeated.
            let refused = host.client.delete(&id(&name)).await;
            assert!(refused.is_err() == (step == 7), "step {step}: {refused:?}");
        }
        driver.fail_step(0);
        host.client.delete(&id(&name)).await.expect("deleted");
        assert!(driver.list().expect("listed").is_empty());
        assert_eq!(host.client.report().await.expect("a report").free.memory, MiB(1024));
    }
    host.stop().await;
}

#[tokio::test]
async fn a_machine_has_only_so_many_connections_and_the_host_the_descriptors_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
    assert!(soft >= hard.min(65_536), "{soft} of {hard}");
    host.client.create(request("box", login())).await.expect("created");
    host.client.start(&id("box")).await.expect("started");
    let mut open = Vec::new();
    let refused = loop {
        match host.client.connect(&id("box"), 7).await {
            Ok(stream) => open.push(stream),
            Err(e) => break e,
        }
    };
    assert_eq!(open.len(), 256, "{refused}");
    assert!(matches!(&refused, HostError::Unavailable(why) if why.contains("256 connections")), "{refused}");
    open.pop();
    eventually("there is room again", async || host.client.connect(&id("box"), 7).await.ok()).await;
    host.stop().await;
}

#[tokio::test]
async fn a_machine_has_only_so_many_streams_of_its_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    for name in ["box", "other"] {
        host.client.create(request(name, login())).await.expect("created");
        host.client.start(&id(name)).await.expect("started");
    }
    let follow = async |name| host.client.logs(&id(name), LogSource::Console, true).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(follow("box").await.expect("there is room"));
    }
    let refused = follow("box").await.err();
    assert!(matches!(&refused, Some(HostError::NoRoom(why)) if why.contains("16 streams")), "{refused:?}");
    drop(follow("other").await.expect("another's are counted apart"));
    open.pop();
    open.push(eventually("there is room again", async || follow("box").await.ok()).await);
    host.client.stop(&id("box"), Seconds(1)).await.expect("stopped");
    // What has come to its end has no place any more, though its reader is still there.
    drop(eventually("one has ended", async || follow("box").await.ok()).await);
    host.stop().await;
}

#[tokio::test]
async fn connections_that_nobody_reads_hold_nobody_else_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    host.client.create(request("box", login())).await.expect("created");
    host.client.start(&id("box")).await.expect("started");
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let mut stream = host.client.connect(&id("box"), 7).await.expect("connected");
        let sent = sent.clone();
        tokio::spawn(async move {
            while stream.write_all(&[0; 16 << 10]).await.is_ok() {
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let seen = Cell::new((0, 0));
    eventually("everything is full", async || {
        let (before, times) = seen.get();
        let now = sent.load(Ordering::SeqCst);
        seen.set((now, if now == before { times + 1 } else { 0 }));
        (now > 0 && times > 20).then_some(())
    })
    .await;
    let others = host.client.create(task("other", &["x"]));
    tokio::time::timeout(support::PATIENCE, others).await.expect("answers").expect("created");
    host.stop().await;
}

#[tokio::test]
async fn a_delete_cuts_a_stop_short() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = fake(folder.path());
    driver.be_stubborn();
    let host = Host::start(folder.path(), vec![driver.clone()]).await;
    host.client.create(request("box", login())).await.expect("created");
    host.client.start(&id("box")).await.expect("started");
    let box_id = id("box");
    let stop = host.client.stop(&box_id, Seconds(3600));
    let delete = async {
        eventually("it is being stopped", async || {
            (host.client.get(&box_id).await.expect("there").phase == Phase::Stopping).then_some(())
        })
        .await;
        host.client.delete(&box_id).await
    };
    let both = async { tokio::join!(stop, delete) };
    let (_, deleted) = tokio::time::timeout(support::PATIENCE, both).await.expect("nobody waits for the grace");
    deleted.expect("deleted");
    host.stop().await;
}

#[tokio::test]
async fn what_cannot_be_seen_after_a_restart_can_still_be_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = host(folder.path()).await;
    first.client.create(request("box", login())).await.expect("created");
    first.client.start(&id("box")).await.expect("started");
    first.stop().await;
    let driver = fake(folder.path());
    driver.be_blind();
    let second = Host::start(folder.path(), vec![driver.clone()]).await;
    let refused = second.client.stop(&id("box"), Seconds(1)).await;
    assert!(matches!(&refused, Err(HostError::Unavailable(why)) if why.contains("delete it")), "{refused:?}");
    second.client.delete(&id("box")).await.expect("deleted");
    assert!(driver.list().expect("listed").is_empty());
    second.stop().await;
}

/// Puts a guest of our own making in the place of a running machine's, which serves each connection with `serve`.
fn replace_guest(folder: &Path, name: &str, serve: impl Fn(UnixStream) + Send + 'static) {
    let socket = folder.join("fake/machines").join(name).join("guest.sock");
    std::fs::remove_file(&socket).expect("the guest listens");
    let listener = UnixListener::bind(&socket).expect("listens");
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
}

fn say(stream: &mut UnixStream, message: &FromGuest) {
    // The host may have hung up already.
    write_frame(stream, message).ok();
}

fn hello(kernel: &str) -> FromGuest {
    FromGuest::Hello { version: 1, boot: "b".into(), kernel: kernel.into() }
}

/// A machine that was adopted while `serve` played its guest.
async fn adopted(
    folder: &Path,
    workload: Workload,
    serve: impl Fn(UnixStream) + Send + 'static,
) -> (Host, Arc<Counting>) {
    let first = host(folder).await;
    first.client.create(request("box", workload)).await.expect("created");
    first.client.start(&id("box")).await.expect("started");
    first.stop().await;
    let driver = fake(folder);
    replace_guest(folder, "box", serve);
    let mut ports = support::ports(folder, vec![driver]).await;
    let records = Arc::new(Counting { inner: ports.records.clone(), saved: AtomicUsize::new(0) });
    ports.records = records.clone();
    (Host::start_on(folder, ports).await, records)
}

async fn gave_up(host: &Host) -> String {
    eventually("it has given up", async || match host.client.get(&id("box")).await.expect("there").guest {
        Guest::GaveUp { reason } => Some(reason),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_guest_that_greets_and_then_talks_nonsense_gives_up_in_few_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let sleeps = Workload::Task { argv: vec!["sleep".into()], cwd: "/".into() };
    let (host, records) = adopted(folder.path(), sleeps, |mut stream| {
        say(&mut stream, &hello("\u{1b}[31m"));
        write_frame(&mut stream, &serde_json::json!({ "type": "x".repeat(500_000) })).ok();
    })
    .await;
    let reason = gave_up(&host).await;
    assert!(reason.contains("breaks the protocol") && reason.len() <= 500, "{} bytes", reason.len());
    assert!(records.saved.load(Ordering::SeqCst) < 6, "each connection must not cost a write");
    host.stop().await;
}

#[tokio::test]
async fn a_guest_says_hello_and_ready_once_a_connection() {
    for twice in [hello("k"), FromGuest::Ready { ssh_host_key: HOST_KEY.into() }] {
        let folder = tempfile::tempdir().expect("a folder");
        let (host, _records) = adopted(folder.path(), login(), move |mut stream| {
            for message in [hello("k"), FromGuest::Ready { ssh_host_key: HOST_KEY.into() }, twice.clone()] {
                say(&mut stream, &message);
            }
            // Held open: only the host ends it.
            std::io::copy(&mut stream, &mut std::io::sink()).ok();
        })
        .await;
        let reason = gave_up(&host).await;
        assert!(reason.contains("second"), "{reason}");
        host.stop().await;
    }
}

#[tokio::test]
async fn what_the_host_cannot_keep_is_not_blamed_on_the_guest() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    // A file in the place of the folder for its output.
    std::fs::create_dir_all(folder.path().join("data/machines")).expect("made");
    std::fs::write(folder.path().join("data/machines/box"), "").expect("written");
    host.client.create(task("box", &["hello"])).await.expect("created");
    host.client.start(&id("box")).await.expect("started");
    let stopped = || async {
        let view = host.client.get(&id("box")).await.expect("there");
        (view.phase == Phase::Stopped).then_some(view)
    };
    let view = eventually("it is stopped", stopped).await;
    assert_eq!((view.guest, view.result), (Guest::Silent, None));
    std::fs::remove_file(folder.path().join("data/machines/box")).expect("removed");
    host.client.start(&id("box")).await.expect("it may run again");
    let done = eventually("it has run", async || {
        Some(host.client.get(&id("box")).await.expect("there")).filter(|view| view.result.is_some())
    });
    assert_eq!(done.await.guest, Guest::Exited { code: 0 });
    host.stop().await;
}

/// A store that counts what is written.
struct Counting {
    inner: Arc<dyn Records>,
    saved: AtomicUsize,
}

#[async_trait::async_trait]
impl Records for Counting {
    async fn load(&self) -> Result<Vec<Record>, PortError> {
        self.inner.load().await
    }

    async fn save(&self, record: &Record) -> Result<(), PortError> {
        self.saved.fetch_add(1, Ordering::SeqCst);
        self.inner.save(record).await
    }

    async fn remove(&self, id: &MachineId) -> Result<(), PortError> {
        self.inner.remove(id).await
    }
}

/// A store that can be told to fail.
struct Failing {
    inner: Arc<dyn Records>,
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl Records for Failing {
    async fn load(&self) -> Result<Vec<Record>, PortError> {
        self.inner.load().await
    }

    async fn save(&self, record: &Record) -> Result<(), PortError> {
        if self.fails.load(Ordering::SeqCst) { Err("the disk is full".into()) } else { self.inner.save(record).await }
    }

    async fn remove(&self, id: &MachineId) -> Result<(), PortError> {
        if self.fails.load(Ordering::SeqCst) { Err("the disk is full".into()) } else { self.inner.remove(id).await }
    }
}

#[tokio::test]
async fn what_cannot_be_stored_does_not_happen() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = fake(folder.path());
    let mut ports = support::ports(folder.path(), vec![driver.clone()]).await;
    let records = Arc::new(Failing { inner: ports.records.clone(), fails: AtomicBool::new(false) });
    ports.records = records.clone();
    let host = Host::start_on(folder.path(), ports).await;
    let client = &host.client;
    client.create(request("kept", login())).await.expect("created");

    records.fails.store(true, Ordering::SeqCst);
    let refused = client.create(request("lost", login())).await.expect_err("not stored");
    assert!(matches!(&refused, HostError::Failed(text) if text.contains("disk is full")), "{refused}");
    let refused = client.start(&id("kept")).await.expect_err("not stored");
    assert!(matches!(&refused, HostError::Failed(text) if text.contains("nothing was done")), "{refused}");
    assert_eq!(driver.observe(&id("kept")).expect("seen"), Observed::Stopped);
    assert_eq!(client.report().await.expect("a report").free.memory, MiB(1024 - 128), "nothing is taken for it");

    records.fails.store(false, Ordering::SeqCst);
    client.start(&id("kept")).await.expect("starts now");
    client.create(request("lost", login())).await.expect("created now");
    host.stop().await;
}

#[tokio::test]
async fn the_same_request_twice_at_once_makes_one_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = host(folder.path()).await;
    let create = || host.client.create(request("one", login()));
    let (first, second) = tokio::join!(create(), create());
    assert_eq!(first.expect("created"), second.expect("created"));
    let one = id("one");
    let (deleted, again) = tokio::join!(host.client.delete(&one), host.client.delete(&one));
    deleted.expect("deleted");
    again.expect("deleted");
    assert_eq!(host.client.report().await.expect("a report").free.memory, MiB(1024));
    host.stop().await;
}
