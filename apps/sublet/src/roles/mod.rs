//! The roles this binary plays, each started the same way by its own `… run` command and, all together, by `sublet up`.

pub(crate) mod chain;
pub(crate) mod court;
pub(crate) mod gateway;
pub(crate) mod host;
pub(crate) mod ledger;
pub(crate) mod local;
pub(crate) mod log;
pub(crate) mod mediator;
pub(crate) mod network;
pub(crate) mod provider;
pub(crate) mod solver;
