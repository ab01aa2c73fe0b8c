//! Results that no host made, for jobs that end by their renter's doing: they ran into their timeout, broke a limit, or
//! asked for what cannot be run. The provider kept its side, so it is paid for the time; the renter gets an archive of the
//! usual form that says why. That of a timeout is the same whoever ran the job, so that mediators can vote for it.

use serde::{Deserialize, Serialize};
use sublet_base::{Seconds, keccak256};
use tar::{Builder, Header};

use crate::host::TaskResult;

/// How a job ended without the host's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// 124 for a timeout, as `timeout(1)` has it; 125 for anything else.
    pub exit_code: i32,
    /// In a sentence; becomes `stderr`.
    pub reason: String,
    /// How long it ran.
    pub used: Seconds,
}

impl Verdict {
    /// It ran longer than it may.
    #[must_use]
    pub fn timeout(after: Seconds) -> Self {
        Self { exit_code: 124, reason: format!("stopped after its timeout of {after}"), used: after }
    }

    /// It cannot be run, or broke a limit.
    #[must_use]
    pub fn gave_up(reason: &str, used: Seconds) -> Self {
        Self { exit_code: 125, reason: reason.chars().take(1000).collect(), used }
    }

    /// The archive: always the same bytes for the same verdict.
    #[must_use]
    pub fn archive(&self) -> Vec<u8> {
        let (code, reason) = (format!("{}\n", self.exit_code), format!("{}\n", self.reason));
        let mut builder = Builder::new(Vec::new());
        for (name, content) in [("exit_code", code.as_str()), ("stdout", ""), ("stderr", reason.as_str())] {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            builder.append_data(&mut header, name, content.as_bytes()).expect("short names, written to memory");
        }
        builder.into_inner().expect("written to memory")
    }

    /// As a host would report it.
    #[must_use]
    pub fn result(&self) -> TaskResult {
        let archive = self.archive();
        let (bytes, hash) = (archive.len() as u64, keccak256(&archive));
        TaskResult { exit_code: self.exit_code, bytes, hash, seconds: self.used }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_reads_like_any_other_result() {
        let verdict = Verdict::timeout(Seconds(60));
        let archive = verdict.archive();
        let mut entries = vec![];
        for entry in tar::Archive::new(archive.as_slice()).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            entries.push((entry.path().expect("a path").display().to_string(), text));
        }
        let expected = [("exit_code", "124\n"), ("stdout", ""), ("stderr", "stopped after its timeout of 60 s\n")];
        assert_eq!(entries, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(verdict.result(), verdict.result());
        assert_eq!(verdict.result().bytes, archive.len() as u64);
    }
}
