//! What is where in a file that tests/vfio-ccw/lay lays over the window: for that program, and for the tests of the image.
#![no_std]

/// Bytes of a file.
pub const LENGTH: u32 = 0x2_0000;
/// Where the file's number is, a word.
pub const NUMBER: u32 = 0;
/// Where the image writes that number when it has done with the file.
pub const DONE: u32 = 4;
/// From here on there is nothing but data. Before it there is room for a channel program.
pub const DATA: u32 = 0x1000;

/// How many files are laid, one after the other. They have the numbers from 1 on.
pub const FILES: u32 = 2;

/// Bytes that follow on each other.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub offset: u32,
    pub length: u32,
}

impl Piece {
    const fn new(offset: u32, length: u32) -> Self {
        Self { offset, length }
    }
}

/// How a channel program names its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// By CCWs.
    Direct,
    /// By format-1 IDAWs.
    Words1,
    /// By format-2 IDAWs of 4 KiB.
    Words2,
}

/// Data that goes out to a terminal, by one CCW for each piece, and comes back from it.
///
/// Each piece is in one block of an address word: the devices that QEMU emulates begin anew with each word of a list.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub addressing: Addressing,
    /// The program is in the file, too.
    pub program_too: bool,
    pub out: [Piece; 2],
    pub back: Piece,
}

impl Exchange {
    const fn new(addressing: Addressing, program_too: bool, page: u32) -> Self {
        Self {
            addressing,
            program_too,
            out: [
                Piece::new(page + 0x400, 300),
                Piece::new(page + 0x1100, 600),
            ],
            back: Piece::new(page + 0x2048, 900),
        }
    }
}

/// What is done with each file.
pub const EXCHANGES: [Exchange; 4] = [
    Exchange::new(Addressing::Direct, true, DATA),
    Exchange::new(Addressing::Words1, true, DATA + 0x4000),
    Exchange::new(Addressing::Words2, true, DATA + 0x8000),
    Exchange::new(Addressing::Words2, false, DATA + 0xC000),
];

/// What a file has at an offset, from [`DATA`] on, when it is laid. None is X'FF', which means something on the way to a terminal.
pub const fn byte(number: u32, offset: u32) -> u8 {
    ((offset * 7 + number * 101) % 239) as u8
}
