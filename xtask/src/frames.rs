//! Call-frame information: where each function's caller has its frame, and from when on.
//!
//! The ABI has the caller's frame 160 bytes below the CFA. A row "CFA = r15 + 160 + n" says that
//! r15 has been lowered by *n* from there on; with r11 in place of r15, r11 was set to what r15 was
//! then, and r15 went further down by an amount known at run time only.

use anyhow::{bail, Result};
use gimli::{
    BaseAddresses, BigEndian, CfaRule, DebugFrame, Register, RegisterRule, UnwindContext,
    UnwindSection,
};
use object::{Object, ObjectSection};
use std::collections::HashMap;

/// What is between a frame's CFA and the stack pointer of a function that has lowered nothing.
const CALLER_FRAME: i64 = 160;

/// The numbers of registers in call-frame information.
const R11: Register = Register(11);
const R15: Register = Register(15);

/// A function's frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// How many bytes the function's stack pointer, or its frame pointer r11, is below its caller's
    /// stack pointer.
    pub size: u64,
    /// The offset of the first instruction for which that holds.
    pub prologue: u64,
    /// Whether it is r11 that counts.
    pub by_r11: bool,
    /// Whether the function saves its caller's r11.
    pub saves_r11: bool,
}

/// The frames of all functions that have call-frame information, by address.
pub fn of(file: &object::File<'_>) -> Result<HashMap<u64, Frame>> {
    let mut frames = HashMap::new();
    let Some(section) = file.section_by_name(".debug_frame") else {
        return Ok(frames);
    };
    let data = section.uncompressed_data()?;
    let mut debug_frame = DebugFrame::new(&data, BigEndian);
    debug_frame.set_address_size(8);
    let bases = BaseAddresses::default();
    let mut context = UnwindContext::new();
    let mut entries = debug_frame.entries(&bases);
    while let Some(entry) = entries.next()? {
        let gimli::CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(DebugFrame::cie_from_offset)?;
        let start = fde.initial_address();
        let mut frame = Frame::default();
        let mut rows = fde.rows(&debug_frame, &bases, &mut context)?;
        // This compiler describes prologues only, so what the last row says holds to the end.
        while let Some(row) = rows.next_row()? {
            let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else {
                bail!("the function at {start:#x} computes its CFA");
            };
            let size = u64::try_from(offset - CALLER_FRAME)?;
            let by_r11 = register == R11;
            if (size, by_r11) != (frame.size, frame.by_r11) {
                frame.prologue = row.start_address() - start;
            }
            frame.size = size;
            frame.by_r11 = by_r11;
            frame.saves_r11 = matches!(row.register(R11), RegisterRule::Offset(-72));
            // Any other register is for the time of a loop in the prologue.
            if register != R15 && register != R11 {
                frame.size = 0;
            }
        }
        // The linker has removed functions that nobody calls; their information is at 0.
        if start != 0 {
            frames.insert(start, frame);
        }
    }
    Ok(frames)
}
