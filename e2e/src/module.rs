//! A module that takes its time, so that something can happen meanwhile.

use std::path::Path;

use anyhow::Result;

/// Writes `slow.toml` into a folder: sleeps for `seconds`, then prints its input `word`. It may take `duration` seconds.
pub fn slow(folder: &Path, seconds: u32, duration: u32) -> Result<()> {
    let text = format!(
        r#"
schema = 1
name = "slow"
version = "1.0.0"
summary = "Takes its time"
argv = ["/usr/bin/perl", "-e", "sleep {seconds}; print @ARGV", "{{{{ inputs.word }}}}"]
class = "none"
[image]
name = "cowsay"
[inputs.word]
summary = "What to print in the end"
required = true
[resources]
vcpus = 1
memory_mib = 128
disk_gib = 1
gpus = 0
traits = "0x0000000000000000000000000000000000000000000000000000000000000000"
[defaults]
max_price = "1000000000000000"
duration = {duration}
"#
    );
    Ok(std::fs::write(folder.join("slow.toml"), text)?)
}

/// Writes `late.toml` into a folder: takes `seconds`, then has a cow say its input `message`; exact.
pub fn late_cow(folder: &Path, seconds: u32) -> Result<()> {
    let text = format!(
        r#"
schema = 1
name = "late"
version = "1.0.0"
summary = "A cow that thinks first"
argv = ["/usr/bin/perl", "-e", "sleep {seconds}; exec '/usr/games/cowsay', '--', @ARGV", "{{{{ inputs.message }}}}"]
class = "exact"
[image]
name = "cowsay"
[env]
PATH = "/usr/games:/usr/bin:/bin"
LC_ALL = "C.UTF-8"
[inputs.message]
summary = "What the cow says"
required = true
[resources]
vcpus = 1
memory_mib = 128
disk_gib = 1
gpus = 0
traits = "0x0000000000000000000000000000000000000000000000000000000000000000"
[defaults]
max_price = "1000000000000000"
duration = 60
"#
    );
    Ok(std::fs::write(folder.join("late.toml"), text)?)
}
