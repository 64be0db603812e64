//! The symbol table of the image, made from the linker's.
//!
//! Names are demangled, without hash, without generic arguments and without the path of a trait, and cut to
//! [`NAME_LIMIT`] characters from the front: the end of a path says more.

use crate::frames::{self, Frame};
use crate::names::Names;
use anyhow::{ensure, Context, Result};
use appliance::boot::symbols::{
    Symbols, FRAME_BY_R11, FRAME_MASK, FRAME_SAVES_R11, GROUP, MAGIC, NAME_LIMIT,
};
use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;

/// Functions by address.
#[derive(Debug)]
pub struct Table(BTreeMap<u32, (String, Frame)>);

impl Table {
    /// The functions of a linked image.
    pub fn of(elf: &[u8]) -> Result<Self> {
        let file = object::File::parse(elf)?;
        let frames = frames::of(&file)?;
        let mut functions = BTreeMap::new();
        for symbol in file.symbols() {
            let (Ok(name), Ok(address)) = (symbol.name(), u32::try_from(symbol.address())) else {
                continue;
            };
            if symbol.kind() == SymbolKind::Text && symbol.is_definition() && !name.is_empty() {
                let frame = frames.get(&symbol.address()).copied().unwrap_or_default();
                functions.insert(address, (readable(name), frame));
            }
        }
        ensure!(
            !functions.is_empty(),
            "the image has no symbols: was it stripped?"
        );
        Ok(Self(functions))
    }

    /// How many functions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The table as the image reads it.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let names = Names::compress(self.0.values().map(|(name, _)| name.as_str()));
        let frames = self.frames()?;
        let (mut groups, mut functions) = (Vec::new(), Vec::new());
        let mut before = 0;
        for (number, ((&address, (name, frame)), tokens)) in
            self.0.iter().zip(&names.tokens).enumerate()
        {
            if number % GROUP == 0 {
                groups.extend(address.to_be_bytes());
                groups.extend(u32::try_from(functions.len())?.to_be_bytes());
                before = address;
            }
            let distance = address - before;
            ensure!(
                distance % 2 == 0,
                "{name} is at the odd address {address:#x}"
            );
            push_number(&mut functions, distance / 2);
            let frame = packed(frame)?;
            let frame = frames.iter().position(|&other| other == frame);
            push_number(
                &mut functions,
                u32::try_from(frame.context("no such frame")?)?,
            );
            functions.push(u8::try_from(tokens.len())?);
            functions.extend(tokens);
            before = address;
        }
        let mut bytes = MAGIC.to_vec();
        for count in [self.len().div_ceil(GROUP), frames.len(), names.pairs.len()] {
            bytes.extend(u16::try_from(count)?.to_be_bytes());
        }
        bytes.extend(u32::try_from(functions.len())?.to_be_bytes());
        bytes.extend(groups);
        for (frame, prologue) in frames {
            bytes.extend(frame.to_be_bytes());
            bytes.extend(prologue.to_be_bytes());
        }
        for (first, second) in names.pairs {
            bytes.extend(&(u32::from(first) << 12 | u32::from(second)).to_be_bytes()[1..]);
        }
        bytes.extend(functions);
        self.read_back(&bytes)?;
        Ok(bytes)
    }

    /// All different frames, the most frequent ones first: their numbers are the shortest.
    fn frames(&self) -> Result<Vec<(u16, u16)>> {
        let mut uses = BTreeMap::new();
        for (_, frame) in self.0.values() {
            *uses.entry(packed(frame)?).or_insert(0) += 1;
        }
        let mut frames: Vec<_> = uses.keys().copied().collect();
        frames.sort_by_key(|frame| std::cmp::Reverse(uses[frame]));
        Ok(frames)
    }

    /// Look every function up as the image will.
    fn read_back(&self, bytes: &[u8]) -> Result<()> {
        let symbols = Symbols::parse(bytes).context("the table cannot be read back")?;
        for (&address, (name, frame)) in &self.0 {
            let found = symbols.find(address.into());
            let found = found.with_context(|| format!("{name} at {address:#x} is not found"))?;
            let found_frame = Frame {
                size: found.frame,
                prologue: found.prologue,
                by_r11: found.by_r11,
                saves_r11: found.saves_r11,
            };
            ensure!(
                found.name.to_string() == *name && found.offset == 0 && found_frame == *frame,
                "{name} at {address:#x} with {frame:?} reads back as {}+{:#x} with {found_frame:?}",
                found.name,
                found.offset
            );
        }
        Ok(())
    }
}

/// Append a number, seven bits a byte.
fn push_number(bytes: &mut Vec<u8>, number: u32) {
    let (mut shift, mask) = (28, 0x7F);
    while shift > 0 && number >> shift == 0 {
        shift -= 7;
    }
    while shift > 0 {
        bytes.push(0x80 | (number >> shift & mask) as u8);
        shift -= 7;
    }
    bytes.push((number & mask) as u8);
}

