//! What each command does: a function over the state.
//!
//! | module | commands |
//! |---|---|
//! | [`general`] | help, version, status, log, irq |
//! | [`devices`] | devs, paths, schib, disks, trace |
//! | [`clients`] | clients, queues, inflight, counters, crw |
//! | [`storage`] | mem, stack |
//! | [`diagnosis`] | diag |

pub mod clients;
pub mod devices;
pub mod diagnosis;
pub mod general;
pub mod storage;
