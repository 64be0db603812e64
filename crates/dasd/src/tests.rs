//! Formats against facts that stand in the manuals or were seen on volumes that other programs made.

use std::string::ToString;

use proptest::prelude::*;
use s390x::ebcdic::Text;
use zerocopy::IntoBytes;

use crate::label::Label;
use crate::vtoc::{self, Dscb, DSCB};
use crate::TrackAddress;

#[test]
fn a_cylinder_of_more_than_16_bits_stands_before_the_head() {
    let address = TrackAddress::new(0xABC_1234, 14);
    assert_eq!(address.as_bytes(), [0x12, 0x34, 0xAB, 0xCE]);
    assert_eq!((address.cylinder(), address.head()), (0xABC_1234, 14));
    assert_eq!(TrackAddress::of_number(31, 15), TrackAddress::new(2, 1));
    assert_eq!(TrackAddress::new(2, 1).number(15), 31);
}

proptest! {
    /// No bytes make a parser panic, and what it gives is the bytes.
    #[test]
    fn any_bytes_are_some_label(bytes in proptest::collection::vec(any::<u8>(), 0..100), name in 0..4) {
        let mut bytes = bytes;
        let names = [crate::label::VOL1, crate::label::LNX1, crate::label::CMS1];
        if let Some(name) = names.get(name as usize) {
            bytes.splice(0..bytes.len().min(4), *name);
        }
        let label = Label::parse(&bytes);
        let _ = (Text(&label.serial()).to_string(), label.name());
    }

    #[test]
    fn any_bytes_are_some_dscb(bytes in proptest::collection::vec(any::<u8>(), DSCB), id in any::<u8>(), heads in 0..16_u16) {
        let mut dscb: [u8; DSCB] = bytes.try_into().unwrap();
        dscb[usize::from(vtoc::KEY)] = id;
        match Dscb::parse(&dscb) {
            Dscb::Format1(it) | Dscb::Format8(it) => {
                prop_assert_eq!(it.as_bytes(), dscb);
                for extent in it.extent {
                    if let Some((first, last)) = extent.tracks(heads) {
                        prop_assert!(first <= last);
                    }
                }
            }
            Dscb::Format3(it) => prop_assert_eq!(it.as_bytes(), dscb),
            Dscb::Format4(it) => prop_assert_eq!(it.as_bytes(), dscb),
            Dscb::Format5(it) => prop_assert_eq!(it.as_bytes(), dscb),
            Dscb::Format7(it) => prop_assert_eq!(it.as_bytes(), dscb),
            Dscb::Format9 => prop_assert_eq!(id, 0xF9),
            Dscb::Free => prop_assert_eq!(id, 0),
            Dscb::Other(other) => prop_assert_eq!(id, other),
        }
    }
}
