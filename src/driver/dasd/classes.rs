//! What commands do to the state that a disk's control unit keeps for the length of a chain: where it is, and what it may do.
//!
//! Only commands that change nothing else, however often they are sent. So no writes, and no sense: that forgets what it gave.
//! Codes with bit 0 on are the multitrack forms.

use channel::CommandCode;

use channel::CommandClass;

pub fn count_key_data(command: CommandCode) -> Option<CommandClass> {
    Some(match command.0 {
        // NO-OPERATION, RECALIBRATE, RESTORE.
        0x03 | 0x13 | 0x17 => CommandClass::Nothing,
        // READ IPL; READ SECTOR; READ MULTIPLE COUNT, KEY AND DATA; READ TRACK.
        0x02 | 0x22 | 0x5E | 0xDE => CommandClass::Reads,
        // READ DATA; KEY AND DATA; COUNT; R0; HOME ADDRESS; COUNT, KEY AND DATA.
        0x06 | 0x0E | 0x12 | 0x16 | 0x1A | 0x1E | 0x86 | 0x8E | 0x92 | 0x96 | 0x9A | 0x9E => {
            CommandClass::Reads
        }
        // SEEK, SEEK CYLINDER, SEEK HEAD, SPACE COUNT, SET FILE MASK, SET SECTOR.
        0x07 | 0x0B | 0x1B | 0x0F | 0x1F | 0x23 => CommandClass::Sets,
        // DEFINE EXTENT, LOCATE RECORD, LOCATE RECORD EXTENDED, PREFIX.
        0x63 | 0x47 | 0x4B | 0xE7 => CommandClass::Sets,
        // SEARCH HOME ADDRESS; ID equal, high, either; KEY equal, high, either.
        0x39 | 0x31 | 0x51 | 0x71 | 0x29 | 0x49 | 0x69 => CommandClass::Searches,
        0xB9 | 0xB1 | 0xD1 | 0xF1 | 0xA9 | 0xC9 | 0xE9 => CommandClass::Searches,
        _ => return None,
    })
}

pub fn fixed_block(command: CommandCode) -> Option<CommandClass> {
    Some(match command.0 {
        // NO-OPERATION.
        0x03 => CommandClass::Nothing,
        // READ IPL, READ.
        0x02 | 0x42 => CommandClass::Reads,
        // DEFINE EXTENT, LOCATE.
        0x63 | 0x43 => CommandClass::Sets,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_neither_writes_nor_ends_a_chain() {
        // WRITE DATA, WRITE KEY AND DATA, COUNT KEY AND DATA, R0, home address, ERASE; SENSE, SENSE ID, reserve and release.
        let others = [
            0x05, 0x85, 0x0D, 0x8D, 0x1D, 0x9D, 0x15, 0x19, 0x11, 0x04, 0xE4, 0xB4, 0x94, 0x14,
        ];
        for code in others.map(CommandCode) {
            assert_eq!(count_key_data(code), None);
        }
        for code in [0x41, 0x04, 0xE4, 0x64, 0xB4, 0x94].map(CommandCode) {
            assert_eq!(fixed_block(code), None);
        }
    }

    #[test]
    fn what_reads_has_the_command_code_of_a_read() {
        for code in (0..=u8::MAX).map(CommandCode) {
            for class in [count_key_data(code), fixed_block(code)]
                .into_iter()
                .flatten()
            {
                assert_eq!(class == CommandClass::Reads, code.reads(), "{code:?}");
            }
        }
    }
}
