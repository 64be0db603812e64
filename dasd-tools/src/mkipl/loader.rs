//! How the image gets into storage: by channel programs alone, which are on the volume themselves.
//!
//! ```text
//! READ IPL          the first IPL record, 24 bytes at 0: the PSW that is loaded in the end, and two CCWs
//!   READ DATA       the second IPL record, 144 bytes at X'2000'
//!   TIC             to it:
//!     SEEK, SEARCH ID EQUAL, TIC, READ DATA      the program, 4096 bytes at X'3000'
//!     TIC           to it; for each track:
//!       SEEK, SEARCH ID EQUAL, TIC               its first record
//!       READ DATA                                4096 bytes of the image, for each record
//! ```
//!
//! The CCWs have format 0, as in any IPL. The image begins at X'10000', in ESA/390 mode, as after a list-directed IPL.

use std::ops::Range;

use anyhow::{ensure, Result};
use channel::{Ccw0, CcwFlags, CommandCode};
use dasd::command::{READ_DATA_HERE as READ_DATA, SEARCH_ID_EQUAL, SEEK};
use dasd::track::RecordAddress;
use s390x::ebcdic::CP037;
use s390x::psw::{PswMask, ShortPsw};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::volume::{Track, Volume, HEADS};
use super::{BASE, BLOCK, RECORDS};
use crate::format::Record;

/// Where the second IPL record and the program are.
pub const SECOND: u32 = 0x2000;
const PROGRAM: u32 = 0x3000;
/// Bytes of the IPL records.
const FIRST_BYTES: u16 = 24;
const SECOND_BYTES: u16 = 144;
/// An IPL program that is none: a PSW that waits, and a CCW that does nothing.
const NOTHING: [u8; 16] = [0, 0x0A, 0, 0, 0, 0, 0, 0x0F, 3, 0, 0, 0, 0, 0, 0, 1];

/// Which record is sought: the parameters of SEEK (six bytes from the front) and SEARCH ID EQUAL (five bytes from the third on).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Sought {
    bin: U16,
    record: RecordAddress,
    unused: u8,
}

/// Most tracks of an image: each has more than one parameter in the program.
const MOST_TRACKS: usize = BLOCK / size_of::<Sought>();
const SOUGHT: u32 = size_of::<Sought>() as u32;
pub const CCW: u32 = size_of::<Ccw0>() as u32;

impl Sought {
    fn new(track: u32, record: u8) -> Self {
        let heads = u32::from(HEADS);
        Self {
            bin: U16::ZERO,
            record: RecordAddress::new(track / heads, (track % heads) as u16, record),
            unused: 0,
        }
    }
}

/// At the end of the second IPL record, or of block 0: that the program is ours, and where the image is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Signature {
    name: [u8; 16],
    first: U32,
    count: U32,
}

impl Signature {
    fn name() -> [u8; 16] {
        let mut name = [CP037.encode_char(' '); 16];
        CP037.encode("STELLWERK IPL", &mut name);
        name
    }

    /// For an image on these tracks or blocks.
    pub fn new(place: &Range<u32>) -> Self {
        Self {
            name: Self::name(),
            first: U32::new(place.start),
            count: U32::new(place.end - place.start),
        }
    }

    /// What is at the end of these bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (_, found) = Self::read_from_suffix(bytes).ok()?;
        (found.name == Self::name()).then_some(found)
    }

    /// What is on a volume.
    pub fn find(volume: &Volume) -> Result<Option<Self>> {
        let mut track = volume.track(0)?;
        let [_, second] = records(&mut track)?;
        let sound = |one: &Self| {
            let place = one.place();
            place.start > 0 && place.end <= volume.tracks() && place.len() <= MOST_TRACKS
        };
        Ok(Self::of(second.data()).filter(sound))
    }

    pub fn place(&self) -> Range<u32> {
        let first = self.first.get();
        first..first.saturating_add(self.count.get())
    }
}

fn records(track: &mut Track) -> Result<[&mut Record; 2]> {
    let [_, first, second, ..] = track.records.as_mut_slice() else {
        anyhow::bail!("there are no IPL records on track 0");
    };
    for (record, number, length) in [(&*first, 1, FIRST_BYTES), (&*second, 2, SECOND_BYTES)] {
        let count = record.count;
        ensure!(
            count.record == number && count.key == 4 && count.data.get() == length,
            "record {number} of track 0 is no IPL record: {count}"
        );
    }
    Ok([first, second])
}

