//! Canonical JSON, so that two programs hash the same document to the same 32 bytes.
//!
//! The subset of RFC 8785 the documents need: keys sorted by UTF-16 code units, no white space, whole numbers within
//! ±(2^53 - 1), no floats. Reading accepts nothing but the canonical form itself.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sublet_base::{B256, keccak256};
use thiserror::Error;

/// Longest document taken, bytes.
pub const MAX_DOCUMENT: usize = 256 << 10;
/// Deepest nesting written.
const MAX_DEPTH: usize = 16;
const MAX_WHOLE: u64 = (1 << 53) - 1;

/// Why something has no canonical form, or is not in it.
#[derive(Debug, Error)]
pub enum CanonicalError {
    /// Not JSON, or not this document: an unknown field, a value out of range.
    #[error("the document is not well-formed")]
    Malformed(#[source] serde_json::Error),
    /// The same content, written differently: its hash would be another.
    #[error("the document is not in canonical form")]
    NotCanonical,
    /// A number that other programs might read as another.
    #[error("numbers in a document are whole and within ±(2^53 - 1)")]
    Number,
    /// Nested too deep.
    #[error("the document is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Longer than [`MAX_DOCUMENT`].
    #[error("the document has {0} bytes; the most is {MAX_DOCUMENT}")]
    TooLong(usize),
}

/// The canonical bytes of `document`.
///
/// # Errors
/// [`CanonicalError`] if it has floats, numbers too large, or is too deep or too long.
pub fn to_bytes<T: Serialize>(document: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(document).map_err(CanonicalError::Malformed)?;
    let mut out = String::new();
    write(&value, &mut out, 0)?;
    if out.len() > MAX_DOCUMENT { Err(CanonicalError::TooLong(out.len())) } else { Ok(out.into_bytes()) }
}

/// Reads a document from its canonical bytes and nothing else, so that content and hash determine each other.
///
/// # Errors
/// [`CanonicalError`].
pub fn from_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(CanonicalError::TooLong(bytes.len()));
    }
    let document: T = serde_json::from_slice(bytes).map_err(CanonicalError::Malformed)?;
    if to_bytes(&document)? == bytes { Ok(document) } else { Err(CanonicalError::NotCanonical) }
}

/// The workload hash of canonical bytes: keccak256.
#[must_use]
pub fn hash(bytes: &[u8]) -> B256 {
    keccak256(bytes)
}

fn write(value: &Value, out: &mut String, depth: usize) -> Result<(), CanonicalError> {
    if depth > MAX_DEPTH {
        return Err(CanonicalError::TooDeep);
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_none_or(|m| m > MAX_WHOLE) {
                return Err(CanonicalError::Number);
            }
            out.push_str(&number.to_string());
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write(item, out, depth + 1)?;
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // Another crate may have switched serde_json's map to insertion order: sort here.
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (position, (key, field)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(field, out, depth + 1)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_bytes(value).expect("a canonical form")).expect("UTF-8")
    }

    #[test]
    fn keys_are_sorted_by_utf16_and_text_is_escaped_as_rfc_8785_does() {
        // The RFC's own example of sorting: U+1F600 (surrogates from D83D) comes before U+FB33.
        let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
        let expected = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&json!("\u{20ac}$\u{f}\nA'B\"\\/\u{7f}")), "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\/\u{7f}\"");
        assert_eq!(text(&json!([null, true, -3, []])), "[null,true,-3,[]]");
    }

    #[test]
    fn what_other_programs_might_read_differently_is_refused() {
        assert!(matches!(to_bytes(&json!(1.5)), Err(CanonicalError::Number)));
        assert!(matches!(to_bytes(&json!(1u64 << 53)), Err(CanonicalError::Number)));
        assert!(matches!(to_bytes(&"x".repeat(MAX_DOCUMENT)), Err(CanonicalError::TooLong(_))));
        let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(to_bytes(&deep), Err(CanonicalError::TooDeep)));
        for other in [
            r#"{"b":1,"a":2}"#,
            r#"{"a": 2,"b":1}"#,
            r#"{"a":2,"a":2,"b":1}"#,
            "{\"a\":2,\"b\":1}\n",
            r#"{"\u0061":2,"b":1}"#,
        ] {
            assert!(
                matches!(from_bytes::<BTreeMap<String, u32>>(other.as_bytes()), Err(CanonicalError::NotCanonical)),
                "{other}"
            );
        }
        assert!(from_bytes::<BTreeMap<String, u32>>(br#"{"a":2,"b":1}"#).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(map: BTreeMap<String, Vec<String>>) {
            let bytes = to_bytes(&map).expect("a canonical form");
            prop_assert_eq!(from_bytes::<BTreeMap<String, Vec<String>>>(&bytes).expect("reads"), map);
        }
    }
}
