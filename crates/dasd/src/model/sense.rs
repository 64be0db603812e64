//! Sense bytes of unit checks, as far as they are not zero.

/// Sense bytes.
pub type Sense = &'static [u8];

/// A command that is not there, not in this place, or not with these parameters.
pub const COMMAND_REJECT: Sense = &[0x80];
/// No record found.
pub const NO_RECORD: Sense = &[0, 0x08];
/// The place is not in the extent, or the file mask does not permit the command.
pub const FILE_PROTECTED: Sense = &[0, 0x04];
/// Writes are inhibited.
pub const WRITE_INHIBITED: Sense = &[0x10, 0x02];
/// The record has another length.
pub const INVALID_FORMAT: Sense = &[0, 0x40];
