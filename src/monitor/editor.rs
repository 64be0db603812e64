//! The line that is being typed, and those before.
//!
//! # Scope
//!
//! A VT220 sends each key; the editor echoes, and knows: Backspace, ^U (all of the line), ^W (the last word), ^C (begin anew), and the arrows up and down for
//! the lines before. Enter ends a line. What a line-mode console sends is edited already: there only line ends count, and nothing is echoed.
//!
//! # Limits
//!
//! Lines of [`LINE`] bytes, of which the last [`LINES`] are kept, in fixed room. Changes are made at the end of a line. Any other escape
//! sequence is dropped.

use heapless::{Deque, String};

/// How long a line can be.
pub const LINE: usize = 80;
/// How many are kept.
pub const LINES: usize = 4;

/// Goes to the beginning of the line and erases it.
pub const ERASE_LINE: &str = "\r\x1b[K";

/// What a key has come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Key {
    /// Show this.
    Echo(String<4>),
    /// Show the line anew.
    Redraw,
    /// The line has ended; it is [taken](Editor::take).
    End,
    Nothing,
}

/// Where in an escape sequence the keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Parameters and intermediates of a control sequence come, up to its final byte.
    Control,
    /// One more byte comes.
    Single,
}

#[derive(Debug, Default)]
pub struct Editor {
    line: String<LINE>,
    is_too_long: bool,
    escape: Escape,
    /// A line feed behind a carriage return ends no line.
    after_return: bool,
    /// The newest one first.
    history: Deque<String<LINE>, LINES>,
    /// Which of them the line is.
    shown: Option<usize>,
}

impl Editor {
    pub const fn new() -> Self {
        Self {
            line: String::new(),
            is_too_long: false,
            escape: Escape::None,
            after_return: false,
            history: Deque::new(),
            shown: None,
        }
    }

    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line that has ended, which is empty from then on. `None`: it was too long.
    pub fn take(&mut self) -> Option<String<LINE>> {
        let line = core::mem::take(&mut self.line);
        self.shown = None;
        if core::mem::take(&mut self.is_too_long) {
            return None;
        }
        Some(line)
    }

    /// Keeps a line for the arrows.
    pub fn keep(&mut self, line: &str) {
        if self.history.front().is_some_and(|last| last == line) {
            return;
        }
        if self.history.is_full() {
            self.history.pop_back();
        }
        if let Ok(line) = String::try_from(line) {
            // There is room.
            let _ = self.history.push_front(line);
        }
    }

    pub fn key(&mut self, byte: u8) -> Key {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match core::mem::take(&mut self.escape) {
            Escape::None => {}
            Escape::Begun => {
                self.escape = match byte {
                    b'[' => Escape::Control,
                    b'O' => Escape::Single,
                    _ => Escape::None,
                };
                return Key::Nothing;
            }
            Escape::Control if !(0x40..=0x7E).contains(&byte) => {
                self.escape = Escape::Control;
                return Key::Nothing;
            }
            Escape::Control | Escape::Single => return self.arrow(byte),
        }
        match byte {
            b'\n' if after_return => Key::Nothing,
            b'\r' | b'\n' => Key::End,
            0x1B => {
                self.escape = Escape::Begun;
                Key::Nothing
            }
            0x08 | 0x7F => match self.line.pop() {
                Some(_) => echo("\x08 \x08"),
                None => Key::Nothing,
            },
            0x03 | 0x15 => {
                self.line.clear();
                self.is_too_long = false;
                Key::Redraw
            }
            0x17 => {
                let kept = self.line.trim_ascii_end();
                let blank = kept.bytes().rposition(|byte| byte == b' ');
                let kept = blank.map_or(0, |blank| blank + 1);
                self.line.truncate(kept);
                Key::Redraw
            }
            b'\t' | b' '..=b'~' => {
                let character = if byte == b'\t' { ' ' } else { char::from(byte) };
                match self.line.push(character) {
                    Ok(()) => echo(character.encode_utf8(&mut [0; 4])),
                    Err(_) => {
                        self.is_too_long = true;
                        Key::Nothing
                    }
                }
            }
            _ => Key::Nothing,
        }
    }

