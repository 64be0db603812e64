//! One page of output.
//!
//! # Rule
//!
//! No line is longer than [`COLUMNS`], whatever is written: what does not fit goes on in the next line, indented. Only printable ASCII
//! comes out, so that nothing in a name is an order to the terminal. What is before the page is not even formatted.

use core::fmt::{self, Write};

use heapless::String;

use super::message::Message;

/// The columns of a line at most: what line-mode consoles show in one.
pub const COLUMNS: usize = 72;
/// The lines of a page.
pub const PAGE: usize = 20;
/// How far a line that goes on is indented: as wide as a message's identifier.
const INDENT: usize = 9;
/// Bytes for a page. A line that begins on the last one may need some more.
pub const ROOM: usize = (PAGE + 4) * (COLUMNS + 1);

/// Where a command writes.
#[derive(Debug)]
pub struct Out<'a> {
    text: &'a mut String<ROOM>,
    /// Items that have been shown before.
    skip: usize,
    /// Items so far, those before the page included.
    items: usize,
    lines: usize,
    column: usize,
    /// There is more than the page has room for.
    more: bool,
}

impl<'a> Out<'a> {
    /// A page into `text`, from this item on: a call of [`Self::line`] or [`Self::say`] makes an item.
    pub const fn new(text: &'a mut String<ROOM>, skip: usize) -> Self {
        Self {
            text,
            skip,
            items: 0,
            lines: 0,
            column: 0,
            more: false,
        }
    }

    /// A message with its identifier.
    pub fn say(&mut self, message: Message, text: fmt::Arguments<'_>) {
        self.line(format_args!("{message} {text}"));
    }

    /// A line of a table.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        if self.is_full() {
            self.more = true;
            return;
        }
        self.items += 1;
        if self.items <= self.skip {
            return;
        }
        // What has no room is cut off.
        let _ = self.write_fmt(text);
        self.end_line();
    }

    /// Whether a command can stop: what it writes now is for a later page.
    pub const fn is_full(&self) -> bool {
        self.lines >= PAGE
    }

    /// A command stops, and has more to say.
    pub const fn stop(&mut self) {
        self.more = true;
    }

    /// Where the next page begins, if there is one.
    pub fn next(&self) -> Option<usize> {
        self.more.then_some(self.items)
    }

    /// Goes on in the next line, with the word that did not fit, if the line has more than that.
    fn go_on(&mut self) -> fmt::Result {
        let begin = self.text.len() - self.column;
        let line = self.text.get(begin..).unwrap_or_default();
        let blank = line.bytes().rposition(|byte| byte == b' ');
        let blank = blank.filter(|&at| at > INDENT);
        let word = blank.and_then(|at| line.get(at + 1..)).unwrap_or_default();
        let word = String::<COLUMNS>::try_from(word).unwrap_or_default();
        if let Some(at) = blank {
            self.text.truncate(begin + at);
        }
        self.end_line();
        // Room for all of that and the line's end, or nothing of it.
        if self.text.len() + INDENT + word.len() + 2 >= ROOM {
            return Err(fmt::Error);
        }
        for character in core::iter::repeat_n(' ', INDENT).chain(word.chars()) {
            self.text.push(character).map_err(|_| fmt::Error)?;
        }
        self.column = INDENT + word.len();
        Ok(())
    }

    fn end_line(&mut self) {
        let _ = self.text.push('\n');
        self.lines += 1;
        self.column = 0;
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.column == COLUMNS {
                self.go_on()?;
            }
            let shown = match character {
                ' '..='~' => character,
                _ => '?',
            };
            // The line's end has its place still.
            if self.text.len() + 1 >= ROOM {
                return Err(fmt::Error);
            }
            self.text.push(shown).map_err(|_| fmt::Error)?;
            self.column += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(skip: usize, write: impl FnOnce(&mut Out<'_>)) -> (std::string::String, Option<usize>) {
        let mut text = String::new();
        let mut out = Out::new(&mut text, skip);
        write(&mut out);
        let next = out.next();
        (text.as_str().into(), next)
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_indented() {
        let (text, _) = page(0, |out| out.line(format_args!("{}", "x".repeat(80))));
        let expected = std::format!("{}\n{}{}\n", "x".repeat(72), " ".repeat(9), "x".repeat(8));
        assert_eq!(text, expected);
    }

    #[test]
    fn words_stay_whole_where_that_is_possible() {
        let words = "abcdefg ".repeat(20);
        let (text, _) = page(0, |out| out.line(format_args!("{words}end")));
        let lines: std::vec::Vec<_> = text.lines().collect();
        assert_eq!(lines[0].len(), 71, "{text}");
        assert!(lines[1..]
            .iter()
            .all(|line| line.starts_with("         abcdefg")));
        assert_eq!(text.split_whitespace().count(), 21);
        assert!(lines.iter().all(|line| line.len() <= COLUMNS));
    }

    #[test]
    fn nothing_but_printable_ascii_comes_out() {
        let (text, _) = page(0, |out| out.line(format_args!("\x1b[2J\u{e9}\nend")));
        assert_eq!(text, "?[2J??end\n");
    }

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let write = |out: &mut Out<'_>| (0..45).for_each(|n| out.line(format_args!("{n}")));
        let (mut seen, mut next) = page(0, write);
        let mut pages = 1;
        while let Some(skip) = next {
            let (text, following) = page(skip, write);
            seen += &text;
            next = following;
            pages += 1;
        }
        let all: std::string::String = (0..45).map(|n| std::format!("{n}\n")).collect();
        assert_eq!((seen, pages), (all, 3));
    }

    #[test]
    fn a_page_that_is_just_full_is_the_last_one() {
        let (_, next) = page(0, |out| (0..PAGE).for_each(|_| out.line(format_args!("x"))));
        assert_eq!(next, None);
    }

    #[test]
    fn an_item_without_end_is_cut_and_the_line_ends() {
        let (text, _) = page(0, |out| out.line(format_args!("{}", "x".repeat(9000))));
        assert!(text.len() <= ROOM && text.ends_with('\n'));
        assert!(text.lines().all(|line| line.len() <= COLUMNS));
    }
}
