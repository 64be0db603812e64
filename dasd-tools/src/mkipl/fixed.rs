//! An image on a fixed-block disk (3370, 9336 and their like).
//!
//! ```text
//! READ IPL            the front of block 0, 24 bytes at 0: the IPL PSW, and two CCWs
//!   READ IPL            block 0 again, all of it, at X'2000'
//!   TIC                 into it; for each 127 blocks:
//!     LOCATE, READ        of the image, from X'10000' on
//! ```
//!
//! # Where
//!
//! On the last blocks. Nothing lists them: such volumes have no VTOC. Only a volume with a `VOL1` label is taken; all blocks of the others
//! are data.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use channel::CommandCode;
use dasd::Label;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::loader::{Ccws, Signature, CCW, PSW, SECOND};
use super::medium::Medium;
use super::{Overwrite, BASE, FOREIGN};

pub const BLOCK: usize = 512;
/// The block with the label.
const LABEL: u64 = 1;
/// Most blocks of one READ.
const MOST: usize = u16::MAX as usize / BLOCK;
const READ_IPL: CommandCode = CommandCode(0x02);
const READ: CommandCode = CommandCode(0x42);
const LOCATE: CommandCode = CommandCode(0x43);
const OPERATION_READ: u8 = 0x06;
/// Bytes of the first READ IPL.
const FRONT: usize = 24;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Locate {
    operation: u8,
    replication: u8,
    count: U16,
    block: U32,
}

/// A volume as Hercules keeps it, not compressed: its blocks.
#[derive(Debug)]
pub struct Fixed(Medium);

impl Fixed {
    /// Opens one for reading and writing; `None` if the file is not one with a label. That has to be `VOL1`.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let name = path.display();
        let (file, length) = Medium::open(path)?;
        let mut block = [0; BLOCK];
        let at = LABEL * BLOCK as u64;
        if !length.is_multiple_of(BLOCK as u64) || file.read_exact_at(&mut block, at).is_err() {
            return Ok(None);
        }
        match Label::parse(&block) {
            Label::Cdl(_) => {}
            Label::None => return Ok(None),
            other => bail!(
                "{name} is a fixed-block volume with a label {}: all of it is data",
                other.name()
            ),
        }
        let blocks = u32::try_from(length / BLOCK as u64);
        let blocks = blocks.with_context(|| format!("{name} has too many blocks"))?;
        Ok(Some(Self(Medium::new(file, "block", 0, BLOCK, blocks))))
    }

    /// Writes an image; gives its blocks.
    pub fn write(&self, image: &[u8], overwrite: Overwrite) -> Result<Range<u32>> {
        let all = self.0.units;
        let first = all.checked_sub(u32::try_from(image.len().div_ceil(BLOCK))?);
        let first = first.filter(|&first| u64::from(first) > LABEL);
        let blocks = first.context("too small for the image")?..all;
        let program = program(&blocks)?;
        let has_data = |block: &[u8; BLOCK]| block.iter().any(|&byte| byte != 0);
        if overwrite == Overwrite::Nothing {
            let ipl = self.block(0)?;
            if Signature::of(&ipl).is_none() && has_data(&ipl) {
                bail!(FOREIGN);
            }
            for number in blocks.clone() {
                if has_data(&self.block(number)?) {
                    let last = all - 1;
                    bail!("there is data on blocks {number} to {last}; --yes overwrites it");
                }
            }
        }
        let zero = [0; BLOCK];
        self.0.write(0, &zero)?;
        for (number, data) in blocks.clone().zip(image.chunks(BLOCK)) {
            let mut block = zero;
            block[..data.len()].copy_from_slice(data);
            self.0.write(number, &block)?;
        }
        self.0.sync()?;
        self.0.write(0, &program)?;
        self.0.sync()?;
        Ok(blocks)
    }

    fn block(&self, number: u32) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.0.read(number, &mut block)?;
        Ok(block)
    }
}

/// Block 0, which loads these blocks.
fn program(blocks: &Range<u32>) -> Result<[u8; BLOCK]> {
    let mut front = Ccws::new(8);
    front.push(READ_IPL, SECOND, BLOCK as u16);
    front.push(CommandCode::TIC, SECOND + FRONT as u32, 0);
    let mut block = [PSW.as_slice(), &front.bytes].concat();

    let numbers: Vec<u32> = blocks.clone().collect();
    let transfers = numbers.chunks(MOST);
    let mut program = Ccws::new(SECOND + FRONT as u32);
    let mut parameters = Vec::new();
    let behind = SECOND + FRONT as u32 + 2 * transfers.len() as u32 * CCW;
    let mut address = BASE;
    for transfer in transfers {
        let locate = Locate {
            operation: OPERATION_READ,
            replication: 0,
            count: U16::new(transfer.len() as u16),
            block: U32::new(transfer[0]),
        };
        let length = (transfer.len() * BLOCK) as u16;
        let size = size_of::<Locate>() as u16;
        program.push(LOCATE, behind + parameters.len() as u32, size);
        program.push(READ, address, length);
        parameters.extend_from_slice(locate.as_bytes());
        address += u32::from(length);
    }
    block.extend(program.end());
    block.extend(parameters);
    let signature = Signature::new(blocks);
    let room = BLOCK - size_of::<Signature>();
    ensure!(
        block.len() <= room,
        "the image is too large: its loader takes {} bytes of {room}",
        block.len()
    );
    block.resize(room, 0);
    block.extend(signature.as_bytes());
    block.try_into().ok().context("the loader is no block")
}
