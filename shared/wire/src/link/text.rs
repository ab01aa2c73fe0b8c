//! Text from the other side, made harmless by its type: it ends up on terminals and in `known_hosts`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest sentence kept, characters.
const MAX_SENTENCE: usize = 300;
/// Longest host key, bytes: an RSA key of 16 384 bits has 2 800.
const MAX_HOST_KEY: usize = 4096;
/// Kinds of host key OpenSSH pins.
const KEY_KINDS: [&str; 5] =
    ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];

/// A sentence for people, at most 300 characters. Control characters, with which a stranger could repaint a terminal,
/// become `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Sentence(String);

impl Sentence {
    /// Cleans and shortens `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        Self(text.chars().take(MAX_SENTENCE).map(|c| if hidden(c) { '?' } else { c }).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sentence {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Sentence {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A machine's public ssh host key: kind and base64, as in the second and third column of `known_hosts`; no comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey(String);

/// Text that is not a host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an ssh host key like `ssh-ed25519 AAAA…`")]
pub struct InvalidHostKey;

impl HostKey {
    /// `kind base64`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostKey {
    type Err = InvalidHostKey;

    /// Takes a line of a `.pub` file; its comment is dropped.
    fn from_str(text: &str) -> Result<Self, InvalidHostKey> {
        let mut words = text.trim_end().split(' ');
        let (Some(kind), Some(body)) = (words.next(), words.next()) else { return Err(InvalidHostKey) };
        let blob = data_encoding::BASE64.decode(body.as_bytes()).map_err(|_| InvalidHostKey)?;
        // The blob repeats its kind as a string with a 32-bit length.
        let named =
            blob.strip_prefix(&(kind.len() as u32).to_be_bytes()).is_some_and(|b| b.starts_with(kind.as_bytes()));
        let sane = text.len() <= MAX_HOST_KEY && !text.trim_end().contains(char::is_control);
        if sane && named && KEY_KINDS.contains(&kind) {
            Ok(Self(format!("{kind} {body}")))
        } else {
            Err(InvalidHostKey)
        }
    }
}

impl TryFrom<String> for HostKey {
    type Error = InvalidHostKey;

    fn try_from(text: String) -> Result<Self, InvalidHostKey> {
        text.parse()
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGvhhbEsKTQJz+9BqU8B1FdRgBE3pDBh5U1TADY8EBVV";

    #[test]
    fn sentences_cannot_repaint_a_terminal() {
        assert_eq!(Sentence::new("a\x1b[2Jb\nc\u{202e}").as_str(), "a?[2Jb?c?");
        assert_eq!(Sentence::new(&"é".repeat(1000)).as_str().chars().count(), MAX_SENTENCE);
        let parsed: Sentence = serde_json::from_str(r#""x\u0007""#).unwrap();
        assert_eq!(parsed.as_str(), "x?");
    }

    #[test]
    fn host_keys_cannot_smuggle_lines_into_known_hosts() {
        assert_eq!(KEY.parse::<HostKey>().unwrap().as_str(), KEY);
        assert_eq!(format!("{KEY} root@machine\n").parse::<HostKey>().unwrap().as_str(), KEY);
        let body = &KEY[12..];
        let bad = [
            format!("{KEY}\n* {KEY}"),
            format!("ssh-rsa {body}"),
            format!("@revoked {KEY}"),
            format!("ssh-ed25519 {}!", &body[..20]),
            format!("ssh-ed25519  {body}"),
            "ssh-ed25519".into(),
            String::new(),
            format!("{KEY} {}", "c".repeat(MAX_HOST_KEY)),
        ];
        for bad in bad {
            assert!(bad.parse::<HostKey>().is_err(), "{bad:?} should be refused");
        }
    }
}
