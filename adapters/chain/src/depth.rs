//! How deep a block must lie before it counts.

use serde::{Deserialize, Serialize};

/// How deep a block must lie before what it says is acted on: `newest`, `safe`, `finalized`, or a number of confirmations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Not at all. For chains whose blocks are never replaced, such as a local one.
    Newest,
    /// As deep as the chain calls safe.
    #[default]
    Safe,
    /// As deep as the chain calls final.
    Finalized,
    /// With this many blocks on top.
    #[serde(untagged)]
    Confirmations(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_word_or_a_number() -> Result<(), serde_json::Error> {
        let all = [
            (Depth::Newest, r#""newest""#),
            (Depth::Safe, r#""safe""#),
            (Depth::Finalized, r#""finalized""#),
            (Depth::Confirmations(12), "12"),
        ];
        for (depth, text) in all {
            assert_eq!(serde_json::to_string(&depth)?, text);
            assert_eq!(serde_json::from_str::<Depth>(text)?, depth);
        }
        for other in [r#""latest""#, "-1", r#""12""#, "null"] {
            assert!(serde_json::from_str::<Depth>(other).is_err(), "{other}");
        }
        Ok(())
    }
}
