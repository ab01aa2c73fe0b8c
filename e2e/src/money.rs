//! Amounts as `--json` prints them: whole token units in a string, because JSON's numbers are too short.

use anyhow::{Context, Result};
use serde_json::Value;

/// Units of the token in one SUB.
pub const SUB: u128 = 1_000_000_000_000_000_000;

/// An amount as people read it: SUB, with no more digits than needed.
pub fn tokens(units: u128) -> String {
    let (whole, part) = (units / SUB, units % SUB);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{part:018}").trim_end_matches('0'))
}

/// An amount.
pub fn units(value: &Value) -> Result<u128> {
    let text = value.as_str().with_context(|| format!("not an amount: {value}"))?;
    text.parse().with_context(|| format!("not whole units: {text}"))
}
