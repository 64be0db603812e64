//! The interruption-response block (*Principles of Operation*, chapter 16,
//! "Interruption-response block").

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Emw, ErwFlags, Esw, Scsw};

/// The extended-control word: concurrent sense, or model-dependent information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Ecw(pub [u8; 32]);

/// What TEST SUBCHANNEL stores: subchannel-status word, extended-status word, extended-control word
/// and extended-measurement word. The last is stored only while the PMCW enables it
/// ([`Pmcw::has_extended_measurement`](crate::Pmcw::has_extended_measurement)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(4))]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Irb {
    /// Subchannel-status word.
    pub scsw: Scsw,
    /// Extended-status word.
    pub esw: Esw,
    /// Extended-control word.
    pub ecw: Ecw,
    /// Extended-measurement word.
    pub emw: Emw,
}

const _: () = assert!(size_of::<Irb>() == 96);

impl Irb {
    /// Concurrent-sense bytes, when the extended-report word says that the ECW holds them.
    pub fn concurrent_sense(&self) -> Option<&[u8]> {
        if !self.scsw.ecw_stored() || !self.esw.erw.flags().contains(ErwFlags::CONCURRENT_SENSE) {
            return None;
        }
        self.ecw.0.get(..usize::from(self.esw.erw.sense_count()))
    }

    /// Puts sense data (its first 32 bytes) into the ECW, and says so in SCSW and ERW.
    pub fn set_concurrent_sense(&mut self, sense: &[u8]) {
        self.ecw = Ecw::default();
        let mut count = 0;
        for (to, from) in self.ecw.0.iter_mut().zip(sense) {
            *to = *from;
            count += 1;
        }
        self.esw.erw = self.esw.erw.with_sense(count);
        self.scsw.set_ecw_stored(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_irb_has_its_parts_where_the_manual_puts_them() {
        use core::mem::offset_of;
        assert_eq!(offset_of!(Irb, esw), 12);
        assert_eq!(offset_of!(Irb, ecw), 32);
        assert_eq!(offset_of!(Irb, emw), 64);
    }

    #[test]
    fn sense_in_the_ecw_counts_only_when_scsw_and_erw_say_so() {
        let mut irb = Irb::default();
        assert_eq!(irb.concurrent_sense(), None);
        irb.set_concurrent_sense(&[0x80, 0, 7]);
        assert_eq!(irb.concurrent_sense(), Some([0x80, 0, 7].as_slice()));
        irb.scsw.set_ecw_stored(false);
        assert_eq!(irb.concurrent_sense(), None);
    }

    proptest! {
        #[test]
        fn any_96_bytes_are_an_irb_and_its_sense_is_within(bytes in proptest::collection::vec(any::<u8>(), 96)) {
            let irb = Irb::read_from_bytes(&bytes).unwrap();
            prop_assert_eq!(irb.as_bytes(), bytes.as_slice());
            prop_assert!(irb.concurrent_sense().is_none_or(|sense| sense.len() <= 32));
        }
    }
}
