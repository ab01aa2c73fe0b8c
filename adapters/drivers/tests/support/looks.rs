//! What a task finds in its machine, whichever driver runs it and whoever asked for it.

/// Of a machine with one processor whose host name is `job`, as the worker's `look` says it.
pub(crate) const LOOKS: &str = "\
processors 1
umask 0022
groups \"\"
job
job
127.0.0.1 localhost
127.0.1.1 job
::1 localhost ip6-localhost ip6-loopback
";

/// The parts of what the worker's `look` says: what all machines have alike, what those of one host have, and the time.
pub(crate) fn parts(look: &str) -> [String; 3] {
    let parts: Vec<&str> = look.split("--\n").collect();
    let [all, host, time] = parts[..] else { panic!("three parts: {look}") };
    [all, host, time].map(str::to_owned)
}

/// A line of `/proc/PID/limits`: name, soft and hard limit.
pub(crate) fn limit(all: &str, name: &str) -> [String; 2] {
    let line = all.lines().find_map(|line| line.strip_prefix(name)).expect("the limit is there");
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().expect("soft"), words.next().expect("hard")]
}
