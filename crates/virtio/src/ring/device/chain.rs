//! One request's descriptor chain, taken out of the client's memory.

use core::fmt;

use window::{ClientAddress, Window};

use super::ChainError;
use crate::ring::layout::{Areas, Table};
use crate::ring::{Descriptor, DescriptorFlags};

/// The most bytes one chain may describe (section 2.7.4).
const MAX_BYTES: u64 = 1 << 32;

/// One buffer of a chain. Its address is a claim of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// Address of the first byte.
    pub address: ClientAddress,
    /// Length in bytes. It may be zero.
    pub len: u32,
    /// Whether the device writes it; otherwise it reads it.
    pub writable: bool,
}

/// The buffers of one request, at most `N`: first those that the device reads, then those that it
/// writes.
#[derive(Clone)]
pub struct Chain<const N: usize> {
    buffers: [Buffer; N],
    count: usize,
    readable: usize,
    bytes: u64,
}

impl<const N: usize> Chain<N> {
    /// An empty chain.
    pub const fn new() -> Self {
        const NONE: Buffer = Buffer {
            address: ClientAddress::new(0),
            len: 0,
            writable: false,
        };
        Self {
            buffers: [NONE; N],
            count: 0,
            readable: 0,
            bytes: 0,
        }
    }

    /// All buffers, in order.
    #[inline]
    pub fn buffers(&self) -> &[Buffer] {
        self.buffers.get(..self.count).unwrap_or(&[])
    }

    /// The buffers that the device reads.
    #[inline]
    pub fn readable(&self) -> &[Buffer] {
        self.buffers().get(..self.readable).unwrap_or(&[])
    }

    /// The buffers that the device writes.
    #[inline]
    pub fn writable(&self) -> &[Buffer] {
        self.buffers().get(self.readable..).unwrap_or(&[])
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.readable = 0;
        self.bytes = 0;
    }

    /// Walks the chain that starts at descriptor `head`, once, and copies what it says. `self` is
    /// empty before; after an error it holds what came before the error.
    #[inline]
    pub(super) fn collect(
        &mut self,
        window: &Window,
        areas: &Areas,
        indirect_negotiated: bool,
        head: u16,
    ) -> Result<(), ChainError> {
        let mut table = areas.descriptor_table(window)?;
        let mut index = head;
        let mut in_indirect = false;
        // A chain has no more descriptors than its table. Whoever takes more steps walks in circles.
        let mut steps = table.count();
        loop {
            steps = steps.checked_sub(1).ok_or(ChainError::Loop)?;
            let descriptor = table.descriptor(index)?;
            let flags = descriptor.flags();
            if flags.contains(DescriptorFlags::INDIRECT) {
                if in_indirect {
                    return Err(ChainError::NestedIndirect);
                }
                if !indirect_negotiated {
                    return Err(ChainError::IndirectNotNegotiated);
                }
                table = indirect_table(window, &descriptor)?;
                steps = table.count();
                index = 0;
                in_indirect = true;
                continue;
            }
            self.push(&descriptor)?;
            if !flags.contains(DescriptorFlags::NEXT) {
                break;
            }
            index = descriptor.next.get();
            if u32::from(index) >= table.count() {
                return Err(ChainError::NextOutOfRange {
                    next: index,
                    count: table.count(),
                });
            }
        }
        // At most `N` lengths of 32 bits: the sum cannot have overflowed.
        if self.bytes > MAX_BYTES {
            return Err(ChainError::TooManyBytes(self.bytes));
        }
        Ok(())
    }

    #[inline(always)]
    fn push(&mut self, descriptor: &Descriptor) -> Result<(), ChainError> {
        let writable = descriptor.flags().contains(DescriptorFlags::WRITE);
        let len = descriptor.len.get();
        let Some(slot) = self.buffers.get_mut(self.count) else {
            return Err(ChainError::TooManyBuffers { capacity: N });
        };
        *slot = Buffer {
            address: ClientAddress::new(descriptor.address.get()),
            len,
            writable,
        };
        if !writable {
            if self.readable != self.count {
                return Err(ChainError::ReadableAfterWritable);
            }
            self.readable += 1;
        }
        self.bytes += u64::from(len);
        self.count += 1;
        Ok(())
    }
}

/// The table that an indirect descriptor refers to. Its WRITE flag has no meaning (2.7.5.3.2).
#[inline(always)]
fn indirect_table<'w>(
    window: &'w Window,
    descriptor: &Descriptor,
) -> Result<Table<'w>, ChainError> {
    if descriptor.flags().contains(DescriptorFlags::NEXT) {
        return Err(ChainError::IndirectWithNext);
    }
    let bytes = descriptor.len.get();
    if bytes == 0 || !bytes.is_multiple_of(size_of::<Descriptor>() as u32) {
        return Err(ChainError::TableLength(bytes));
    }
    let address = ClientAddress::new(descriptor.address.get());
    Ok(Table::indirect(window, address, bytes)?)
}

impl<const N: usize> Default for Chain<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for Chain<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.buffers()).finish()
    }
}
