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
    event_type, EventSccb, GeneralObject, MdbHeader, MessageSccb, MessageTextObject, LINE_END_TEXT,
    MDB_REVISION, MDB_TAG, MDB_TYPE, OBJECT_GENERAL, OBJECT_MESSAGE_TEXT, SCCB_SIZE,
};
use core::mem::size_of;
use heapless::Vec;

/// Longest line in line mode; longer ones continue on the next. (Linux uses the same width.)
pub const LINE_COLUMNS: usize = 320;

/// Distance of tabulator stops in line mode.
pub const TAB_COLUMNS: usize = 8;

/// Builds an ASCII write, `\n` as `\r\n`. Returns the number of bytes of `text` that fitted.
pub(crate) fn ascii(page: &mut SccbPage, text: &[u8]) -> usize {
    let mut end = size_of::<EventSccb>();
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
    page.write(0, &EventSccb::new(end, event_type::ASCII));
    taken
}

/// Builds a line-mode message, one text object per line. Returns the number of bytes of `text` that
/// fitted: whole lines, except where a line is longer than [`LINE_COLUMNS`].
pub(crate) fn lines(page: &mut SccbPage, event_type: u8, text: &[u8]) -> usize {
    let mut end = size_of::<MessageSccb>();
    let mut taken = 0;
    while let Some(rest) = text.get(taken..).filter(|rest| !rest.is_empty()) {
        let (line, line_taken) = line(rest);
        let Some(next) = write_line(&line, page, end) else {
            break;
        };
        end = next;
        taken += line_taken;
    }
    let start = MessageSccb {
        headers: EventSccb::new(end, event_type),
        mdb: MdbHeader {
            length: ((end - size_of::<EventSccb>()) as u16).into(),
            mdb_type: MDB_TYPE.into(),
            tag: MDB_TAG.into(),
            revision_code: MDB_REVISION.into(),
        },
        go: GeneralObject {
            length: (size_of::<GeneralObject>() as u16).into(),
            object_type: OBJECT_GENERAL.into(),
            rest: [0; 52],
        },
    };
    page.write(0, &start);
    taken
}

// A page holds at least one line, so that each call makes progress.
const _: () =
    assert!(size_of::<MessageSccb>() + size_of::<MessageTextObject>() + LINE_COLUMNS <= SCCB_SIZE);

/// One line in EBCDIC.
type Line = Vec<u8, LINE_COLUMNS>;

/// Takes text up to and including its line end, or as much as a line holds. Gives the line, and the number of bytes taken.
fn line(text: &[u8]) -> (Line, usize) {
    let mut line = Line::new();
    // Of a tabulator's blanks, what finds no room is left out.
    let push = |line: &mut Line, ascii| {
        let _ = line.push(ebcdic::from_ascii(ascii));
    };
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\n' => return (line, at + 1),
            // What follows the first byte of a UTF-8 character, and controls: nothing to show.
            0x80..=0xBF | 0x00..=0x08 | 0x0A..=0x1F | 0x7F => {}
            _ if line.is_full() => return (line, at),
            b'\t' => {
                for _ in line.len() % TAB_COLUMNS..TAB_COLUMNS {
                    push(&mut line, b' ');
                }
            }
            0xC0..=0xFF => push(&mut line, b'?'),
            0x20..=0x7E => push(&mut line, byte),
        }
    }
    (line, text.len())
}

/// Writes the line as a message text object. Returns where the next one goes, or `None` if the page has no room for this one.
fn write_line(line: &Line, page: &mut SccbPage, at: usize) -> Option<usize> {
    let text = at + size_of::<MessageTextObject>();
    let end = text + line.len();
    let object = MessageTextObject {
        length: ((end - at) as u16).into(),
        object_type: OBJECT_MESSAGE_TEXT.into(),
        line_type_flags: LINE_END_TEXT.into(),
        rest: [0; 4],
    };
    page.write_bytes(text, line)?;
    page.write(at, &object)?;
    Some(end)
}
