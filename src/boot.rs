//! From the first instruction to a place where Rust can live, and from a crash to a report.
//!
//! | part | what it does |
//! |---|---|
//! | `entry` | the first instructions, for every way of loading the image; the CPU's set-up |
//! | `start` | console, log, command line, banner, heap |
//! | [`cmdline`] | what the loader's command line says |
//! | [`death`] | the word in the control area in which a crash is told to the next life |
//! | [`hang`] | whether the event loop comes round |
//! | `logring` | log records: to the console, and the last ones kept for a report |
//! | `machine_check` | machine checks that the program survives |
//! | `report` | what is printed when something ends this program that should not |
//! | `stop` | the kinds of end, each with its disabled wait |
//! | `call_chain` | the calls that led there |
//! | `image` | where the image is, and when it began |
//! | [`program`] | what the program knows of itself while it runs, for the operator's console |
//! | [`symbols`] | addresses to names and frames, for the report |
//!
//! **The way in.** `kmain` is called on the boot CPU with everything disabled, a stack of 56 KiB
//! with a guard, and the vectors set. Nearly from the first instruction on, a program interruption
//! ends in a report and not in a loop.
//!
//! **The way out.** `shut_down` ends the machine in order; a panic or an unexpected interruption
//! ends in `report`, with its own disabled-wait code for each kind (`stop::Stop`).
//!
//! **Limits.** One CPU. Nothing here starts a second one.

#[cfg(target_os = "none")]
mod call_chain;
pub mod cmdline;
pub mod death;
#[cfg(target_os = "none")]
pub mod entry;
pub mod hang;
#[cfg(target_os = "none")]
mod image;
#[cfg(target_os = "none")]
pub mod logring;
#[cfg(any(target_os = "none", test))]
mod machine_check;
pub mod program;
#[cfg(target_os = "none")]
pub mod report;
#[cfg(target_os = "none")]
mod start;
#[cfg(target_os = "none")]
mod stop;
pub mod symbols;

#[cfg(target_os = "none")]
pub use {
    image::{first_instruction, image_end, image_size, uptime},
    start::{listen, shut_down, start, wake, Start},
};
