//! Call-frame information: by how much each function lowers r15, and when.
//!
//! The ABI has the caller's frame 160 bytes below the CFA, so a row "CFA = r15 + 160 + n" says that
//! r15 has been lowered by *n* from there on.

use anyhow::Result;
use gimli::{
    BaseAddresses, BigEndian, CfaRule, DebugFrame, Register, UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection};
use std::collections::HashMap;

/// What is between a frame's CFA and the stack pointer of a function that has lowered nothing.
const CALLER_FRAME: i64 = 160;

/// The number of r15 in call-frame information.
const R15: Register = Register(15);

/// A function's frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// How many bytes r15 is lowered by.
    pub size: u64,
    /// The offset of the first instruction that runs with r15 lowered.
    pub prologue: u64,
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
        while let Some(row) = rows.next_row()? {
            if let CfaRule::RegisterAndOffset {
                register: R15,
                offset,
            } = *row.cfa()
            {
                let size = u64::try_from(offset - CALLER_FRAME).unwrap_or(0);
                if size > frame.size {
                    frame = Frame {
                        size,
                        prologue: row.start_address() - start,
                    };
                }
            }
        }
        // The linker has removed functions that nobody calls; their information is at 0.
        if start != 0 {
            frames.insert(start, frame);
        }
    }
    Ok(frames)
}
