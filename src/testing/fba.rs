//! A fixed-block disk, as its control unit sees it.

use std::vec::Vec;

use channel::CommandCode;
use s390x::ebcdic::CP037;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::unit::Unit;
use crate::driver::dasd::fba::format::{
    Characteristics, DefineExtent, Locate, DEFINE_EXTENT, LOCATE, READ, READ_CHARACTERISTICS, WRITE,
};

const SIZE: usize = 512;
const COMMAND_REJECT: u8 = 0x80;
const EQUIPMENT_CHECK: u8 = 0x10;

/// The disk.
#[derive(Debug)]
pub struct FixedBlock {
    pub about: Characteristics,
    pub blocks: Vec<u8>,
    /// A block that cannot be read.
    pub broken: Option<usize>,
    extent: Option<DefineExtent>,
    located: Option<Locate>,
}

impl FixedBlock {
    pub fn new(blocks: usize) -> Self {
        let mut about = Characteristics::new_zeroed();
        about.class = Characteristics::FBA;
        about.block = (SIZE as u16).into();
        about.blocks = (blocks as u32).into();
        Self {
            about,
            blocks: vec![0; blocks * SIZE],
            broken: None,
            extent: None,
            located: None,
        }
    }

    /// Puts a text into the label.
    pub fn label(&mut self, text: &str) -> &mut [u8] {
        let label = &mut self.blocks[SIZE..][..SIZE];
        CP037.encode(text, label);
        label
    }
}

impl Unit for FixedBlock {
    fn command(&mut self, command: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let reject = || vec![COMMAND_REJECT];
        let located = self.located.take();
        match command {
            READ_CHARACTERISTICS => Ok(self.about.as_bytes().to_vec()),
            DEFINE_EXTENT => {
                let extent = DefineExtent::read_from_bytes(data).unwrap();
                assert_eq!(extent.block.get(), 512);
                let all = (self.blocks.len() / SIZE) as u32;
                let fits = extent.first <= extent.last && extent.last.get() < all;
                self.extent = Some(extent).filter(|_| fits && extent.origin == extent.first);
                self.extent.map(|_| Vec::new()).ok_or_else(reject)
            }
            LOCATE => {
                let locate = Locate::read_from_bytes(data).unwrap();
                let extent = self.extent.ok_or_else(reject)?;
                let (first, count) = (locate.block.get(), u32::from(locate.count.get()));
                let inside = first >= extent.first.get() && first + count - 1 <= extent.last.get();
                let writes = locate.operation == Locate::WRITE;
                let permitted = !writes || extent.mask == DefineExtent::MASK_WRITE;
                self.located = Some(locate).filter(|_| inside && permitted && count > 0);
                self.located.map(|_| Vec::new()).ok_or_else(reject)
            }
            READ | WRITE => {
                let locate = located.ok_or_else(reject)?;
                let first = locate.block.get() as usize;
                let count = usize::from(locate.count.get());
                assert_eq!(locate.operation == Locate::READ, command == READ);
                let mut transferred = first..first + count;
                if self
                    .broken
                    .is_some_and(|block| transferred.contains(&block))
                {
                    return Err(vec![EQUIPMENT_CHECK]);
                }
                transferred = first * SIZE..(first + count) * SIZE;
                if command == WRITE {
                    self.blocks[transferred].copy_from_slice(data);
                    return Ok(Vec::new());
                }
                Ok(self.blocks[transferred].to_vec())
            }
            _ => Err(reject()),
        }
    }
}
