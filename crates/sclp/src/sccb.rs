//! The page that a service-call control block lives in.
//!
//! Rule: a page is written and read by value, at checked offsets. What the machine stored is
//! copied out before it is looked at.

use crate::spec::{ResponseCode, SccbHeader, SCCB_SIZE};
use core::fmt;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One 4 KiB page for an SCCB.
///
/// Its alignment keeps the SCCB from crossing a 4 KiB boundary. That it lies below 2 GiB is for
/// its owner to see to: use a `static` of an image that is linked there. The hardware transport
/// checks it.
#[repr(C, align(4096))]
pub struct SccbPage([u8; SCCB_SIZE]);

const _: () = assert!(size_of::<SccbPage>() == SCCB_SIZE);

impl SccbPage {
    /// A page of zeros.
    pub const fn new() -> Self {
        Self([0; SCCB_SIZE])
    }

    /// The bytes of the page.
    pub const fn as_bytes(&self) -> &[u8; SCCB_SIZE] {
        &self.0
    }

    /// The bytes of the page, to be written.
    pub fn as_bytes_mut(&mut self) -> &mut [u8; SCCB_SIZE] {
        &mut self.0
    }

    /// The SCCB header as it stands.
    pub fn header(&self) -> SccbHeader {
        const { assert!(size_of::<SccbHeader>() <= SCCB_SIZE) };
        self.read().unwrap_or(SccbHeader::new(0, [0; 3]))
    }

    /// The response code as it stands.
    pub fn response_code(&self) -> ResponseCode {
        ResponseCode(self.header().response_code.get())
    }

    /// The SCCB as far as its length goes; never more than the page.
    pub fn sccb(&self) -> &[u8] {
        let length = usize::from(self.header().length.get());
        self.0.get(..length).unwrap_or(&self.0)
    }

    /// Copies a structure from the start of the page; `None` if the page is too short for it.
    pub(crate) fn read<T: FromBytes>(&self) -> Option<T> {
        T::read_from_prefix(&self.0).ok().map(|(value, _)| value)
    }

    /// Writes bytes at an offset; `None`, and nothing written, if they would leave the page.
    pub(crate) fn write_bytes(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        let end = at.checked_add(bytes.len())?;
        self.0.get_mut(at..end)?.copy_from_slice(bytes);
        Some(())
    }

    /// Writes a structure at an offset; `None`, and nothing written, if it would leave the page.
    pub(crate) fn write<T: IntoBytes + Immutable>(&mut self, at: usize, value: &T) -> Option<()> {
        self.write_bytes(at, value.as_bytes())
    }
}

impl Default for SccbPage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SccbPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SccbPage").field(&self.header()).finish()
    }
}
