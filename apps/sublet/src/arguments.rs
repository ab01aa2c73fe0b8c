//! What people write on the command line: accounts, times, and prices by the hour.

use anyhow::{Context, Result, bail};
use sublet_base::{Address, Amount, Price, Seconds};

/// `0x` and 40 hex digits.
pub(crate) fn address(text: &str) -> Result<Address> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    if digits.len() != 40 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("an address is 0x and 40 hex digits");
    }
    text.parse().context("an address is 0x and 40 hex digits")
}

/// `90s`, `15m`, `4h`, `2d`, or bare seconds.
pub(crate) fn duration(text: &str) -> Result<Seconds> {
    let (digits, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => text.split_at(at),
        None => (text, "s"),
    };
    let factor: u32 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("write a time like 90s, 15m, 4h or 2d"),
    };
    let count: u32 = digits.parse().context("write a time like 90s, 15m, 4h or 2d")?;
    match count.checked_mul(factor) {
        Some(0) | None => bail!("the time must be more than nothing and less than a lifetime"),
        Some(seconds) => Ok(Seconds(seconds)),
    }
}

/// Token units a second, rounded down, so that an hour costs no more than asked.
pub(crate) fn price_of_hour(hour: Amount) -> Price {
    Price(hour.0 / 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("90s").unwrap(), Seconds(90));
        assert_eq!(duration("4h").unwrap(), Seconds(14_400));
        assert_eq!(duration("7").unwrap(), Seconds(7));
        for bad in ["", "h", "-1h", "1.5h", "0s", "4 h", "99999999d", "1w"] {
            assert!(duration(bad).is_err(), "{bad:?} should be refused");
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_one_is() {
        assert_eq!(address(&format!("0x{}", "ab".repeat(20))).unwrap(), Address::repeat_byte(0xab));
        for bad in ["", "0x", "birch", "0x123", &"ab".repeat(21), &format!("0x{}", "zz".repeat(20))] {
            let said = address(bad).unwrap_err().to_string();
            assert_eq!(said, "an address is 0x and 40 hex digits", "{bad:?}");
        }
    }
}
