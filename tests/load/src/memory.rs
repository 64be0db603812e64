//! Memory that is filled and compared, round by round: with more of it than there is, on swapped pages.
//!
//! Each round goes through all pages, compares each with what the round before has written there, and writes it anew.
//! `ROUND number swapped=KiB` says that it has come through, and how much of it was on the swap space then.

use crate::page::{self, Stamp, PAGE};
use crate::{number, stopped, Wrong};

pub fn run(size: &str) -> Result<(), Wrong> {
    let mut memory = vec![0; number(size)? as usize * (1 << 20)];
    let mut before = Stamp::NEVER;
    while !stopped() {
        let now = Stamp {
            life: 1,
            number: before.number + 1,
        };
        for (address, page) in memory.chunks_exact_mut(PAGE).enumerate() {
            let found = page::stamp_of(page, address as u64);
            if found != Some(before) {
                return Err(format!(
                    "DIFFERENCE memory page {address}: {found:?}, not {before:?}"
                ));
            }
            page::fill(page, address as u64, now);
        }
        println!("ROUND {} swapped={}", now.number, swapped()?);
        before = now;
    }
    Ok(())
}

/// KiB of this program that are on the swap space.
fn swapped() -> Result<u32, Wrong> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| format!("ERROR {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"));
    number(
        line.and_then(|line| line.split_whitespace().next())
            .unwrap_or("0"),
    )
}
