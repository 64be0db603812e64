//! A table of the configuration, taken apart key by key.
//!
//! What is asked for is given with its place, if it is there and of the right type. What is wrong with it has been
//! reported otherwise, so that nobody need ask again. A key that there is not, but which looks like one that there is, counts
//! as that one from then on: it is wrong once, not twice.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use strum::VariantNames;
use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::memory;
use super::problem::{nearest, About, Problems};
use super::SECTOR;

/// Bytes of the text that are shown of a value.
const SHOWN: usize = 40;

struct Entry<'t> {
    key: String,
    span: Range<usize>,
    value: Spanned<DeValue<'t>>,
}

/// A table and what is wrong with it.
pub struct Table<'p, 't> {
    problems: &'p Problems<'t>,
    /// As it is written, `[[client.disk]]`; nothing for the whole file.
    name: &'static str,
    span: Range<usize>,
    entries: Vec<Entry<'t>>,
    /// Problems that there were before it.
    before: usize,
    /// Whether something is so wrong with its parts that nothing should be concluded from them.
    pub broken: bool,
}

impl<'p, 't> Table<'p, 't> {
    /// The whole file, in which only these tables belong.
    pub fn root(problems: &'p Problems<'t>, tables: &'static str, table: DeTable<'t>) -> Self {
        Self::open(problems, "", tables, table, 0..0)
    }

    fn open(
        problems: &'p Problems<'t>,
        name: &'static str,
        keys: &'static str,
        table: DeTable<'t>,
        span: Range<usize>,
    ) -> Self {
        let keys: Vec<&str> = keys.split(' ').collect();
        let (known, unknown): (Vec<_>, Vec<_>) = table
            .into_iter()
            .map(|(key, value)| Entry {
                span: key.span(),
                key: key.into_inner().into_owned(),
                value,
            })
            .partition(|entry| keys.contains(&entry.key.as_str()));
        let mut this = Self {
            before: problems.of_form(),
            problems,
            name,
            span,
            entries: known,
            broken: false,
        };
        for entry in unknown {
            this.unknown(entry, &keys);
        }
        this
    }

    /// Whether anything is wrong with it so far.
    pub fn is_doubtful(&self) -> bool {
        self.problems.of_form() != self.before
    }

    fn problem(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.add_about(About::Form, span, message, help);
    }

    fn unknown(&mut self, entry: Entry<'t>, keys: &[&str]) {
        let Entry { key, span, value } = entry;
        let near = nearest(&key, keys);
        let table = is_header(&value, &span);
        let message = match (table, self.name) {
            (true, _) => format!(
                "there is no table {}",
                self.source(&header_span(&value, &span))
            ),
            (false, "") => format!("\"{key}\" is in no table"),
            (false, name) => format!("there is no key \"{key}\" in {name}"),
        };
        let help = match (near, table, self.name) {
            (Some("appliance"), true, "") => "did you mean [appliance]?".to_owned(),
            (Some(near), true, "") => format!("did you mean [[{near}]]?"),
            (Some(near), true, _) => format!("did you mean [[client.{near}]]?"),
            (Some(near), false, _) => format!("did you mean \"{near}\"?"),
            (None, true, _) => {
                "the tables are [appliance], [[disk]], [[subchannel]], [[client]], [[client.disk]] and [[client.subchannel]]".to_owned()
            }
            (None, false, "") => "write it below the header of its table, as [appliance] or [[disk]]".to_owned(),
            (None, false, _) => format!("its keys are: {}", keys.join(", ")),
        };
        self.problem(span.clone(), message, help);
        self.broken |= table;
        if let Some(near) = near.filter(|near| !self.entries.iter().any(|entry| entry.key == *near))
        {
            self.entries.push(Entry {
                key: near.to_owned(),
                span,
                value,
            });
        }
    }

