//! `cargo xtask tidy`: what no compiler checks. Rust files say what they are for, hold nothing unfinished and stay short;
//! no file names a place that exists on one computer only.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Lines after which a Rust file is worth a second look.
const LONG: usize = 600;
/// Lines a Rust file may not have.
const TOO_LONG: usize = 1000;
/// Texts with a reason against them, in any file of ours. Written in halves so that this file passes.
const FORBIDDEN: [(&str, &str, &str); 4] = [
    ("/root/", ".c", "a path of one computer"),
    ("/ho", "me/", "a path of one computer"),
    ("deb.debian", ".org", "a package source; use the machine's own"),
    ("registry.npmjs", ".org", "a package source; use the machine's own"),
];
/// The same for Rust files.
const UNFINISHED: [(&str, &str, &str); 3] = [
    ("todo", "!(", "unfinished code"),
    ("unimplemented", "!(", "unfinished code"),
    ("#[igno", "re", "a test that does not run"),
];

/// What one file is guilty of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Fails with everything that is untidy; warns of long files.
pub(crate) fn run(repository: &Path) -> Result<()> {
    let mut findings = Findings::default();
    let paths = files(repository)?;
    for path in &paths {
        // Deleted but not yet committed, or not text.
        if let Ok(content) = fs::read_to_string(repository.join(path)) {
            inspect(path, &content, &mut findings);
        }
    }
    findings.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    if !findings.errors.is_empty() {
        bail!("{} things are untidy:\n  {}", findings.errors.len(), findings.errors.join("\n  "));
    }
    eprintln!("tidy: {} files", paths.len());
    Ok(())
}

/// Every file git keeps or would keep.
fn files(repository: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(repository).output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect())
}

fn inspect(path: &str, content: &str, findings: &mut Findings) {
    let is_rust = path.ends_with(".rs");
    if is_rust && !content.starts_with("//!") {
        findings.errors.push(format!("{path}:1: does not start with //! and what it is for"));
    }
    let length = content.lines().count();
    if is_rust && length > TOO_LONG {
        findings.errors.push(format!("{path}: {length} lines; split it (at most {TOO_LONG})"));
    } else if is_rust && length > LONG {
        findings.warnings.push(format!("{path}: {length} lines; look again at {LONG}"));
    }
    let rules = FORBIDDEN.iter().chain(UNFINISHED.iter().filter(|_| is_rust));
    for (first, second, why) in rules {
        let text = format!("{first}{second}");
        let hits = content.lines().enumerate().filter(|(_, line)| line.contains(&text));
        findings.errors.extend(hits.map(|(number, _)| format!("{path}:{}: {text}: {why}", number + 1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, content: &str) -> Findings {
        let mut findings = Findings::default();
        inspect(path, content, &mut findings);
        findings
    }

    #[test]
    fn this_repository_is_tidy() {
        run(&crate::repository()).unwrap();
    }

    #[test]
    fn every_rule_can_fail() {
        assert_eq!(findings("a.rs", "//! Fine.\n"), Findings::default());
        assert_eq!(findings("a.md", "No header needed.\n"), Findings::default());
        assert_eq!(findings("a.rs", "fn main() {}\n").errors.len(), 1);
        for (first, second, _) in FORBIDDEN {
            assert_eq!(findings("a.md", &format!("x {first}{second} y")).errors.len(), 1, "{first}{second}");
        }
        for (first, second, _) in UNFINISHED {
            assert_eq!(findings("a.rs", &format!("//! A.\n{first}{second}")).errors.len(), 1, "{first}{second}");
        }
        let lines = |count: usize| format!("//! A.\n{}", "\n".repeat(count - 1));
        assert_eq!(findings("a.rs", &lines(LONG)), Findings::default());
        assert_eq!(findings("a.rs", &lines(LONG + 1)).warnings.len(), 1);
        assert_eq!(findings("a.rs", &lines(TOO_LONG + 1)).errors.len(), 1);
    }
}
