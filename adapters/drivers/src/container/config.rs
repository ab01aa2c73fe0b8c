//! What becomes a container: its OCI runtime specification.
//!
//! Own user, pid, mount, ipc, uts, cgroup and network namespaces; no capability over the host, because root inside is an
//! ordinary user outside; `no_new_privs`, which OpenSSH as root does not mind; a list of allowed system calls.

use serde_json::{Value, json};
use sublet_machine::MachineSpec;
use sublet_wire::guest::CONTAINER_SOCKET;

use super::limits::{resources, rlimits};

/// Where the init is inside.
pub(super) const INIT: &str = "/run/sublet/init";

const SYSCALLS: &str = include_str!("seccomp.txt");
const ENOSYS: i32 = libc::ENOSYS;

/// Everything that makes or joins a namespace.
const CLONE_NEW: i64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as i64;

/// Enough for sshd and package tools; none reaches outside the user namespace.
const CAPABILITIES: [&str; 12] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Where the host put what the container needs, in the mount namespace it is created from.
pub(super) struct Places<'a> {
    /// Root file system, mounted.
    pub(super) rootfs: &'a str,
    /// Folder with the guest channel.
    pub(super) channel: &'a str,
    /// Our init.
    pub(super) init: &'a str,
    /// Absolute path of the cgroup within each hierarchy.
    pub(super) cgroup: &'a str,
    /// First of the 65536 user and group ids the container's map to.
    pub(super) first_id: u32,
    /// Whether the kernel counts swap.
    pub(super) swap: bool,
}

/// The specification of `spec`'s container.
pub(super) fn runtime_config(spec: &MachineSpec, places: &Places<'_>) -> Value {
    let ids = json!([{ "containerID": 0, "hostID": places.first_id, "size": ID_COUNT }]);
    let namespaces =
        ["user", "pid", "mount", "ipc", "uts", "cgroup", "network"].map(|kind| json!({ "type": kind })).to_vec();
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": places.rootfs, "readonly": false },
        "hostname": spec.hostname,
        "process": process(),
        "mounts": mounts(places),
        "linux": {
            "namespaces": namespaces,
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": places.cgroup,
            "resources": resources(spec, places.swap),
            "rootfsPropagation": "private",
            "seccomp": seccomp(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
                "/sys/devices/virtual/powercap", "/sys/kernel/security",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// User and group ids of each container.
pub(super) const ID_COUNT: u32 = 65_536;

fn process() -> Value {
    json!({
        "terminal": false,
        "user": { "uid": 0, "gid": 0 },
        "cwd": "/",
        "args": [INIT, "--channel", format!("unix:{CONTAINER_SOCKET}")],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "container=sublet"],
        "noNewPrivileges": true,
        "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
        "rlimits": rlimits(),
    })
}

fn mounts(places: &Places<'_>) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=1m"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755", "size=16m"]),
        {
            "destination": "/run/sublet", "type": "bind", "source": places.channel,
            "options": ["bind", "rw", "nosuid", "nodev", "noexec"],
        },
        { "destination": INIT, "type": "bind", "source": places.init, "options": ["bind", "ro", "nosuid", "nodev"] },
    ])
}

fn seccomp() -> Value {
    let words = SYSCALLS.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    let allowed: Vec<&str> = words.collect();
    let flags = |syscall: &str, index: u32| {
        json!({ "names": [syscall], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": index, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] })
    };
    let socket = |family: i32| json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": family, "op": "SCMP_CMP_EQ" }] });
    let personality = |value: u32| {
        json!({ "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }] })
    };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "syscalls": [
            { "names": allowed, "action": "SCMP_ACT_ALLOW" },
            // Its flags are behind a pointer no filter can follow; without it, libraries use clone.
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS },
            flags("clone", 0),
            socket(libc::AF_UNIX), socket(libc::AF_INET), socket(libc::AF_INET6), socket(libc::AF_NETLINK),
            personality(0), personality(0x0008), personality(0x0002_0000), personality(0x0002_0008), personality(0xffff_ffff),
            { "names": ["mount", "umount2", "unshare", "setns", "pivot_root", "reboot", "swapon", "swapoff", "bpf",
                        "settimeofday", "clock_settime", "setdomainname", "syslog", "quotactl", "acct"],
              "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_valid_specification() {
        let spec = crate::fake::example_spec("one");
        let places = Places { rootfs: "/r", channel: "/c", init: "/i", cgroup: "/g", first_id: 1 << 29, swap: true };
        let config = runtime_config(&spec, &places);
        let parsed: libcontainer::oci_spec::runtime::Spec = serde_json::from_value(config).expect("parses");
        let linux = parsed.linux().as_ref().expect("has a linux part");
        assert_eq!(linux.namespaces().as_ref().map(Vec::len), Some(7));
        let pids = linux.resources().as_ref().and_then(|r| r.pids().as_ref().map(|p| p.limit()));
        assert_eq!(pids, Some(i64::from(spec.resources.pids)));
    }
}
