//! The appliance's own storage.

use core::fmt;

use crate::monitor::message;
use crate::monitor::operands::{Operands, Refused};
use crate::monitor::{Out, View};

/// Bytes in a line.
const ROW: u64 = 16;
/// Bytes that are shown, if nothing else is said, and at most.
const LENGTH: u64 = 64;
const MOST: u64 = 4096;

pub fn mem(view: &dyn View, mut operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    let address = operands.hexadecimal()?.ok_or(Refused::Usage)?;
    let length = operands.hexadecimal()?.unwrap_or(LENGTH);
    operands.end()?;
    let first = address & !(ROW - 1);
    let end = address
        .checked_add(length)
        .filter(|_| length > 0 && length <= MOST);
    let end = end.ok_or(Refused::Usage)?;
    let rows = (first..end).step_by(ROW as usize);
    out.say(
        message::MEMORY,
        format_args!("{length:#x} bytes at {address:#x}"),
    );
    for at in rows {
        let mut row = [0; ROW as usize];
        match view.bytes(at, &mut row) {
            true => out.line(format_args!("{at:08x} {}", Row(&row))),
            false => {
                out.line(format_args!("{at:08x} is not the appliance's own"));
                break;
            }
        }
    }
    Ok(())
}

/// Bytes in hexadecimal, and as text: in ASCII, as names in the appliance are.
struct Row<'a>(&'a [u8]);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.0.chunks(4) {
            word.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str(" ")?;
        }
        self.0.iter().try_for_each(|&byte| match byte {
            b' '..=b'~' => write!(f, "{}", char::from(byte)),
            _ => f.write_str("."),
        })
    }
}

pub fn stack(view: &dyn View, operands: Operands<'_>, out: &mut Out<'_>) -> Result<(), Refused> {
    operands.end()?;
    let innards = view.innards();
    let (used, size) = (innards.stack.used, innards.stack.size);
    out.say(
        message::STACK,
        format_args!("{used} of {size} bytes were used at most"),
    );
    let now = innards.stack_top.saturating_sub(innards.stack_now);
    let (bottom, top) = (innards.stack_top.saturating_sub(size), innards.stack_top);
    out.line(format_args!("{now} now, from {bottom:#x} to {top:#x}"));
    Ok(())
}
