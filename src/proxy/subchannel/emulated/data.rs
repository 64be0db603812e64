//! The data area of a client's CCW, wherever its address or its IDAWs say that it is.

use channel::{Ccw1, CcwFlags, Idaw1, Idaw2, IdawFormat};
use window::{ClientAddress, Window};

/// Why data could not be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The CCW's count is less than the command needs.
    Short,
    /// The data address, or an address word, is wrong or leads outside the program window.
    Address,
}

#[derive(Debug)]
pub struct Data<'a> {
    pub(super) window: &'a Window,
    pub(super) ccw: Ccw1,
    /// Of its address words.
    pub(super) format: IdawFormat,
    /// Bytes from the start that have been moved.
    pub(super) moved: u16,
}

impl Data<'_> {
    pub const fn count(&self) -> u16 {
        self.ccw.count.get()
    }

    /// Copies what the client has at `offset` of the area.
    pub fn read(&mut self, offset: u16, bytes: &mut [u8]) -> Result<(), Fault> {
        self.walk(offset, bytes.len(), |window, address, at, length| {
            let part = bytes.get_mut(at..at + length).ok_or(Fault::Short)?;
            window.read_bytes(address, part).map_err(|_| Fault::Address)
        })
    }

    /// Stores at `offset` of the area, unless the CCW says to skip.
    pub fn write(&mut self, offset: u16, bytes: &[u8]) -> Result<(), Fault> {
        let skip = self.ccw.flags().contains(CcwFlags::SKIP);
        self.walk(offset, bytes.len(), |window, address, at, length| {
            let part = bytes.get(at..at + length).ok_or(Fault::Short)?;
            if skip {
                return Ok(());
            }
            window
                .write_bytes(address, part)
                .map_err(|_| Fault::Address)
        })
    }

    fn walk(
        &mut self,
        offset: u16,
        length: usize,
        mut piece: impl FnMut(&Window, ClientAddress, usize, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = usize::from(offset) + length;
        if end > usize::from(self.count()) {
            return Err(Fault::Short);
        }
        let mut done = 0;
        while done < length {
            let (address, contiguous) = self.locate(usize::from(offset) + done)?;
            let step = contiguous.min(length - done);
            piece(self.window, address, done, step)?;
            done += step;
        }
        self.moved = self.moved.max(end as u16);
        Ok(())
    }

    /// Where byte `offset` of the area is, and how many bytes follow it there.
    fn locate(&self, offset: usize) -> Result<(ClientAddress, usize), Fault> {
        let base = u64::from(self.ccw.address.get());
        if !self.ccw.flags().contains(CcwFlags::IDA) {
            return Ok((ClientAddress::new(base + offset as u64), usize::MAX));
        }
        let block = u64::from(self.format.block());
        let first = self.address_word(base, 0)?;
        let in_first = (block - first % block) as usize;
        let (address, within) = if offset < in_first {
            (first, offset)
        } else {
            let further = offset - in_first;
            let index = 1 + further / block as usize;
            let address = self.address_word(base, index)?;
            if address % block != 0 {
                return Err(Fault::Address);
            }
            (address, further % block as usize)
        };
        let room = (block - address % block) as usize - within;
        let address = ClientAddress::new(address).checked_add(within as u64);
        Ok((address.ok_or(Fault::Address)?, room))
    }

    fn address_word(&self, list: u64, index: usize) -> Result<u64, Fault> {
        let size = u64::from(self.format.word());
        if !list.is_multiple_of(size) {
            return Err(Fault::Address);
        }
        let place = ClientAddress::new(list + index as u64 * size);
        let address = match self.format {
            IdawFormat::Format1 => {
                let word = self.window.read::<Idaw1>(place);
                word.ok().and_then(Idaw1::address).map(u64::from)
            }
            IdawFormat::Format2Of2K | IdawFormat::Format2Of4K => {
                self.window.read::<Idaw2>(place).ok().map(Idaw2::address)
            }
        };
        address.ok_or(Fault::Address)
    }
}
