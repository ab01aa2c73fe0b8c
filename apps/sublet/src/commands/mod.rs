//! One file a command. Each has `Args` with its flags and help, and `run`.

pub(crate) mod account;
pub(crate) mod completions;
pub(crate) mod contract;
pub(crate) mod doctor;
pub(crate) mod forward;
pub(crate) mod gateway;
pub(crate) mod host;
pub(crate) mod jobs;
pub(crate) mod leases;
pub(crate) mod logs;
pub(crate) mod machine;
pub(crate) mod market;
pub(crate) mod mediator;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod rent;
pub(crate) mod run;
pub(crate) mod solver;
pub(crate) mod ssh;
pub(crate) mod up;
