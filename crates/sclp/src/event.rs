//! Event buffers that READ EVENT DATA returns, and the text inside them.
//!
//! Rule: every length comes from outside and is only believed within the bounds of what holds it.
//! A length that leads nowhere ends the walk.

use crate::ebcdic::to_ascii;
use crate::spec::{gds, EventBufferHeader, FlatCommand, GdsSubvector, GdsVector, SccbHeader};
use core::mem::size_of;
use s390x::ebcdic::{CodePage, CP037, CP500};
use zerocopy::FromBytes;

/// One event buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventBuffer<'a> {
    /// Type, see [`spec::event_type`](crate::spec::event_type).
    pub event_type: u8,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The event buffers of an SCCB, in order.
#[derive(Debug, Clone)]
pub(crate) struct EventBuffers<'a> {
    rest: &'a [u8],
}

impl<'a> EventBuffers<'a> {
    /// The event buffers behind the header of this SCCB.
    pub(crate) fn new(sccb: &'a [u8]) -> Self {
        Self {
            rest: sccb.get(size_of::<SccbHeader>()..).unwrap_or_default(),
        }
    }
}

impl<'a> Iterator for EventBuffers<'a> {
    type Item = EventBuffer<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, _) = EventBufferHeader::read_from_prefix(self.rest).ok()?;
        let (buffer, rest) = self
            .rest
            .split_at_checked(usize::from(header.length.get()))?;
        let payload = buffer.get(size_of::<EventBufferHeader>()..)?;
        self.rest = rest;
        Some(EventBuffer {
            event_type: header.event_type,
            payload,
        })
    }
}

/// The text of an operator command or priority command (line mode).
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperatorText<'a> {
    ebcdic: &'a [u8],
    code_page: &'static CodePage,
}

impl<'a> OperatorText<'a> {
    /// Finds the text in the payload of an event: by its place in QEMU's flat form first, then by
    /// identifiers and lengths as the vectors are meant to be read.
    pub(crate) fn find(payload: &'a [u8]) -> Option<Self> {
        let flat = flat_text(payload).map(|ebcdic| Self {
            ebcdic,
            code_page: &CP037,
        });
        flat.or_else(|| {
            nested_text(payload).map(|ebcdic| Self {
                ebcdic,
                code_page: &CP500,
            })
        })
    }

    /// The text in ASCII, with `?` for what has no place there.
    pub(crate) fn ascii(self) -> impl Iterator<Item = u8> + 'a {
        let Self { ebcdic, code_page } = self;
        ebcdic.iter().map(|&byte| to_ascii(code_page, byte))
    }
}

fn flat_text(payload: &[u8]) -> Option<&[u8]> {
    let (flat, text) = FlatCommand::read_from_prefix(payload).ok()?;
    let id = flat.mds_mu.id.get();
    let is_flat = (id == gds::MDS_MU || id == gds::MDS_MU.swap_bytes())
        && usize::from(flat.mds_mu.length.get()) == size_of::<FlatCommand>()
        && flat.self_defining_text.key == gds::SELF_DEFINING_TEXT
        && flat.text_message.key == gds::TEXT_MESSAGE;
    is_flat.then_some(text)
}

fn nested_text(payload: &[u8]) -> Option<&[u8]> {
    let message_unit = find_vector(payload, gds::MDS_MU)?;
    let management_unit = find_vector(message_unit, gds::CP_MSU)?;
    let command = find_vector(management_unit, gds::TEXT_COMMAND)?;
    let message = find_subvector(command, gds::SELF_DEFINING_TEXT)?;
    find_subvector(message, gds::TEXT_MESSAGE)
}

/// The contents of the first vector with this identifier.
fn find_vector(mut vectors: &[u8], id: u16) -> Option<&[u8]> {
    loop {
        let (header, _) = GdsVector::read_from_prefix(vectors).ok()?;
        let (vector, rest) = vectors.split_at_checked(usize::from(header.length.get()))?;
        let contents = vector.get(size_of::<GdsVector>()..)?;
        if header.id.get() == id {
            return Some(contents);
        }
        vectors = rest;
    }
}

