//! Return addresses along a call chain, and addresses by name, for the report.
//!
//! **The rule.** No pointer is followed that has not been checked, and every walk ends after a bounded number of steps.
//!
//! **Limits.** Calls that the compiler inlined, or made the last thing a function does, are not in a chain.

use super::image::{self, CALLER_FRAME, SAVED_R11, SAVED_R14, STACK_BOTTOM, STACK_TOP};
use super::symbols::{self, Symbols};
use core::fmt;

/// The return addresses along a call chain, innermost first.
///
/// Each function's frame is known ([`symbols`]), and each lies above the one before; so this ends,
/// at the latest with the end of the stack.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    symbols: Symbols<'a>,
    /// An address in the function whose caller is next.
    address: u64,
    /// That function's r15 and r11.
    r15: u64,
    r11: u64,
    /// The return address, as long as it is in r14 and nowhere else.
    r14: Option<u64>,
}

impl<'a> Calls<'a> {
    /// The calls that led to an instruction.
    pub fn from_interruption(
        symbols: Symbols<'a>,
        instruction: u64,
        registers: &[u64; 16],
    ) -> Self {
        let [.., r11, _, _, r14, r15] = *registers;
        let of_caller = match symbols.find(instruction).filter(|_| in_code(instruction)) {
            Some(function) => function.frame == 0 || function.offset < function.prologue,
            // Who came to a place without code came by a call.
            None => true,
        };
        Self {
            symbols,
            address: instruction,
            r15,
            r11,
            r14: of_caller.then_some(r14),
        }
    }

    /// Whether the chain leads to the stack's outermost frame.
    pub fn is_complete(mut self) -> bool {
        while self.next().is_some() {}
        self.r15 == (STACK_TOP - CALLER_FRAME) as u64
    }
}

impl Iterator for Calls<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let caller = match self.r14.take() {
            Some(r14) => r14,
            None => {
                let function = self.symbols.find(self.address).filter(|f| f.frame != 0)?;
                let pointer = if function.by_r11 { self.r11 } else { self.r15 };
                // A frame may have begun below the stack's end and even below address 0.
                let r15 = pointer.wrapping_add(function.frame);
                let caller = stack_word(r15.checked_add(SAVED_R14)?)?;
                if function.saves_r11 {
                    self.r11 = stack_word(r15.checked_add(SAVED_R11)?)?;
                }
                self.r15 = r15;
                caller
            }
        };
        // A return address can lie behind the end of its function, after a call that never returns.
        self.address = caller.wrapping_sub(1);
        in_code(self.address).then_some(caller)
    }
}

/// The innermost call whose chain leads to the stack's outermost frame: where to begin when r15 is
/// no help.
pub fn innermost(symbols: Symbols<'_>) -> Option<Calls<'_>> {
    (STACK_BOTTOM..STACK_TOP - CALLER_FRAME)
        .step_by(8)
        .find_map(|place| {
            let r15 = place as u64;
            let r14 = stack_word(r15 + SAVED_R14).filter(|&r14| in_code(r14))?;
            let calls = Calls {
                symbols,
                address: 0,
                r15,
                r11: stack_word(r15 + SAVED_R11)?,
                r14: Some(r14),
            };
            calls.is_complete().then_some(calls)
        })
}

/// The doubleword at `address`, if that is an aligned place in the stack, or in the lowcore below,
/// where an overflow leads first.
fn stack_word(address: u64) -> Option<u64> {
    let fits = address.is_multiple_of(8) && (8..STACK_TOP as u64).contains(&address);
    // SAFETY: there is storage at these addresses, not at 0, and anything is a number.
    fits.then(|| unsafe {
        core::ptr::with_exposed_provenance::<u64>(address as usize).read_volatile()
    })
}

/// Whether there is code at `address`.
fn in_code(address: u64) -> bool {
    image::code().contains(&address)
}

/// An address, with the name of the function it is in.
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)?;
        let symbols = symbols::of_this_image().filter(|_| in_code(self.0));
        match symbols.and_then(|symbols| symbols.find(self.0)) {
            Some(function) => write!(f, " {}+{:#x}", function.name, function.offset),
            None => Ok(()),
        }
    }
}

/// A return address, with the name of the function that made the call: the call is before it.
pub struct CalledFrom(pub u64);

impl fmt::Display for CalledFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)?;
        match symbols::of_this_image().and_then(|symbols| symbols.find(self.0.wrapping_sub(1))) {
            Some(function) => write!(f, " {}+{:#x}", function.name, function.offset + 1),
            None => Ok(()),
        }
    }
}
