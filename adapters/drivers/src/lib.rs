//! The drivers behind the [`sublet_machine::Driver`] port: one folder each, one conformance suite for all.
//!
//! ```text
//! qemu/        virtual machines          container/  namespaces and cgroups        fake/  files only, for simulation
//! initrd.rs    what virtual machines boot
//! cgroup.rs    a machine's control group             process.rs  a machine's process, for good
//! helper.rs    what a re-executed copy of the binary does     netns.rs  reaching into a machine's network namespace
//! ```
//! Work that must not happen in a daemon with threads (forking into namespaces, entering one) is done by a short-lived
//! copy of our own binary: [`Helper`] starts it, [`helper::main`] is what it runs.

mod cgroup;
pub mod conformance;
pub mod container;
pub mod fake;
mod files;
pub mod guest;
pub mod helper;
pub mod initrd;
pub mod netns;
mod process;
pub mod qemu;

pub use helper::Helper;
