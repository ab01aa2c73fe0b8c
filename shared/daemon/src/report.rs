//! Errors for people: the whole chain of causes, and what to do next.

use std::error::Error;
use std::fmt;

type Cause = Box<dyn Error + Send + Sync>;

/// An error with advice. Prints as the error it wraps; [`report`] adds the advice at the end.
pub struct Advised {
    error: Cause,
    next: String,
}

impl Advised {
    /// What to do next, as a sentence or a command.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advised").field("error", &self.error).field("next", &self.next).finish()
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds advice to an error.
pub trait NextStep<T> {
    /// `next`: a sentence or command, as in ``run `sublet doctor` to see why``.
    ///
    /// # Errors
    /// The same error, with advice.
    fn next_step(self, next: impl FnOnce() -> String) -> Result<T, Advised>;
}

impl<T, E: Into<Cause>> NextStep<T> for Result<T, E> {
    fn next_step(self, next: impl FnOnce() -> String) -> Result<T, Advised> {
        self.map_err(|error| Advised { error: error.into(), next: next() })
    }
}

/// The error, its causes one a line, and the first advice found on the way.
#[must_use]
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut previous = text.clone();
    let mut next = None;
    let mut rest = Some(error);
    while let Some(cause) = rest {
        rest = cause.source();
        next = next.or_else(|| cause.downcast_ref::<Advised>().map(Advised::next));
        let line = cause.to_string();
        // Some libraries print their source inside their own text; saying it twice helps nobody.
        if !previous.ends_with(&line) {
            text.push_str("\n  because: ");
            text.push_str(&line);
            previous = line;
        }
    }
    if let Some(next) = next {
        text.push_str("\n  next: ");
        text.push_str(next);
    }
    text
}

/// An error and what caused it, on one line, without repeating what an error says of its own cause.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the lease")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the chain is not reachable")]
    struct Inner(#[source] std::io::Error);

    fn failing() -> Result<(), Outer> {
        Err(Outer(Inner(std::io::Error::other("connection refused"))))
    }

    #[test]
    fn a_report_has_every_cause_once_and_the_advice_last() {
        let error = failing().next_step(|| "start it with `sublet up`".into()).unwrap_err();
        let expected = "cannot open the lease\n  because: the chain is not reachable\n  because: connection refused\n  \
                        next: start it with `sublet up`";
        assert_eq!(report(&error), expected);
    }

    #[test]
    fn advice_deep_in_the_chain_is_found() {
        let deep = failing().next_step(|| "look there".into()).unwrap_err();
        #[derive(Debug, thiserror::Error)]
        #[error("cannot rent")]
        struct Rent(#[source] Advised);
        let outer = Rent(deep);
        assert!(report(&outer).ends_with("next: look there"), "{}", report(&outer));
    }
}
