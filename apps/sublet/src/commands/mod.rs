//! One file a command. Each has `Args` with its flags and help, and `run`.

pub(crate) mod completions;
