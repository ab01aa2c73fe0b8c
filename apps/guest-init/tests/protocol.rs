//! The init as an ordinary process over a folder, driven through its channel as a host would.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sublet_wire::guest::{Configure, File, FromGuest, MAX_FRAME, Stream, ToGuest, Workload, read_frame, write_frame};

const DEADLINE: Duration = Duration::from_secs(60);

struct Init {
    process: Child,
    folder: tempfile::TempDir,
}

impl Init {
    fn start(extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["tmp", "etc/ssh", "usr/sbin", "usr/bin"] {
            fs::create_dir_all(folder.path().join("root").join(name)).expect("a folder in it");
        }
        let channel = format!("unix:{}", folder.path().join("guest.sock").display());
        let process = Command::new(env!("CARGO_BIN_EXE_sublet-guest-init"))
            .args(["--channel", &channel, "--root"])
            .arg(folder.path().join("root"))
            .args(extra)
            .env("LEAKED", "from the init")
            .stdin(Stdio::null())
            .spawn()
            .expect("the init starts");
        Self { process, folder }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    fn connect(&self) -> UnixStream {
        let stream =
            eventually("the channel answers", || UnixStream::connect(self.folder.path().join("guest.sock")).ok());
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream
    }

    /// A connection past its greeting.
    fn greeted(&self) -> UnixStream {
        let mut stream = self.connect();
        assert!(matches!(hear(&mut stream), FromGuest::Hello { version: 1, .. }));
        stream
    }

    fn write_program(&self, path: &str, script: &str) {
        let path = self.root().join(path);
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // Asked first, so that it ends what it started.
        let _ = signal(self.process.id(), Signal::SIGTERM);
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what} within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

fn hear(stream: &mut UnixStream) -> FromGuest {
    read_frame(stream).expect("a frame")
}

fn say(stream: &mut UnixStream, message: &ToGuest) {
    write_frame(stream, message).expect("the init listens");
}

fn task(script: &str) -> ToGuest {
    ToGuest::Configure(Configure {
        hostname: "job-1".into(),
        workload: Workload::Task { argv: ["/bin/sh", "-c", script].map(String::from).into(), cwd: String::new() },
        env: vec!["GIVEN=yes".into()],
        files: vec![File { path: "/etc/deep/given".into(), mode: 0o640, content: "content".into() }],
        pids: 100,
    })
}

#[derive(Default, Debug, PartialEq)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    artefact: Vec<u8>,
    code: Option<i32>,
}

fn hear_out(stream: &mut UnixStream) -> Heard {
    let mut heard = Heard::default();
    loop {
        match hear(stream) {
            FromGuest::Output { stream: Stream::Stdout, data } => {
                heard.stdout.extend(STANDARD.decode(data).expect("base64"))
            }
            FromGuest::Output { stream: Stream::Stderr, data } => {
                heard.stderr.extend(STANDARD.decode(data).expect("base64"))
            }
            FromGuest::Artefact { data } => heard.artefact.extend(STANDARD.decode(data).expect("base64")),
            FromGuest::Exited { code } => {
                heard.code = Some(code);
                return heard;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// The machine's `/bin/sh`: the folder has no libraries, so it borrows the host's.
fn with_shell(init: &Init) {
    fs::create_dir_all(init.root().join("bin")).expect("a folder");
    init.write_program("bin/sh", "#!/bin/sh\nexec /bin/sh \"$@\"\n");
}

#[test]
fn a_task_is_reported_whole_to_every_connection() {
    let init = Init::start(&[]);
    with_shell(&init);
    let outputs = init.root().join("outputs");
    let script = format!(
        "echo out; echo err >&2; env; cat {}; head -c 300000 /dev/zero; mkdir {o}/d; echo hi > {o}/d/f; exit 7",
        init.root().join("etc/deep/given").display(),
        o = outputs.display()
    );
    let mut first = init.greeted();
    say(&mut first, &task(&script));
    let heard = hear_out(&mut first);
    let text = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert_eq!((heard.code, heard.stderr.as_slice()), (Some(7), b"err\n".as_slice()));
    assert!(text.starts_with("out\n") && text.contains("GIVEN=yes\n") && text.contains("content"), "{}", &text[..200]);
    assert!(!text.contains("LEAKED"), "the init's environment must not reach the task");
    assert!(text.ends_with('\0') && heard.stdout.len() > 300_000);
    let names: Vec<_> = tar::Archive::new(&heard.artefact[..])
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry").path().expect("a path").into_owned())
        .collect();
    assert_eq!(names, [Path::new("d"), Path::new("d/f")]);
    let mode = fs::metadata(init.root().join("etc/deep/given")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);

    drop(first);
    let mut second = init.greeted();
    say(&mut second, &task(&script));
    assert!(hear_out(&mut second) == heard, "a second connection hears the same");
}

#[test]
fn a_host_that_hangs_up_mid_output_misses_nothing() {
    let init = Init::start(&[]);
    with_shell(&init);
    let gate = init.folder.path().join("gate");
    let wish = task(&format!("echo before; while ! [ -e {} ]; do sleep 0.01; done; echo after", gate.display()));
    let mut first = init.greeted();
    say(&mut first, &wish);
    assert!(matches!(hear(&mut first), FromGuest::Output { .. }));
    drop(first);
    let mut second = init.greeted();
    say(&mut second, &wish);
    fs::write(gate, "").expect("the gate");
    let heard = hear_out(&mut second);
    assert_eq!((heard.stdout.as_slice(), heard.code), (b"before\nafter\n".as_slice(), Some(0)));
}

#[test]
fn what_a_task_leaves_behind_is_gone_before_its_end_is_told() {
    let init = Init::start(&[]);
    with_shell(&init);
    let mut stream = init.greeted();
    say(&mut stream, &task("sleep 1000 & echo $!; exit 3"));
    let heard = hear_out(&mut stream);
    assert_eq!(heard.code, Some(3));
    let pid = String::from_utf8_lossy(&heard.stdout).trim().to_owned();
    eventually("the orphan is gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |text| text.contains(") Z ")).then_some(())
    });
}

#[test]
fn wishes_that_cannot_be_met_are_said_and_stay_said() {
    let init = Init::start(&[]);
    let mut stream = init.greeted();
    let wish = Configure {
        hostname: "m".into(),
        workload: Workload::Task { argv: vec!["no-such-program".into()], cwd: String::new() },
        env: vec![],
        files: vec![],
        pids: 1,
    };
    say(&mut stream, &ToGuest::Configure(wish));
    let first = hear(&mut stream);
    assert!(matches!(&first, FromGuest::Failed { reason } if reason.contains("no-such-program")), "{first:?}");
    drop(stream);
    assert_eq!(hear(&mut init.greeted()), first);
}

#[test]
fn another_configuration_is_refused_without_disturbing_the_first() {
    let init = Init::start(&[]);
    with_shell(&init);
    let mut stream = init.greeted();
    let gate = init.folder.path().join("gate");
    say(&mut stream, &task(&format!("while ! [ -e {} ]; do sleep 0.01; done; echo first", gate.display())));
    say(&mut stream, &task("echo second"));
    say(&mut stream, &ToGuest::SetKeys { authorized_keys: vec![] });
    assert!(matches!(hear(&mut stream), FromGuest::Failed { .. }));
    assert!(matches!(hear(&mut stream), FromGuest::Failed { .. }));
    fs::write(gate, "").expect("the gate");
    assert_eq!(hear_out(&mut stream).stdout, b"first\n");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let init = Init::start(&[]);
    let too_long = u32::try_from(MAX_FRAME + 1).expect("fits").to_be_bytes().to_vec();
    let not_json = [&9_u32.to_be_bytes()[..], b"not json!"].concat();
    let other_json = [&2_u32.to_be_bytes()[..], b"{}"].concat();
    for garbage in [vec![0xff; 100_000], too_long, not_json, other_json] {
        let mut stream = init.greeted();
        // The init may hang up before it has everything.
        let _ = stream.write_all(&garbage);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "nothing is said to garbage");
    }
    let mut cut = init.greeted();
    cut.write_all(&[0, 0]).expect("half a length");
    drop(cut);
    init.greeted();
}

/// A server that listens (through this test) and writes its arguments down.
fn with_server(init: &Init) -> TcpListener {
    init.write_program(
        "usr/bin/ssh-keygen",
        "#!/bin/sh\nfor last; do :; done\necho private > \"$last\"\necho ssh-ed25519 AAAAkey comment > \"$last.pub\"\n",
    );
    init.write_program(
        "usr/sbin/sshd",
        &format!(
            "#!/bin/sh\nprintf '%s ' \"$@\" >> {0}/args; echo >> {0}/args\nexec sleep 1000\n",
            init.folder.path().display()
        ),
    );
    TcpListener::bind(("127.0.0.1", 0)).expect("a port")
}

fn login(keys: &[&str]) -> ToGuest {
    ToGuest::Configure(Configure {
        hostname: "m".into(),
        workload: Workload::Login { authorized_keys: keys.iter().map(ToString::to_string).collect() },
        env: vec!["A=\"x\\".into()],
        files: vec![],
        pids: 100,
    })
}

#[test]
fn a_login_machine_reports_its_key_once_its_port_answers_and_keeps_its_server_up() {
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = probe.local_addr().expect("an address").port();
    drop(probe);
    let init = Init::start(&["--ssh-port", &port.to_string()]);
    drop(with_server(&init));
    let mut stream = init.greeted();
    say(&mut stream, &login(&["ssh-ed25519 AAAA me"]));
    let args = init.folder.path().join("args");
    let starts = || fs::read_to_string(&args).map_or(0, |text| text.lines().count());
    eventually("the server is started", || (starts() == 1).then_some(()));
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(read_frame::<FromGuest>(&mut stream).is_err(), "not ready while nothing listens");
    drop(stream);

    let _listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    let mut stream = init.greeted();
    assert_eq!(hear(&mut stream), FromGuest::Ready { ssh_host_key: "ssh-ed25519 AAAAkey".into() });
    let keys = init.root().join("root/.ssh/authorized_keys");
    assert_eq!(fs::read_to_string(&keys).expect("keys"), "ssh-ed25519 AAAA me\n");
    assert_eq!(fs::metadata(&keys).expect("keys").permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&args).expect("args").contains(r#"SetEnv="A=\"x\\""#));

    say(&mut stream, &ToGuest::SetKeys { authorized_keys: vec!["new".into()] });
    eventually("the keys are replaced", || (fs::read_to_string(&keys).ok()? == "new\n").then_some(()));

    let server = eventually("the server's process", || child_of(init.process.id()));
    signal(server, Signal::SIGTERM).expect("the server is there");
    eventually("the server is started again", || (starts() == 2).then_some(()));
}

fn signal(process: u32, signal: Signal) -> nix::Result<()> {
    kill(Pid::from_raw(process.cast_signed()), signal)
}

fn child_of(parent: u32) -> Option<u32> {
    let task = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let threads = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let others = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    std::iter::once(task).chain(others).find_map(|list| list.split_whitespace().next()?.parse().ok())
}

#[test]
fn shutdown_ends_the_workload_and_the_init_by_channel_and_by_signal() {
    for by_signal in [false, true] {
        let mut init = Init::start(&[]);
        with_shell(&init);
        let mut stream = init.greeted();
        say(&mut stream, &task("echo $$; sleep 1000"));
        let FromGuest::Output { data, .. } = hear(&mut stream) else { panic!("no output") };
        let pid = String::from_utf8(STANDARD.decode(data).expect("base64")).expect("text").trim().to_owned();
        if by_signal {
            signal(init.process.id(), Signal::SIGTERM).expect("the init is there");
        } else {
            say(&mut stream, &ToGuest::Shutdown);
        }
        let status = eventually("the init ends", || init.process.try_wait().expect("it is ours"));
        assert!(status.success());
        assert!(!Path::new("/proc").join(pid).exists(), "the task ended with it");
    }
}
