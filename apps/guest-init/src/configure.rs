//! Carrying out what is common to every workload, after checking all of it. The host is trusted to be well meant,
//! not to be free of mistakes.

use std::fs;

use sublet_wire::guest::{CHUNK, Configure, File, Workload};

use crate::files;
use crate::layout::{Layout, Place};
use crate::vm;

/// Checks a wish without doing anything.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn check(wish: &Configure) -> Result<(), String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let name = wish.hostname.as_bytes();
    if name.is_empty() || name.len() > 63 || !name.iter().all(|&c| plain(c)) || name.starts_with(b"-") {
        return Err(format!("{:?} is no host name", wish.hostname));
    }
    for entry in &wish.env {
        let name = entry.split_once('=').map_or("", |(name, _)| name);
        let good = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if name.is_empty()
            || !name.bytes().all(good)
            || name.as_bytes()[0].is_ascii_digit()
            || entry.contains(['\0', '\n', '\r'])
        {
            return Err(format!("{entry:?} is not of the form NAME=value"));
        }
    }
    wish.files.iter().try_for_each(check_file)?;
    match &wish.workload {
        Workload::Login { authorized_keys } => check_keys(authorized_keys),
        Workload::Task { argv, cwd } => {
            if argv.first().is_none_or(String::is_empty) || argv.iter().any(|arg| arg.contains('\0')) {
                return Err("a task needs a program, and arguments without zero bytes".to_owned());
            }
            if !(cwd.is_empty() || cwd.starts_with('/')) || cwd.contains('\0') {
                return Err(format!("{cwd:?} is no working directory"));
            }
            Ok(())
        }
    }
}

/// Checks lines of `authorized_keys`.
///
/// # Errors
/// What is wrong with them, in a sentence.
pub(crate) fn check_keys(keys: &[String]) -> Result<(), String> {
    match keys.iter().find(|key| key.contains(['\n', '\r', '\0'])) {
        Some(key) => Err(format!("{key:?} is not one line")),
        None => Ok(()),
    }
}

fn check_file(file: &File) -> Result<(), String> {
    let path = &file.path;
    let parts = path.strip_prefix('/').unwrap_or("").split('/');
    if path.contains('\0') || parts.clone().any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{path:?} is no absolute path to a file"));
    }
    if file.content.len() > CHUNK {
        return Err(format!("{path} is longer than {CHUNK} bytes"));
    }
    Ok(())
}

/// Names the machine, limits its processes and writes its files.
///
/// # Errors
/// What could not be done, in a sentence.
pub(crate) fn apply(layout: &Layout, wish: &Configure) -> Result<(), String> {
    if layout.place == Place::VirtualMachine {
        // In a container the runtime did these.
        fs::write("/proc/sys/kernel/hostname", &wish.hostname).map_err(|e| format!("cannot set the host name: {e}"))?;
        let limit = format!("{}/pids.max", vm::WORKLOAD_GROUP);
        fs::write(limit, wish.pids.max(1).to_string()).map_err(|e| format!("cannot limit processes: {e}"))?;
        let hosts =
            format!("127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost ip6-localhost ip6-loopback\n", wish.hostname);
        for (path, text) in [("/etc/hosts", hosts), ("/etc/hostname", format!("{}\n", wish.hostname))] {
            files::replace(&layout.path(path), 0o644, text.as_bytes())
                .map_err(|e| format!("cannot write {path}: {e}"))?;
        }
    }
    for file in &wish.files {
        files::replace(&layout.path(&file.path), file.mode, file.content.as_bytes())
            .map_err(|e| format!("cannot write {}: {e}", file.path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Configure {
        Configure {
            hostname: "job-7".into(),
            workload: Workload::Task { argv: vec!["true".into()], cwd: String::new() },
            env: vec!["A=b=c".into()],
            files: vec![File { path: "/etc/x".into(), mode: 0o600, content: "x".into() }],
            pids: 10,
        }
    }

    #[test]
    fn only_wishes_that_can_be_carried_out_pass() {
        assert_eq!(check(&wish()), Ok(()));
        let spoil: [fn(&mut Configure); 11] = [
            |w| w.hostname = String::new(),
            |w| w.hostname = "a\nb".into(),
            |w| w.env.push("no value".into()),
            |w| w.env.push("1A=x".into()),
            |w| w.env.push("A=x\ny".into()),
            |w| w.files[0].path = "relative".into(),
            |w| w.files[0].path = "/etc/../../x".into(),
            |w| w.files[0].path = "/".into(),
            |w| w.files[0].content = "x".repeat(CHUNK + 1),
            |w| w.workload = Workload::Task { argv: vec![], cwd: String::new() },
            |w| w.workload = Workload::Login { authorized_keys: vec!["a\nb".into()] },
        ];
        for (index, spoil) in spoil.iter().enumerate() {
            let mut bad = wish();
            spoil(&mut bad);
            assert!(check(&bad).is_err(), "case {index} should be refused");
        }
    }
}
