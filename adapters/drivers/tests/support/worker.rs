//! The only program in the tests' image: tries, from inside a machine, what a machine must and must not be able to do.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    match words[..] {
        ["echo-port", port] => echo(&format!("0.0.0.0:{port}")),
        ["eat-memory", mib] => eat_memory(mib),
        ["eat", mib] => drop(std::hint::black_box(vec![1u8; number(mib) << 20])),
        ["fork", count] => fork(number(count)),
        ["fill-disk", mib] => fill_disk(number(mib)),
        ["look"] => print!("{}", look()),
        ["privileges"] => println!("{}", privileges()),
        ["remember"] => remember(),
        ["sleep"] => loop {
            std::thread::park();
        },
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn echo(address: &str) {
    let listener = TcpListener::bind(address).expect("lo is up");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accepted");
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count]).expect("sent");
        }
    }
}

fn eat_memory(mib: &str) {
    let status = Command::new("/bin/worker").args(["eat", mib]).status().expect("ran");
    println!("{}", if status.signal() == Some(9) { "killed" } else { "fed" });
}

fn fork(count: usize) {
    let mut children = Vec::new();
    for _ in 0..count {
        match Command::new("/bin/worker").arg("sleep").spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    println!("{}", if children.len() < count { "refused" } else { "allowed" });
    for mut child in children {
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}

fn fill_disk(mib: usize) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open("/tmp/full").expect("opened");
    let full = (0..mib).any(|_| file.write_all(&[7; 1 << 20]).is_err());
    println!("{}", if full { "full" } else { "fits" });
}

/// What it finds that it should not have, or `none`.
fn privileges() -> String {
    let mut found = Vec::new();
    let status = fs::read_to_string("/proc/self/status").expect("status");
    for wanted in ["NoNewPrivs:\t1", "Seccomp:\t2", "Groups:\t \n"] {
        if !status.contains(wanted) {
            found.push(format!("not {wanted}"));
        }
    }
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("capabilities");
    // Neither of the administrator's capabilities: net_admin 12, sys_module 16, sys_rawio 17, sys_ptrace 19, sys_admin 21.
    let bits = u64::from_str_radix(bounding, 16).expect("hex");
    found.extend([12, 16, 17, 19, 21].iter().filter(|bit| bits >> **bit & 1 == 1).map(|bit| format!("capability {bit}")));
    let map = fs::read_to_string("/proc/self/uid_map").expect("map");
    if map.split_whitespace().nth(1) == Some("0") {
        found.push("root of the host".to_owned());
    }
    let interfaces: Vec<_> = fs::read_dir("/sys/class/net").expect("net").map(|e| e.expect("entry").file_name()).collect();
    if interfaces != ["lo"] {
        found.push(format!("interfaces {interfaces:?}"));
    }
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        if OpenOptions::new().write(true).open(path).is_ok() {
            found.push(format!("may write {path}"));
        }
    }
    if fs::read("/proc/kcore").is_ok_and(|content| !content.is_empty()) {
        found.push("may read the kernel's memory".to_owned());
    }
    if fs::write("/run/sublet/init", b"x").is_ok() {
        found.push("may change the init".to_owned());
    }
    if fs::write("/run/sublet/fill", vec![0; 4 << 20]).is_ok() {
        found.push("may fill the host's disk".to_owned());
    }
    // Owners look as in the image, and what it writes is its own.
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/bin/worker").expect("metadata"));
    if owner != 0 || fs::write("/bin/new", b"x").is_err() {
        found.push(format!("files belong to {owner}"));
    }
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

/// What must not depend on who runs the machine.
fn look() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|e| format!("{e}\n"));
    let status = read("/proc/self/status");
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
    let processors: u32 = line("Cpus_allowed:").split(',').map(|word| u32::from_str_radix(word, 16).expect("hex").count_ones()).sum();
    let mut text = format!("processors {processors}\numask {}\ngroups {:?}\n", line("Umask:"), line("Groups:"));
    for path in ["/proc/sys/kernel/hostname", "/etc/hostname", "/etc/hosts", "/proc/self/limits"] {
        text.push_str(&read(path));
    }
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    // What two machines of one host have alike, and other hosts' perhaps not.
    format!("{text}--\n{}{}--\n{age}\n", read("/proc/self/cgroup"), mounts(&read("/proc/self/mountinfo")))
}

/// Without numbers the kernel gives out: of mounts, of devices, of peer groups.
fn mounts(info: &str) -> String {
    info.lines().map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn remember() {
    let known = fs::metadata("/root/note").is_ok();
    fs::write("/root/note", b"x").expect("written");
    println!("{}", if known { "found" } else { "written" });
}
