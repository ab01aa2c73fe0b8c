//! What a provider says about itself on chain: the `info` string of its registration, a JSON object.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The contract takes no longer `info`, bytes.
pub const MAX_INFO: usize = 512;

/// A provider's own words. Strangers write these: every field is checked again where it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderInfo {
    /// What it calls itself; at most 63 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// The gateway its link endpoint stays connected to, as `http://host:port`.
    pub relay: String,
}

/// An `info` that says nothing useful.
#[derive(Debug, Error)]
pub enum BadInfo {
    /// Longer than the contract allows.
    #[error("it has {0} bytes; the most is {MAX_INFO}")]
    TooLong(usize),
    /// Not a JSON object with the fields needed.
    #[error("it is not the JSON object expected")]
    Json(#[from] serde_json::Error),
    /// A name nobody should print, or make a folder of.
    #[error("the name is not made of a-z, 0-9 and -, at most 63 of them")]
    Name,
}

impl ProviderInfo {
    /// Reads and checks the text on chain; unknown fields are left to later versions.
    ///
    /// # Errors
    /// [`BadInfo`].
    pub fn parse(text: &str) -> Result<Self, BadInfo> {
        if text.len() > MAX_INFO {
            return Err(BadInfo::TooLong(text.len()));
        }
        let info: Self = serde_json::from_str(text)?;
        info.check()?;
        Ok(info)
    }

    /// The text to register with.
    ///
    /// # Errors
    /// [`BadInfo`] if it would not be readable.
    pub fn to_text(&self) -> Result<String, BadInfo> {
        self.check()?;
        let text = serde_json::to_string(self)?;
        if text.len() > MAX_INFO { Err(BadInfo::TooLong(text.len())) } else { Ok(text) }
    }

    fn check(&self) -> Result<(), BadInfo> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=63).contains(&self.name.len()) && self.name.bytes().all(good) { Ok(()) } else { Err(BadInfo::Name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_smuggle_control_characters_or_length() {
        let info = ProviderInfo { relay: "http://127.0.0.1:1".into(), name: "attic-1".into() };
        let text = info.to_text().expect("it is well-formed");
        assert_eq!(ProviderInfo::parse(&text).ok(), Some(info));
        for bad in ["", "[]", "{}", r#"{"relay":"x","name":"a\u001b[31m"}"#, r#"{"relay":"x","name":""}"#] {
            assert!(ProviderInfo::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(ProviderInfo::parse(&" ".repeat(513)), Err(BadInfo::TooLong(513))));
    }
}