    fn arrow(&mut self, key: u8) -> Key {
        let shown = match (key, self.shown) {
            (b'A', None) => Some(0),
            (b'A', Some(shown)) => Some(shown + 1),
            (b'B', Some(shown)) => shown.checked_sub(1),
            _ => return Key::Nothing,
        };
        self.line.clear();
        self.is_too_long = false;
        match shown {
            None => self.shown = None,
            Some(number) => {
                let number = number.min(self.history.len().saturating_sub(1));
                self.shown = Some(number);
                if let Some(line) = self.history.iter().nth(number) {
                    self.line.clone_from(line);
                }
            }
        }
        Key::Redraw
    }
}

fn echo(text: &str) -> Key {
    String::try_from(text).map_or(Key::Nothing, Key::Echo)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that these keys make, and what is left of the last one.
    fn typed(keys: &str) -> (std::vec::Vec<std::string::String>, std::string::String) {
        let mut editor = Editor::default();
        let mut lines = std::vec::Vec::new();
        for byte in keys.bytes() {
            if editor.key(byte) == Key::End {
                let line: std::string::String = match editor.take() {
                    Some(line) => line.as_str().into(),
                    None => "too long".into(),
                };
                editor.keep(&line);
                lines.push(line);
            }
        }
        (lines, editor.line().into())
    }

    #[test]
    fn a_line_ends_with_either_sign_or_with_both() {
        let lines = |keys| typed(keys).0;
        assert_eq!(lines("a\rb\nc\r\n\rd\n\n"), ["a", "b", "c", "", "d", ""]);
    }

    #[test]
    fn what_was_typed_wrong_can_be_taken_back() {
        assert_eq!(typed("stx\x08at\x7F\x7Fatus\x08\r").0, ["statu"]);
        assert_eq!(typed("\x08\x08a\r").0, ["a"]);
        assert_eq!(typed("trace  0100 \x17").1, "trace  ");
        assert_eq!(typed("trace\x17").1, "");
        assert_eq!(typed("trace\x15s\r").0, ["s"]);
        assert_eq!(typed("trace\x03s\r").0, ["s"]);
    }

    #[test]
    fn the_arrows_go_through_the_lines_before() {
        let before = "one\rtwo\rtwo\rthree\r";
        let then = |keys: &str| typed(&std::format!("{before}{keys}")).1;
        assert_eq!(then("\x1b[A"), "three");
        assert_eq!(then("x\x1b[A\x1b[A"), "two");
        assert_eq!(then("\x1bOA\x1bOA\x1bOA\x1bOA\x1bOA"), "one");
        assert_eq!(then("\x1b[A\x1b[A\x1b[B"), "three");
        assert_eq!(then("\x1b[A\x1b[B"), "");
        assert_eq!(typed("\x1b[A\x1b[A").1, "");
    }

    #[test]
    fn escape_sequences_are_no_text() {
        assert_eq!(typed("a\x1b[3~b\x1b[1;5Cc\x1bxd\x1b[Ce\r").0, ["abcde"]);
        assert_eq!(typed("\0\x01\u{e9}a\tb\r").0, ["a b"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_none() {
        let long = "x".repeat(LINE);
        assert_eq!(typed(&std::format!("{long}\r")).0, [long.as_str()]);
        assert_eq!(typed(&std::format!("{long}y\rz\r")).0, ["too long", "z"]);
        assert_eq!(typed(&std::format!("{long}y\x15z\r")).0, ["z"]);
    }

    proptest::proptest! {
        #[test]
        fn no_keys_do_harm(keys in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let mut editor = Editor::default();
            for key in keys {
                if editor.key(key) == Key::End {
                    if let Some(line) = editor.take() {
                        editor.keep(&line);
                    }
                }
                proptest::prop_assert!(editor.line().len() <= LINE);
            }
        }
    }
}
