//! Facts about translation. The fuzz target checks two of them on programs of its own.
#![allow(missing_docs, missing_debug_implementations)]
#![cfg_attr(not(test), allow(dead_code))]

use super as translate;

#[cfg(test)]
mod cases;
pub mod contained;
#[cfg(test)]
mod cycles;
pub mod differential;
mod fixture;
pub mod history;
mod interpreter;
#[cfg(test)]
mod live;
#[cfg(test)]
mod meanwhile;
mod places;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod replay;
