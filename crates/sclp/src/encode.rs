//! Console text into SCCBs of WRITE EVENT DATA.
//!
//! Rule: one event buffer per SCCB (Hercules takes no more), as much text as fits the page, and the
//! caller learns how much that was. Each function consumes at least one byte of a non-empty text.
//!
//! Limits: text is taken as UTF-8. The ASCII console gets it as it is; line mode is EBCDIC, there each
//! character beyond ASCII becomes one `?`, and control characters are dropped.

use crate::ebcdic;
use crate::sccb::SccbPage;
use crate::spec::{
    event_type, AsciiSccb, EventBufferHeader, GeneralObject, MdbHeader, MessageSccb,
    MessageTextObject, SccbHeader, LINE_END_TEXT, MDB_REVISION, MDB_TAG, MDB_TYPE, OBJECT_GENERAL,
    OBJECT_MESSAGE_TEXT, SCCB_SIZE,
};
use core::mem::size_of;
use zerocopy::FromZeros;

/// Longest line in line mode; longer ones continue on the next. (Linux uses the same width.)
pub const LINE_COLUMNS: usize = 320;

/// Distance of tabulator stops in line mode.
pub const TAB_COLUMNS: usize = 8;

/// Builds an ASCII write, `\n` as `\r\n`. Returns the number of bytes of `text` that fitted.
pub(crate) fn ascii(page: &mut SccbPage, text: &[u8]) -> usize {
    let mut end = size_of::<AsciiSccb>();
    let mut taken = 0;
    for &byte in text {
        let out: &[u8] = if byte == b'\n' {
            b"\r\n"
        } else {
            core::slice::from_ref(&byte)
        };
        if page.write_bytes(end, out).is_none() {
            break;
        }
        end += out.len();
        taken += 1;
    }
    let start = AsciiSccb {
        header: SccbHeader::new(end, [0; 3]),
        event: EventBufferHeader::new(end - size_of::<SccbHeader>(), event_type::ASCII),
    };
    page.write(0, &start);
    taken
}

/// Builds a line-mode message, one text object per line. Returns the number of bytes of `text` that
/// fitted: whole lines, except where a line is longer than [`LINE_COLUMNS`].
pub(crate) fn lines(page: &mut SccbPage, event_type: u8, text: &[u8]) -> usize {
    let mut end = size_of::<MessageSccb>();
    let mut taken = 0;
    while let Some(rest) = text.get(taken..).filter(|rest| !rest.is_empty()) {
        let mut line = Line::new();
        let line_taken = line.take(rest);
        match line.write(page, end) {
            Some(next) => end = next,
            None => break,
        }
        taken += line_taken;
    }
    let event_length = end - size_of::<SccbHeader>();
    let start = MessageSccb {
        header: SccbHeader::new(end, [0; 3]),
        event: EventBufferHeader::new(event_length, event_type),
        mdb: MdbHeader {
            length: ((event_length - size_of::<EventBufferHeader>()) as u16).into(),
            mdb_type: MDB_TYPE.into(),
            tag: MDB_TAG.into(),
            revision_code: MDB_REVISION.into(),
        },
        go: GeneralObject {
            length: (size_of::<GeneralObject>() as u16).into(),
            object_type: OBJECT_GENERAL.into(),
            ..GeneralObject::new_zeroed()
        },
    };
    page.write(0, &start);
    taken
}

// A page holds at least one line, so that each call makes progress.
const _: () =
    assert!(size_of::<MessageSccb>() + size_of::<MessageTextObject>() + LINE_COLUMNS <= SCCB_SIZE);

/// One line in EBCDIC.
struct Line {
    text: [u8; LINE_COLUMNS],
    length: usize,
}

impl Line {
    const fn new() -> Self {
        Self {
            text: [0; LINE_COLUMNS],
            length: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.length >= LINE_COLUMNS
    }

    fn push(&mut self, ascii: u8) {
        if let Some(place) = self.text.get_mut(self.length) {
            *place = ebcdic::from_ascii(ascii);
            self.length += 1;
        }
    }

    fn push_tab(&mut self) {
        self.push(b' ');
        while !self.length.is_multiple_of(TAB_COLUMNS) && !self.is_full() {
            self.push(b' ');
        }
    }

    /// Takes text up to and including its line end, or as much as a line holds. Returns the number
    /// of bytes taken.
    fn take(&mut self, text: &[u8]) -> usize {
        for (at, &byte) in text.iter().enumerate() {
            match byte {
                b'\n' => return at + 1,
                // What follows the first byte of a UTF-8 character, and controls: nothing to show.
                0x80..=0xBF | 0x00..=0x08 | 0x0A..=0x1F | 0x7F => {}
                _ if self.is_full() => return at,
                b'\t' => self.push_tab(),
                0xC0..=0xFF => self.push(b'?'),
                0x20..=0x7E => self.push(byte),
            }
        }
        text.len()
    }

    /// Writes the line as a message text object. Returns where the next one goes, or `None` if the
    /// page has no room for this one.
    fn write(&self, page: &mut SccbPage, at: usize) -> Option<usize> {
        let text = self.text.get(..self.length)?;
        let length = size_of::<MessageTextObject>() + text.len();
        let end = at + length;
        if end > SCCB_SIZE {
            return None;
        }
        let object = MessageTextObject {
            length: (length as u16).into(),
            object_type: OBJECT_MESSAGE_TEXT.into(),
            line_type_flags: LINE_END_TEXT.into(),
            alarm_control: 0,
            reserved: [0; 3],
        };
        page.write(at, &object)?;
        page.write_bytes(at + size_of::<MessageTextObject>(), text)?;
        Some(end)
    }
}