/// The contents of the first subvector with this key.
fn find_subvector(mut subvectors: &[u8], key: u8) -> Option<&[u8]> {
    loop {
        let (header, _) = GdsSubvector::read_from_prefix(subvectors).ok()?;
        let (subvector, rest) = subvectors.split_at_checked(usize::from(header.length))?;
        let contents = subvector.get(size_of::<GdsSubvector>()..)?;
        if header.key == key {
            return Some(contents);
        }
        subvectors = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn operator_text(payload: &[u8]) -> Option<std::vec::Vec<u8>> {
        OperatorText::find(payload).map(|text| text.ascii().collect())
    }

    fn sccb(buffers: &[(u8, &[u8])]) -> std::vec::Vec<u8> {
        let mut bytes = std::vec![0; 8];
        for (event_type, payload) in buffers {
            bytes.extend_from_slice(&(6 + payload.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[*event_type, 0, 0, 0]);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    #[test]
    fn an_sccb_can_hold_several_event_buffers() {
        let bytes = sccb(&[(0x1A, b"\0abc"), (0x1D, b""), (0x99, b"x")]);
        let seen: std::vec::Vec<_> = EventBuffers::new(&bytes)
            .map(|event| (event.event_type, event.payload.to_vec()))
            .collect();
        assert_eq!(
            seen,
            [
                (0x1A, b"\0abc".to_vec()),
                (0x1D, b"".to_vec()),
                (0x99, b"x".to_vec())
            ]
        );
    }

    #[test]
    fn a_length_of_zero_or_beyond_the_sccb_ends_the_walk() {
        let mut bytes = sccb(&[(0x1A, b"\0a")]);
        bytes.extend_from_slice(&[0; 40]);
        assert_eq!(EventBuffers::new(&bytes).count(), 1);
        bytes.splice(16.., [0xFF, 0xFF, 0x1A, 0, 0, 0, 1]);
        assert_eq!(EventBuffers::new(&bytes).count(), 1);
        assert_eq!(EventBuffers::new(&bytes[..3]).count(), 0);
    }

    #[test]
    fn text_is_found_in_the_flat_form_with_swapped_identifiers_and_zero_lengths() {
        let swapped = b"\x00\x10\x10\x13\x00\x0C\x12\x12\x00\x08\x20\x13\x00\x31\x00\x30\x88\x89";
        assert_eq!(operator_text(swapped), Some(b"hi".to_vec()));
        // The same from a big-endian host: identifiers right, the text outside its containers.
        let right = b"\x00\x10\x13\x10\x00\x0C\x12\x12\x00\x08\x13\x20\x04\x31\x04\x30\x88\x89";
        assert_eq!(operator_text(right), Some(b"hi".to_vec()));
    }

    #[test]
    fn text_is_found_in_the_nested_form_behind_other_vectors() {
        let text = b"\x88\x85";
        let subvectors = [&b"\x06\x31\x04\x30"[..], text].concat();
        let command = [&b"\x00\x0A\x13\x20"[..], &subvectors].concat();
        let unit = [&b"\x00\x12\x12\x12\x00\x04\x80\x70"[..], &command].concat();
        let message = [&b"\x00\x1A\x13\x10\x00\x04\x13\x11"[..], &unit].concat();
        assert_eq!(operator_text(&message), Some(b"he".to_vec()));
        for cut in 0..message.len() {
            assert_eq!(operator_text(&message[..cut]), None);
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_walk_panic_or_spin(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = operator_text(&bytes);
            let total: usize = EventBuffers::new(&bytes).map(|event| event.payload.len() + 6).sum();
            prop_assert!(total <= bytes.len());
        }

        #[test]
        fn damage_to_one_byte_never_yields_text_from_outside(at in 0usize..26, value: u8) {
            let mut message = *b"\x00\x1A\x13\x10\x00\x04\x13\x11\x00\x12\x12\x12\x00\
                \x04\x80\x70\x00\x0A\x13\x20\x06\x31\x04\x30\x88\x85";
            message[at] = value;
            let text = operator_text(&message).unwrap_or_default();
            prop_assert!(text.len() <= 10);
        }
    }
}
