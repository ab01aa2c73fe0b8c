//! The host's interface at the door: what is valid comes back the same, what is not is refused by field.

use sublet_base::{B256, Digest, GiB, MiB, Seconds, Vcpus};
use sublet_machine::{Clock, DriverKind, Guest, ImageRef, Phase, Resources};
use sublet_wire::guest::{CHUNK, Configure, File, Workload};
use sublet_wire::host::{MAX_ITEMS, MachineRequest, MachineView, TaskResult, check_keys, v1};

fn request(workload: Workload) -> MachineRequest {
    MachineRequest {
        id: "job-7".parse().expect("a name"),
        resources: Resources { vcpus: Vcpus(2), memory: MiB(512), disk: GiB(3), pids: 99 },
        image: ImageRef { name: "cowsay".into(), digest: Digest([3; 32]) },
        driver: Some(DriverKind::Container),
        guest: Configure {
            hostname: "job-7".into(),
            workload,
            env: vec!["A=b=c".into()],
            files: vec![File { path: "/etc/motd".into(), mode: 0o644, content: "hi".into() }],
            pids: 99,
        },
        clock: Clock::Fixed,
    }
}

fn task() -> MachineRequest {
    request(Workload::Task { argv: vec!["cowsay".into(), "$(moo)".into()], cwd: "/".into() })
}

#[test]
fn requests_come_back_the_same() {
    let login = request(Workload::Login { authorized_keys: vec!["ssh-ed25519 AAAA".into()] });
    for request in [task(), MachineRequest { driver: None, ..login }] {
        let sent = v1::CreateMachineRequest::from(request.clone());
        assert_eq!(MachineRequest::try_from(sent), Ok(request));
    }
}

#[test]
fn each_impossible_field_is_named() {
    type Spoil = fn(&mut v1::CreateMachineRequest);
    let cases: [(&str, Spoil); 15] = [
        ("name", |r| r.name = "../up".into()),
        ("resources", |r| r.resources = None),
        ("resources.vcpus", |r| r.resources = Some(v1::Resources { vcpus: 0, memory_mib: 1, disk_gib: 1, pids: 8 })),
        ("resources.memory_mib", |r| {
            r.resources = Some(v1::Resources { vcpus: 1, memory_mib: 0, disk_gib: 1, pids: 8 })
        }),
        ("resources.pids", |r| r.resources = Some(v1::Resources { vcpus: 1, memory_mib: 1, disk_gib: 1, pids: 1 })),
        ("image_digest", |r| r.image_digest = "sha256:../../etc/passwd".into()),
        ("driver", |r| r.driver = 77),
        ("clock", |r| r.clock = 77),
        ("guest", |r| r.guest = None),
        ("guest.workload", |r| r.guest.iter_mut().for_each(|g| g.workload = None)),
        ("guest.hostname", |r| r.guest.iter_mut().for_each(|g| g.hostname = "a b".into())),
        ("guest.env", |r| r.guest.iter_mut().for_each(|g| g.env = vec!["=x".into()])),
        ("guest.files.path", |r| r.guest.iter_mut().for_each(|g| g.files[0].path = "/a/../b".into())),
        ("guest.files.content", |r| r.guest.iter_mut().for_each(|g| g.files[0].content = "x".repeat(CHUNK + 1))),
        ("guest.task.argv", |r| {
            let argv = vec![String::new(); MAX_ITEMS + 1];
            let task = v1::guest::Workload::Task(v1::Task { argv, cwd: String::new() });
            r.guest.iter_mut().for_each(|g| g.workload = Some(task.clone()));
        }),
    ];
    for (field, spoil) in cases {
        let mut sent = v1::CreateMachineRequest::from(task());
        spoil(&mut sent);
        let refused = MachineRequest::try_from(sent).expect_err(field);
        assert_eq!(refused.field, field, "{refused}");
    }
    assert!(check_keys(&["ssh-ed25519 A\nssh-ed25519 B".into()]).is_err(), "two keys in one line");
}

#[test]
fn views_come_back_the_same() {
    let base = MachineView {
        id: "m".parse().expect("a name"),
        driver: DriverKind::Qemu,
        resources: task().resources,
        image: task().image,
        phase: Phase::Running,
        guest: Guest::Silent,
        result: None,
        kernel: Some("6.1.0".into()),
    };
    let result = TaskResult { exit_code: -1, bytes: 9, hash: B256::repeat_byte(5), seconds: Seconds(3) };
    let views = [
        MachineView { guest: Guest::Ready { ssh_host_key: "ssh-ed25519 A".into() }, ..base.clone() },
        MachineView { guest: Guest::Exited { code: -1 }, result: Some(result), phase: Phase::Stopped, ..base.clone() },
        MachineView { guest: Guest::GaveUp { reason: "why".into() }, phase: Phase::Stopped, ..base.clone() },
        MachineView { phase: Phase::Failed("because".into()), ..base.clone() },
        base,
    ];
    for view in views {
        assert_eq!(MachineView::try_from(v1::Machine::from(view.clone())), Ok(view));
    }
}
