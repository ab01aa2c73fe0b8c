//! How many files and connections a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that are enough for every role's connections, and for a host's into every machine.
const DESCRIPTORS: u64 = 65_536;

/// Lets this process have enough descriptors, as far as the system allows.
pub fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(DESCRIPTORS)), hard));
    if let Err(e) = raised {
        tracing::warn!(error = %e, "cannot raise the number of descriptors");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limit_is_raised_and_the_hard_one_is_left() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
        for _ in 0..2 {
            raise_descriptors();
            assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((hard.min(DESCRIPTORS), hard)));
        }
    }
}
