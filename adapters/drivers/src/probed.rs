//! What a probe found. A success holds; a failure only for a while, because people put right what it says.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sublet_machine::Unusable;

/// How long a failure is believed.
const BELIEVED: Duration = Duration::from_secs(60);

/// The last result.
#[derive(Debug)]
pub(crate) struct Probed<T> {
    last: Mutex<Option<(Instant, Result<T, Unusable>)>>,
    believed: Duration,
}

impl<T: Clone> Probed<T> {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(None), believed: BELIEVED }
    }

    /// What is known, or what `probe` finds. Whoever asks meanwhile waits for it.
    pub(crate) fn get(&self, probe: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((_, Ok(found))) => return Ok(found.clone()),
            Some((then, Err(unusable))) if then.elapsed() < self.believed => return Err(unusable.clone()),
            _ => {}
        }
        let found = probe();
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_kept_and_a_failure_is_tried_again_after_a_while() {
        let failing = || Err(Unusable { reason: "no".into(), remedy: "do".into() });
        let patient = Probed::new();
        assert!(patient.get(failing).is_err());
        assert!(patient.get(|| Ok(1)).is_err(), "asked again too soon");
        let eager = Probed { believed: Duration::ZERO, ..Probed::new() };
        assert!(eager.get(failing).is_err());
        assert_eq!(eager.get(|| Ok(1)), Ok(1));
        assert_eq!(eager.get(failing), Ok(1), "asked again for nothing");
    }
}