/// A frame and its prologue as the table has them.
fn packed(frame: &Frame) -> Result<(u16, u16)> {
    let size = u16::try_from(frame.size / 8).unwrap_or(u16::MAX);
    ensure!(size <= FRAME_MASK, "a frame of {} bytes", frame.size);
    let flag = |set, bit| if set { bit } else { 0 };
    let size = size | flag(frame.by_r11, FRAME_BY_R11) | flag(frame.saves_r11, FRAME_SAVES_R11);
    Ok((size, u16::try_from(frame.prologue)?))
}

/// A symbol as a person reads it.
fn readable(symbol: &str) -> String {
    let name = without_arguments(&format!("{:#}", rustc_demangle::demangle(symbol)));
    let name = without_trait_path(&name);
    let excess = name.chars().count().saturating_sub(NAME_LIMIT);
    let ascii = |character: char| if character.is_ascii() { character } else { '?' };
    name.chars().skip(excess).map(ascii).collect()
}

/// `<a::T as b::Trait>::f` is `<a::T as Trait>::f`.
fn without_trait_path(name: &str) -> String {
    match name.split_once(" as ") {
        Some((of, rest)) => {
            let end = rest.find('>').unwrap_or(rest.len());
            let start = rest[..end].rfind("::").map_or(0, |colons| colons + 2);
            format!("{of} as {}", &rest[start..])
        }
        None => name.to_owned(),
    }
}

/// The path without generic arguments: `a::b::<c>::d` is `a::b::d`. What a path begins with, as in
/// `<T as Trait>::f`, stays.
fn without_arguments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut depth = 0usize;
    let mut previous = ' ';
    for character in path.chars() {
        match character {
            '<' if depth > 0
                || previous == ':'
                || previous.is_alphanumeric()
                || previous == '_' =>
            {
                if depth == 0 && out.ends_with("::") {
                    out.truncate(out.len() - 2);
                }
                depth += 1;
            }
            // Not the arrow of a function type.
            '>' if depth > 0 && previous != '-' => depth -= 1,
            _ if depth > 0 => {}
            _ => out.push(character),
        }
        previous = character;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(functions: &[(u32, &str)]) -> Table {
        let frame = Frame {
            size: 176,
            prologue: 10,
            by_r11: false,
            saves_r11: true,
        };
        Table(
            functions
                .iter()
                .map(|&(a, n)| (a, (n.to_owned(), frame)))
                .collect(),
        )
    }

    #[test]
    fn what_is_written_is_what_the_image_reads() {
        let bytes = table(&[(0x11000, "appliance::kmain"), (0x12000, "b")])
            .to_bytes()
            .unwrap();
        let symbols = Symbols::parse(&bytes).unwrap();
        let function = symbols.find(0x11FFE).unwrap();
        assert_eq!(function.name.to_string(), "appliance::kmain");
        assert_eq!(function.offset, 0xFFE);
        assert_eq!((function.frame, function.prologue), (176, 10));
        assert_eq!(symbols.find(0x12345).unwrap().name.to_string(), "b");
    }

    #[test]
    fn each_of_many_functions_reads_back_as_itself() {
        let names: Vec<String> = (0..2000)
            .map(|n| {
                format!(
                    "<appliance::part{}::Type{} as Trait{}>::call{n}",
                    n % 7,
                    n % 11,
                    n % 3
                )
            })
            .collect();
        let functions: Vec<(u32, &str)> = (0..)
            .zip(&names)
            .map(|(n, name)| (0x11000 + n * n * 2, name.as_str()))
            .collect();
        let table = table(&functions);
        // This looks each one up.
        let bytes = table.to_bytes().unwrap();
        assert!(bytes.len() < names.iter().map(String::len).sum::<usize>() / 2);
    }

    #[test]
    fn names_are_short_and_still_names() {
        assert_eq!(
            readable("_ZN9appliance5kmain17h0123456789abcdefE"),
            "appliance::kmain"
        );
        assert_eq!(without_arguments("a::b::<c, fn(d) -> e>::f"), "a::b::f");
        assert_eq!(
            without_arguments("core::ptr::drop_in_place<x::Y<Z>>"),
            "core::ptr::drop_in_place"
        );
        assert_eq!(
            without_arguments("<T as U<V>>::f::{{closure}}"),
            "<T as U>::f::{{closure}}"
        );
        assert_eq!(
            without_trait_path("<a::T as b::c::U>::d::f"),
            "<a::T as U>::d::f"
        );
        assert_eq!(without_trait_path("a::b"), "a::b");
        assert_eq!(readable(&"y".repeat(200)).len(), NAME_LIMIT);
    }
}
