//! The drivers behind the [`sublet_machine::Driver`] port: one folder each, one conformance suite for all.
//!
//! ```text
//! qemu/        virtual machines          container/  namespaces and cgroups        fake/  files only, for simulation
//! folder.rs    a machine's folder, spec and lock              disk.rs     its writable disk
//! cgroup.rs    its control group                              process.rs  its process, for good
//! initrd.rs    what virtual machines boot                     probed.rs   what a probe found
//! helper.rs    what a re-executed copy of the binary does     netns.rs    reaching into a machine's network namespace
//! ```
//! A driver has `mod.rs` (the port), `config.rs` (what becomes a machine), `start.rs`, `limits.rs` and `probe.rs`.
//! Work that must not happen in a daemon with threads (forking into namespaces, entering one) is done by a short-lived
//! copy of our own binary: [`Helper`] starts it, [`helper::main`] is what it runs.

mod cgroup;
pub mod conformance;
pub mod container;
mod disk;
pub mod fake;
mod files;
mod folder;
pub mod guest;
pub mod helper;
pub mod initrd;
pub mod netns;
mod probed;
mod process;
pub mod qemu;

pub use helper::Helper;
