//! Money: whole token units, checked arithmetic, and the decimal form people read and type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::Seconds;

/// Decimals of the token: one SUB is 10^18 units.
pub const TOKEN_DECIMALS: usize = 18;
const UNITS_PER_TOKEN: u128 = 1_000_000_000_000_000_000;

/// An amount of money in token units (10^-18 of a token). The contract's `uint128`.
///
/// Serialises as a decimal string of units, because JSON numbers lose precision above 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

/// Token units a second. The contract's `uint128`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(pub u128);

/// Hundredths of a per cent: 10 000 is the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bps(pub u32);

/// A sum left the range of 0 to 2^128 - 1 units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the amount leaves the range a balance can hold")]
pub struct AmountOverflow;

/// Text that is not an amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not an amount: write tokens like `1.5` with at most 18 decimals, or whole units like `1500u`")]
pub struct InvalidAmount(String);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `whole` tokens.
    #[must_use]
    pub const fn tokens(whole: u64) -> Self {
        Self(whole as u128 * UNITS_PER_TOKEN)
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn plus(self, other: Self) -> Result<Self, AmountOverflow> {
        self.0.checked_add(other.0).map(Self).ok_or(AmountOverflow)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`AmountOverflow`] below zero.
    pub fn minus(self, other: Self) -> Result<Self, AmountOverflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(AmountOverflow)
    }

    /// This share of the amount, rounded down as the contract rounds.
    ///
    /// # Errors
    /// [`AmountOverflow`] if the product with the basis points leaves the range.
    pub fn share(self, bps: Bps) -> Result<Self, AmountOverflow> {
        self.0.checked_mul(u128::from(bps.0)).map(|p| Self(p / 10_000)).ok_or(AmountOverflow)
    }
}

impl Price {
    /// What `length` costs at this price.
    ///
    /// # Errors
    /// [`AmountOverflow`] above 2^128 - 1.
    pub fn over(self, length: Seconds) -> Result<Amount, AmountOverflow> {
        self.0.checked_mul(u128::from(length.0)).map(Amount).ok_or(AmountOverflow)
    }

    /// What an hour costs, for people; saturates.
    #[must_use]
    pub fn per_hour(self) -> Amount {
        Amount(self.0.saturating_mul(3600))
    }
}

impl fmt::Display for Amount {
    /// Tokens with as many decimals as needed: `1.5`, `0`, `0.000000000000000001`. Honours `{:.4}` by truncating.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / UNITS_PER_TOKEN;
        let fraction = format!("{:018}", self.0 % UNITS_PER_TOKEN);
        let kept = match f.precision() {
            Some(digits) => &fraction[..digits.min(TOKEN_DECIMALS)],
            None => fraction.trim_end_matches('0'),
        };
        if kept.is_empty() { f.pad_integral(true, "", &whole.to_string()) } else { write!(f, "{whole}.{kept}") }
    }
}

impl fmt::Display for Price {
    /// As people say it: `0.36 SUB an hour`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} SUB an hour", self.per_hour())
    }
}

impl fmt::Display for Bps {
    /// As a percentage: `125 %`, `0.05 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:02}", self.0 % 100);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{} %", self.0 / 100),
            kept => write!(f, "{}.{kept} %", self.0 / 100),
        }
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let invalid = || InvalidAmount(text.chars().take(40).collect());
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if let Some(units) = text.strip_suffix('u') {
            return if digits(units) { units.parse().map(Self).map_err(|_| invalid()) } else { Err(invalid()) };
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty()
            || !digits(whole)
            || !digits(fraction)
            || fraction.len() > TOKEN_DECIMALS
            || text.ends_with('.')
        {
            return Err(invalid());
        }
        let whole: u128 = whole.parse().map_err(|_| invalid())?;
        let fraction: u128 = format!("{fraction:0<18}").parse().map_err(|_| invalid())?;
        whole.checked_mul(UNITS_PER_TOKEN).and_then(|w| w.checked_add(fraction)).map(Self).ok_or_else(invalid)
    }
}

macro_rules! units_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse()
                    .map(Self)
                    .map_err(|_| serde::de::Error::custom("expected whole token units as a decimal string"))
            }
        }
    };
}

units_as_text!(Amount);
units_as_text!(Price);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_read_and_write_tokens() {
        assert_eq!("1.5".parse(), Ok(Amount(1_500_000_000_000_000_000)));
        assert_eq!("1500u".parse(), Ok(Amount(1500)));
        assert_eq!(Amount::tokens(3).to_string(), "3");
        assert_eq!(Price(100_000_000_000_000).to_string(), "0.36 SUB an hour");
        assert_eq!(Amount(1).to_string(), "0.000000000000000001");
        assert_eq!(format!("{:.2}", Amount(1_239_000_000_000_000_000)), "1.23");
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e3",
            "+1",
            "1.0000000000000000001",
            "999999999999999999999999999999",
            "u",
            "1 ",
        ] {
            assert!(bad.parse::<Amount>().is_err(), "{bad:?} should be refused");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(units: u128) {
            prop_assert_eq!(Amount(units).to_string().parse(), Ok(Amount(units)));
        }

        #[test]
        fn a_share_never_exceeds_the_whole(units in 0..u128::MAX / 10_000, bps in 0u32..=10_000) {
            prop_assert!(Amount(units).share(Bps(bps)).is_ok_and(|s| s <= Amount(units)));
        }
    }
}
