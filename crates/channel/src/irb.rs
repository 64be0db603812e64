//! The interruption-response block (*Principles of Operation*, chapter 16,
//! "Interruption-response block").

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Scsw;

/// What TEST SUBCHANNEL stores: subchannel-status word, extended-status word, extended-control word
/// and extended-measurement word.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct Irb {
    /// Subchannel-status word.
    pub scsw: Scsw,
    /// Extended-status word.
    pub esw: [U32; 5],
    /// Extended-control word: concurrent sense, or model-dependent information.
    pub ecw: [u8; 32],
    /// Extended-measurement word.
    pub emw: [U32; 8],
}

const _: () = assert!(size_of::<Irb>() == 96);

impl Default for Irb {
    fn default() -> Self {
        Self {
            scsw: Scsw::default(),
            esw: [U32::ZERO; 5],
            ecw: [0; 32],
            emw: [U32::ZERO; 8],
        }
    }
}

impl Irb {
    /// Concurrent-sense bytes, when the extended-report word says that the ECW holds them.
    pub fn concurrent_sense(&self) -> Option<&[u8]> {
        const ERW_SENSE: u32 = 0x0100_0000;
        let erw = self.esw.get(1)?.get();
        if !self.scsw.ecw_stored() || erw & ERW_SENSE == 0 {
            return None;
        }
        let count = (erw >> 16) as usize & 0x3F;
        self.ecw.get(..count)
    }
}