    fn take(&mut self, key: &str) -> Option<Entry<'t>> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(at))
    }

    /// What is written there, cut to fit into a message.
    fn source(&self, span: &Range<usize>) -> String {
        let text = self.problems.text.get(span.clone()).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None if line.len() < text.len() => format!("{line}…"),
            None => line.to_owned(),
        }
    }

    /// The value of a key that may be there. What cannot be read is wrong: what it is, and what to do.
    fn value<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, (&'static str, String)>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?.value;
        match read(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err((is, help)) => {
                let message = format!("{key} = {} {is}", self.source(&value.span()));
                self.problem(value.span(), message, help);
                None
            }
        }
    }

    /// Text. The example is what it could be.
    pub fn text(&mut self, key: &str, example: &str) -> Option<Spanned<String>> {
        let help = format!("write text between quotation marks: {key} = {example}");
        self.value(key, |value| text(value).ok_or(("is no text", help)))
    }

    /// Reports it if a key is not there at all.
    pub fn require(&self, key: &str, example: &str) {
        if !self.entries.iter().any(|entry| entry.key == key) {
            let message = format!("{} has no {key}", self.name);
            let help = format!("add a line: {key} = {example}");
            self.problem(self.span.clone(), message, help);
        }
    }

    pub fn needed_or_none(&mut self, key: &str, example: &str) -> Option<Spanned<String>> {
        self.require(key, example);
        self.text(key, example)
    }

    /// Text that has to be there, and be something; otherwise it is empty.
    pub fn needed(&mut self, key: &str, example: &str) -> Spanned<String> {
        let Some(text) = self.needed_or_none(key, example) else {
            return Spanned::new(self.span.clone(), String::new());
        };
        if text.get_ref().is_empty() {
            let help = format!("write something, as in {key} = {example}");
            self.problem(text.span(), format!("{key} is empty"), help);
        }
        text
    }

    /// A list of texts; empty if it is not there.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        let help = format!("write texts between brackets: {key} = [\"-name\", \"appliance\"]");
        let texts = self.value(key, |value| {
            let array = value.as_array().map(|array| array.iter());
            let texts = array.and_then(|array| array.map(|it| text(it.get_ref())).collect());
            texts.ok_or(("is no list of texts", help))
        });
        texts.map_or_else(Vec::new, Spanned::into_inner)
    }

    /// `true` or `false`; `false` if it is not there.
    pub fn flag(&mut self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// The same with another default.
    pub fn flag_or(&mut self, key: &str, default: bool) -> bool {
        let help = format!("write {key} = {}, or leave it out", !default);
        let wrong = ("is neither true nor false", help);
        let flag = self.value(key, |value| value.as_bool().ok_or(wrong));
        flag.map_or(default, Spanned::into_inner)
    }

    pub fn number(&mut self, key: &str, example: u64) -> Option<Spanned<u64>> {
        self.value(key, |value| {
            let meant = value.as_str().and_then(|text| text.trim().parse().ok());
            let help = format!("write a number: {key} = {}", meant.unwrap_or(example));
            number(value).ok_or(("is no number from 0 on", help))
        })
    }

    /// A number of seconds with its unit; nothing if it is `"off"` or 0.
    pub fn seconds_or_off(&mut self, key: &str) -> Option<Spanned<Option<Duration>>> {
        self.value(key, |value| {
            let written = value.as_str().map(str::trim);
            let read = match written {
                Some("off" | "0") => Some(0),
                Some(text) => text.strip_suffix('s').and_then(|text| text.trim().parse().ok()),
                None => number(value).filter(|&number| number == 0),
            };
            let bare = written.map_or_else(|| number(value), |text| text.parse::<u64>().ok());
            let (is, example) = match bare {
                Some(number) => ("has no unit", number),
                None => ("is no time", 5),
            };
            let help = format!("write whole seconds with their unit, between quotation marks: {key} = \"{example}s\", or \"off\"");
            let seconds: u64 = read.ok_or((is, help))?;
            Ok((seconds != 0).then(|| Duration::from_secs(seconds)))
        })
    }

    pub fn word<T: FromStr + VariantNames>(&mut self, key: &str) -> Option<Spanned<T>> {
        self.value(key, |value| {
            let text = value.as_str().unwrap_or_default();
            let help = match nearest(text, T::VARIANTS) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("it is one of \"{}\"", T::VARIANTS.join("\", \"")),
            };
            let word = text.parse().ok();
            word.ok_or(("is none of the words that it can be", help))
        })
    }

    pub fn size(&mut self, key: &str) -> Option<Spanned<String>> {
        self.value(key, |value| {
            let (is, example) = match value {
                DeValue::String(text) => return Ok(text.clone().into_owned()),
                DeValue::Integer(number) => ("has no unit", number.as_str()),
                _ => ("is no size", "512"),
            };
            Err((is, format!("write whole MiB or GiB with their unit, between quotation marks: {key} = \"{example}M\"")))
        })
    }

    /// A number of bytes, as a size with its unit.
    pub fn bytes(&mut self, key: &str) -> Option<Spanned<u64>> {
        let help = format!("write a size with its unit, between quotation marks: {key} = \"50M\"");
        self.value(key, |value| {
            let bytes = value.as_str().and_then(memory::parse);
            bytes.ok_or(("is no size", help))
        })
    }

    /// A number of sectors, or a size with its unit.
    pub fn sectors(&mut self, key: &str) -> Option<Spanned<u64>> {
        let help = format!("write a size with its unit, {key} = \"512M\", or a number of sectors of 512 bytes, {key} = 1048576");
        self.value(key, |value| {
            let sectors = match value.as_str() {
                Some(text) => memory::parse(text).map(|bytes| bytes / SECTOR),
                None => number(value),
            };
            sectors.ok_or(("is no size", help))
        })
    }

    /// The one table of this name.
    pub fn table(&mut self, key: &str, keys: &'static str) -> Option<Self> {
        let entry = self.take(key)?;
        let header = header_span(&entry.value, &entry.span);
        let first = match entry.value.into_inner() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(array) => {
                let message = format!("[[{key}]] has two pairs of brackets");
                let help = format!("there is one, so write [{key}]");
                self.problem(header.clone(), message, help);
                array.into_iter().find_map(|this| match this.into_inner() {
                    DeValue::Table(table) => Some(table),
                    _ => None,
                })
            }
            _ => {
                let help = format!("begin the table with its header: [{key}]");
                self.problem(entry.span, no_table(key), help);
                None
            }
        };
        first.map(|table| Table::open(self.problems, "[appliance]", keys, table, header))
    }

    /// Reads all tables of this name; how many they are.
    pub fn tables(
        &mut self,
        key: &str,
        name: &'static str,
        keys: &'static str,
        mut read: impl FnMut(Self),
    ) -> usize {
        let Some(entry) = self.take(key) else {
            return 0;
        };
        let whole = entry.value.span();
        let found = match entry.value.into_inner() {
            DeValue::Array(array) => array.into_iter().collect(),
            table @ DeValue::Table(_) => {
                let header = self.single(key, name, &table, &whole, &entry.span);
                match header {
                    true => vec![Spanned::new(whole, table)],
                    false => return 0,
                }
            }
            other => vec![Spanned::new(whole, other)],
        };
        let mut count = 0;
        for this in found {
            let span = this.span();
            match this.into_inner() {
                DeValue::Table(table) => {
                    let mut table = Table::open(self.problems, name, keys, table, span);
                    self.broken |= std::mem::take(&mut table.broken);
                    read(table);
                    count += 1;
                }
                _ => {
                    let help = format!("begin each table with its header: {name}");
                    self.problem(entry.span.clone(), no_table(key), help);
                    self.broken = true;
                }
            }
        }
        count
    }

    /// A table where several could be. Whether it has a header of its own, with one pair of brackets.
    fn single(
        &mut self,
        key: &str,
        name: &str,
        table: &DeValue<'t>,
        whole: &Range<usize>,
        key_span: &Range<usize>,
    ) -> bool {
        self.broken = true;
        if whole.start < key_span.start {
            let single = &name[1..name.len() - 1];
            let help = format!("there can be several, so write two: {name}");
            let message = format!("{single} has one pair of brackets");
            self.problem(whole.clone(), message, help);
            return true;
        }
        // Made by the header of something in it. Where its own is misspelt, that was said.
        let inner = table.as_table().and_then(|table| table.iter().next());
        let misspelt = self.problems.concerns(key);
        if let Some((inner, _)) = inner.filter(|_| !misspelt) {
            let message = format!("[[{key}.{}]] above any {name}", inner.get_ref());
            let help = format!("begin with {name}, and write this below it");
            self.problem(inner.span(), message, help);
        }
        false
    }
}

fn no_table(key: &str) -> String {
    format!("{key} is a key here, and not a table")
}

fn text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Whether a value is a table with a header of its own, or several.
fn is_header(value: &Spanned<DeValue<'_>>, key: &Range<usize>) -> bool {
    let table = value.get_ref().is_table() || value.get_ref().is_array();
    table && value.span().start <= key.start
}

/// Where the header of a table is, or its key.
fn header_span(value: &Spanned<DeValue<'_>>, key: &Range<usize>) -> Range<usize> {
    match value.span().start < key.start {
        true => value.span(),
        false => key.clone(),
    }
}
