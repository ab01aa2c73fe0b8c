//! How many blocks to ask about at once, where a node limits how much it searches and nobody says by how much.

use crate::node::ReadError;

/// A run of blocks that shrinks when it was too much and grows back, slowly, while it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    now: u64,
    most: u64,
}

impl Span {
    pub(crate) fn new(most: u64) -> Self {
        let most = most.max(1);
        Self { now: most, most }
    }

    /// The last block of a run that begins at `from`.
    pub(crate) fn last(self, from: u64) -> u64 {
        from.saturating_add(self.now - 1)
    }

    /// The first block of a run that ends at `to`.
    pub(crate) fn first(self, to: u64) -> u64 {
        to.saturating_sub(self.now - 1)
    }

    /// `asked` blocks were answered. By a quarter, so that a limit is not hit at every other question.
    pub(crate) fn grow(&mut self) {
        self.now = self.now.saturating_add(self.now / 4 + 1).min(self.most);
    }

    /// Halves what was asked; false if the error is about something else, or it cannot be less.
    pub(crate) fn shrink(&mut self, asked: u64, error: &ReadError) -> bool {
        if asked <= 1 || !error.is_too_much() {
            return false;
        }
        self.now = asked.div_ceil(2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(code: i64, message: &str) -> ReadError {
        ReadError::Node { doing: "read events", code, message: message.to_owned() }
    }

    #[test]
    fn it_shrinks_for_a_range_only_and_grows_back() {
        let mut span = Span::new(1000);
        assert!(!span.shrink(1000, &node(-32005, "daily request count exceeded, request rate limited")));
        assert!(!span.shrink(1000, &node(429, "Too Many Requests")));
        assert_eq!(span, Span::new(1000));
        assert!(span.shrink(1000, &node(-32005, "query returned more than 10000 results")));
        assert!(span.shrink(500, &node(-32600, "block range is too wide")));
        assert_eq!((span.first(1000), span.last(1)), (751, 250));
        assert!(!span.shrink(1, &node(-32000, "block range is too wide")), "one block is the least");
        for _ in 0..8 {
            span.grow();
        }
        assert_eq!(span, Span::new(1000));
    }
}
