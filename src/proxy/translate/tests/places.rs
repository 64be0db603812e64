//! Where the data of a CCW is, as the channel finds it: directly, by IDAWs or by MIDAWs, each fetched when it is needed.

use channel::{Ccw1, CcwFlags, IdawFormat, Midaw, MidawFlags, Orb, OrbFlags};
use zerocopy::FromBytes;

use super::interpreter::{program_check, Check, Memory};

/// Where the data of a CCW is.
pub struct Places {
    ccw: Ccw1,
    input: bool,
    pub backward: bool,
    pub skip: bool,
    block: u64,
    word: u64,
    /// Direct addresses end here.
    end: u64,
    /// Lists: the next entry.
    next: u64,
    /// The current piece: next byte and bytes left.
    pub at: u64,
    pub left: u64,
    /// The list has no more.
    last: bool,
    first: bool,
    /// MIDAW whose data goes nowhere.
    pub lost: bool,
}

impl Places {
    pub fn new(ccw: Ccw1, input: bool, backward: bool, orb: &Orb) -> Self {
        let format = orb.idaw_format();
        let format_1 = orb.flags().contains(OrbFlags::FORMAT_1);
        Self {
            input,
            backward,
            skip: ccw.flags().contains(CcwFlags::SKIP),
            block: if format == IdawFormat::Format2Of4K {
                4096
            } else {
                2048
            },
            word: if format == IdawFormat::Format1 { 4 } else { 8 },
            end: if format_1 { 1 << 31 } else { 1 << 24 },
            next: u64::from(ccw.address.get()),
            at: u64::from(ccw.address.get()),
            left: 0,
            last: false,
            first: true,
            lost: false,
            ccw,
        }
    }

    /// The next piece of at most `most` bytes: lowest address, length.
    pub fn piece(&mut self, most: u64, memory: &impl Memory) -> Result<(u64, u64), Check> {
        let flags = self.ccw.flags();
        if flags.contains(CcwFlags::IDA) {
            if self.left == 0 {
                self.idaw(memory)?;
            }
        } else if flags.contains(CcwFlags::MIDA) {
            if self.left == 0 {
                self.midaw(memory)?;
            }
        } else {
            // Byte by byte, up to what an address can name.
            if self.at >= self.end {
                return program_check();
            }
            self.left = if self.backward {
                self.at + 1
            } else {
                self.end - self.at
            };
        }
        let length = most.min(self.left);
        let start = if self.backward {
            self.at + 1 - length
        } else {
            self.at
        };
        self.left -= length;
        self.at = if self.backward {
            self.at.wrapping_sub(length)
        } else {
            self.at.wrapping_add(length)
        };
        Ok((start, length))
    }

    fn idaw(&mut self, memory: &impl Memory) -> Result<(), Check> {
        if !self.next.is_multiple_of(self.word) || self.next >= self.end {
            return program_check();
        }
        let mut bytes = [0; 8];
        let Some(part) = bytes.get_mut(8 - self.word as usize..) else {
            unreachable!()
        };
        if !memory.fetch(self.next, part) {
            return program_check();
        }
        let word = u64::from_be_bytes(bytes);
        if self.word == 4 && word & 0x8000_0000 != 0 {
            return program_check();
        }
        let within = word % self.block;
        let start = if self.backward { self.block - 1 } else { 0 };
        if !self.first && within != start {
            return program_check();
        }
        self.first = false;
        self.next += self.word;
        self.at = word;
        self.left = if self.backward {
            within + 1
        } else {
            self.block - within
        };
        Ok(())
    }

    fn midaw(&mut self, memory: &impl Memory) -> Result<(), Check> {
        let crossed = !self.first && self.next.is_multiple_of(4096);
        if self.last || crossed || !self.next.is_multiple_of(16) || self.next >= self.end {
            return program_check();
        }
        let mut bytes = [0; 16];
        if !memory.fetch(self.next, &mut bytes) {
            return program_check();
        }
        let midaw = Midaw::read_from_bytes(&bytes).unwrap();
        let (address, count) = (midaw.address.get(), u64::from(midaw.count.get()));
        if !midaw.is_well_formed() {
            return program_check();
        }
        self.lost = self.input && midaw.flags().contains(MidawFlags::SKIP);
        let within = address % 4096;
        let fits = if self.backward {
            count <= within + 1
        } else {
            within + count <= 4096
        };
        if !fits && !self.lost {
            return program_check();
        }
        self.first = false;
        self.next += 16;
        self.at = address;
        self.left = count;
        self.last = midaw.flags().contains(MidawFlags::LAST);
        Ok(())
    }
}
