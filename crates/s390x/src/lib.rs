//! z/Architecture for bare-metal Rust: registers, lowcore, instructions, clock, EBCDIC.
//!
//! **Purpose.** What the `x86_64` crate is for PCs: the CPU's architected state as types that make
//! wrong values hard to write, and one thin wrapper for each privileged instruction that a small
//! system needs.
//!
//! | subject | module |
//! |---|---|
//! | program-status word, condition code | [`psw`], [`cc`] |
//! | control registers | [`control`] |
//! | assigned storage, interruption codes | [`lowcore`], [`program`], [`machine_check`] |
//! | the wait in which interruptions are taken | [`idle`] |
//! | channel I/O | [`io`] |
//! | TOD clock, clock comparator | [`clock`] |
//! | CPU identity, the end | [`cpu`] |
//! | system information | [`sysinfo`] |
//! | service call, hypervisor calls | [`service`], [`diagnose`] |
//! | addresses, serialisation, EBCDIC | [`address`], [`fence`], [`ebcdic`] |
//!
//! **Two kinds of content.** Types, layouts and tables compile everywhere and are tested on the
//! developer's machine. Instructions are there only when compiling for s390x; each module
//! re-exports them beside its types.
//!
//! **Scope and limits.** Supervisor state, 64-bit addressing, DAT off, soft float, z10 or later. No
//! address translation, no storage keys, no linkage stack, no vector or floating-point state, no
//! crypto, no PCI instructions.
//!
//! **Sources.** "Principles of Operation" means IBM's *z/Architecture Principles of Operation*,
//! SA22-7832; chapters are named instead of pages, which move with each edition.
#![no_std]
#![warn(missing_docs)]
// On another machine the documentation lacks what only s390x has, and with it the ends of some links.
#![cfg_attr(not(target_arch = "s390x"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod cc;
pub mod clock;
pub mod control;
pub mod cpu;
pub mod diagnose;
pub mod ebcdic;
pub mod fence;
pub mod idle;
pub mod io;
pub mod lowcore;
pub mod machine_check;
pub mod program;
pub mod psw;
pub mod service;
pub mod sysinfo;
