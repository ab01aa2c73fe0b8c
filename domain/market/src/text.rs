//! Checks on text that strangers send.

use thiserror::Error;

/// Why a piece of text is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadText {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Too many characters.
    #[error("has {length} characters; the most is {max}")]
    TooLong {
        /// How many.
        length: usize,
        /// The most.
        max: usize,
    },
    /// A control character, which could hide or change what people see.
    #[error("contains the control character U+{0:04X}")]
    Control(u32),
    /// Syntax some template language would act on.
    #[error("contains template syntax `{0}`")]
    Template(&'static str),
    /// Syntax a shell would act on.
    #[error("contains shell syntax `{0}`")]
    Shell(&'static str),
    /// A character outside the allowed set.
    #[error("contains `{character}`, which is not among the allowed characters {allowed}")]
    NotAllowed {
        /// The first one.
        character: char,
        /// The set, as the module writes it.
        allowed: String,
    },
    /// Would be taken for an option by the program it is passed to.
    #[error("starts with `-`, which the program would take for an option")]
    Option,
    /// Not in the form it should have.
    #[error("is not {0}")]
    Form(&'static str),
}

/// Refuses text longer than `max` characters or with a control character other than those in `except`.
///
/// # Errors
/// [`BadText`].
pub fn plain(text: &str, max: usize, except: &[char]) -> Result<(), BadText> {
    let length = text.chars().count();
    if length > max {
        return Err(BadText::TooLong { length, max });
    }
    // Besides control characters: the invisible ones that reorder text or end lines.
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    match text.chars().find(|c| hidden(*c) && !except.contains(c)) {
        Some(c) => Err(BadText::Control(u32::from(c))),
        None => Ok(()),
    }
}

/// A name such as `cowsay` or `max-width`: 1 to 63 of `a-z`, `0-9`, `-` and `_`, starting with a letter.
///
/// # Errors
/// [`BadText`].
pub fn name(text: &str) -> Result<(), BadText> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    match text.as_bytes() {
        [] => Err(BadText::Empty),
        [first, rest @ ..] if first.is_ascii_lowercase() && rest.len() < 63 && rest.iter().all(|&b| inner(b)) => Ok(()),
        _ => Err(BadText::Form("a name of 1 to 63 of a-z, 0-9, - and _, starting with a letter")),
    }
}

/// The first template syntax in `text`, if any.
#[must_use]
pub fn template_syntax(text: &str) -> Option<&'static str> {
    ["{{", "}}", "{%", "%}", "{#", "#}"].into_iter().find(|s| text.contains(s))
}

/// The first shell substitution in `text`, if any.
#[must_use]
pub fn shell_syntax(text: &str) -> Option<&'static str> {
    ["$(", "${", "`"].into_iter().find(|s| text.contains(s))
}
