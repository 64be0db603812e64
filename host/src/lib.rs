//! The host's side of the Stellwerk storage driver domain: everything of the program `stellwerk`.
//!
//! # Purpose
//!
//! The appliance serves disks; this program gives it a VM to run in, clients to serve, and wake-ups. It
//! makes the pool, starts the appliance's QEMU, opens a vhost-user socket for each disk of each client,
//! and carries doorbells between eventfds and shared memory.
//!
//! # The parts
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | commands, options, and what they print: words and tables |
//! | `keeper` | `stellwerk up`: what starts the daemon, and keeps its descriptors for the next one |
//! | `daemon` | all of it together |
//! | `check` | the files, devices and programs that a configuration names, looked at before anything starts: `stellwerk check` |
//! | `vhost` | vhost-user, turned into channel programs |
//! | `remote` | channel programs, run in the areas: for vhost-user, for people, for disks in maintenance |
//! | `vm` | the appliance's QEMU |
//! | `doorbell` | the wake-up thread, the one hot path |
//! | `areas` | control area and clients' areas in the pool |
//! | `api` | what goes over the control socket, by which the other commands ask the daemon |
//! | `pool` | the appliance VM's memory: what of it is ours, and where |
//! | `windows` | clients' memory, and how it gets into that |
//! | `store` | what of descriptors and knowledge outlives the daemon |
//! | `descriptors` | file descriptors, that there are enough |
//! | `config` | the configuration, read and checked |
//! | `layout` | how areas, devices and queues are numbered |
//! | `sys`, `log_limit` | sockets, waits and processes; a limit on what others' doings write into the log |
//!
//! Disks for their administrators (`stellwerk reserve`, `release`, `steal`, `dasdfmt`, `dasdview`, `mkipl`) are the crate [`dasd_tools`].
//!
//! # The rule
//!
//! The daemon never touches a block of data: it does not even map the clients' memory.

mod api;
mod areas;
mod check;
pub mod cli;
mod config;
mod daemon;
mod descriptors;
mod doorbell;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod layout;
mod log_limit;
mod pool;
mod remote;
mod store;
mod sys;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, unused_imports))]
mod testing;
mod vhost;
mod vm;
mod windows;