/// Whether there is an IPL program: the second record has something.
pub fn is_there(volume: &Volume) -> Result<bool> {
    let mut track = volume.track(0)?;
    let [_, second] = records(&mut track)?;
    Ok(second.data().iter().any(|&byte| byte != 0))
}

/// Makes the volume one from which nobody can IPL.
pub fn erase(volume: &mut Volume) -> Result<()> {
    set(volume, &NOTHING, &[])
}

/// Makes the volume one from which one can.
pub fn install(volume: &mut Volume, tracks: &Range<u32>) -> Result<()> {
    let mut first = Ccws::new(8);
    first.push(READ_DATA, SECOND, SECOND_BYTES);
    first.push(CommandCode::TIC, SECOND, 0);
    let first = [PSW.as_slice(), &first.bytes].concat();

    let mut second = Ccws::new(SECOND);
    let sought = SECOND + 5 * CCW;
    second.seek(sought);
    second.push(READ_DATA, PROGRAM, BLOCK as u16);
    second.push(CommandCode::TIC, PROGRAM, 0);
    let mut second = second.bytes;
    second.extend(Sought::new(tracks.start, 1).as_bytes());
    let signature = Signature::new(tracks);
    second.resize(usize::from(SECOND_BYTES) - size_of::<Signature>(), 0);
    second.extend(signature.as_bytes());
    set(volume, &first, &second)
}

fn set(volume: &mut Volume, first: &[u8], second: &[u8]) -> Result<()> {
    let mut track = volume.track(0)?;
    let [one, two] = records(&mut track)?;
    one.set_data(first);
    two.set_data(second);
    volume.put(0, &track)
}

/// The program that reads `blocks` records behind itself, which is the first record of the tracks.
pub fn program(tracks: &Range<u32>, blocks: usize) -> Result<Vec<u8>> {
    let count = tracks.end - tracks.start;
    let parameters = PROGRAM + (3 * count + blocks as u32) * CCW;
    let mut program = Ccws::new(PROGRAM);
    let mut sought: Vec<u8> = Vec::new();
    let mut left = blocks;
    for (index, track) in tracks.clone().enumerate() {
        let record = if index == 0 { 2 } else { 1 };
        let here = left.min(RECORDS + 1 - record);
        program.seek(parameters + index as u32 * SOUGHT);
        sought.extend(Sought::new(track, record as u8).as_bytes());
        for _ in 0..here {
            let done = (blocks - left) as u32;
            program.push(READ_DATA, BASE + done * BLOCK as u32, BLOCK as u16);
            left -= 1;
        }
    }
    let mut bytes = program.end();
    bytes.extend(sought);
    ensure!(
        bytes.len() <= BLOCK && left == 0,
        "the image is too large: its loader takes {} bytes of {BLOCK}",
        bytes.len()
    );
    Ok(bytes)
}

/// The PSW with which the image begins: 31-bit addressing.
pub const PSW: [u8; 8] = match ShortPsw::new(PswMask::BASIC_ADDRESSING, BASE as u64) {
    Some(psw) => psw.to_bytes(),
    None => panic!("the image is too high for an IPL PSW"),
};

/// CCWs one behind the other, each chained to the next.
pub struct Ccws {
    base: u32,
    /// What they are in storage.
    pub bytes: Vec<u8>,
}

impl Ccws {
    pub const fn new(base: u32) -> Self {
        Self {
            base,
            bytes: Vec::new(),
        }
    }

    pub fn push(&mut self, command: CommandCode, address: u32, count: u16) {
        let [_, high, middle, low] = address.to_be_bytes();
        let transfer = command.0 != CommandCode::TIC.0;
        let ccw = Ccw0 {
            command: command.0,
            address: [high, middle, low],
            flags: if transfer { CcwFlags::CC.bits() } else { 0 },
            reserved: 0,
            count: U16::new(count),
        };
        self.bytes.extend(ccw.as_bytes());
    }

    /// To a record whose parameters are at `sought`.
    fn seek(&mut self, sought: u32) {
        self.push(SEEK, sought, 6);
        let search = self.base + self.bytes.len() as u32;
        self.push(SEARCH_ID_EQUAL, sought + 2, 5);
        self.push(CommandCode::TIC, search, 0);
    }

    /// The bytes; the last CCW is the last.
    pub fn end(mut self) -> Vec<u8> {
        let last = self.bytes.len().saturating_sub(CCW as usize);
        if let Some(flags) = self.bytes.get_mut(last + 4) {
            *flags &= !CcwFlags::CC.bits();
        }
        self.bytes
    }
}
