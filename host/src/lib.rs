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
//! | [`cli`] | commands, options, and what they print |
//! | `config` | the configuration, read and checked |
//! | `check` | the files, devices and programs that it names, looked at before anything starts: `stellwerk check` |
//! | `output` | standard output, which may be a pipe that somebody has closed |
//! | `pool` | the shared file and its layout |
//! | `areas` | control area and clients' areas in it |
//! | `appliance` | the appliance's QEMU |
//! | `bell` | the wake-up thread, the one hot path |
//! | `descriptors` | file descriptors, that there are enough |
//! | `device` | channel programs that set a virtio device up |
//! | `vhost` | vhost-user, turned into such programs |
//! | `in_use` | what a disk that is to be formatted is used for |
//! | `daemon` | all of it together: `stellwerk up` |
//! | `log_limit` | a limit on what others' doings write into the log |
//! | `admin` | the control socket, by which the other commands ask the daemon |
//! | `sockets` | sockets of the run directory |
//! | `status` | `stellwerk status`, `stellwerk lscss` |
//! | `subchannel` | the daemon as a client: `stellwerk ccw`, `schib`, `halt`, `clear`, `cancel`, `resume`, `trace` |
//! | `client_args` | `stellwerk client-args` |
//!
//! Disks for their administrators (`stellwerk reserve`, `release`, `steal`, `dasdfmt`, `dasdview`, `mkipl`) are the crate [`dasd_tools`].
//!
//! # The rule
//!
//! The daemon never touches a block of data: it does not even map the clients' memory.

mod admin;
mod appliance;
mod areas;
mod bell;
mod check;
pub mod cli;
mod client_args;
mod config;
mod daemon;
mod descriptors;
mod device;
#[cfg(fuzzing)]
pub mod fuzzing;
mod in_use;
mod log_limit;
mod output;
mod pool;
mod sockets;
mod status;
mod subchannel;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
mod testing;
mod vhost;
