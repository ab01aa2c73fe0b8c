//! The machine's own Debian package sources, so that builds use whatever mirror its owner chose.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

use crate::recipe::RecipeError;

/// What apt prints for each index it knows.
const FORMAT: &str = "$(REPO_URI)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)";

/// Lines of a `sources.list` for `suite`, its updates and its security updates; none if this machine's apt has no such
/// source, in which case mmdebstrap's own default applies.
pub(crate) fn own_sources(suite: &str) -> Result<Option<String>, RecipeError> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", FORMAT, "Created-By: Packages"])
        .output()
        .map_err(|e| RecipeError::Spawn("apt-get", e))?;
    Ok(lines(&String::from_utf8_lossy(&output.stdout), suite))
}

fn lines(targets: &str, suite: &str) -> Option<String> {
    let mut found = BTreeSet::new();
    for target in targets.lines() {
        let fields: Vec<_> = target.split('|').collect();
        if let [uri, "Debian", codename, "main"] = fields[..]
            && (codename == suite
                || codename.strip_prefix(suite).is_some_and(|rest| matches!(rest, "-updates" | "-security")))
        {
            found.insert((codename, uri));
        }
    }
    // Without the suite itself, its updates are of no use.
    found.iter().any(|(codename, _)| *codename == suite).then(|| {
        found.iter().fold(String::new(), |mut text, (codename, uri)| {
            let _ = writeln!(text, "deb {uri} {codename} main");
            text
        })
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn takes_debian_of_that_release_and_nothing_else() {
        let targets = "m://a/debian/|Debian|bookworm|main\nm://a/debian/|Debian|bookworm|contrib\n\
                       m://b/security/|Debian|bookworm-security|main\nm://c/|Docker|bookworm|main\n\
                       m://d/|Debian|trixie|main\nm://e/|Debian Backports|bookworm-backports|main\n";
        let expected = "deb m://a/debian/ bookworm main\ndeb m://b/security/ bookworm-security main\n";
        assert_eq!(lines(targets, "bookworm").as_deref(), Some(expected));
        assert_eq!(lines(targets, "sid"), None);
    }
}
