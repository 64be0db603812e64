//! The symbol table of the image, made from the linker's.
//!
//! Names are demangled, without hash and without generic arguments, and cut to [`NAME_LIMIT`]
//! characters from the front: the end of a path says more.

use crate::frames::{self, Frame};
use crate::symbols::{
    Function, Symbols, ENTRY, FRAME_BY_R11, FRAME_MASK, FRAME_SAVES_R11, HEADER, MAGIC,
};
use anyhow::{ensure, Context, Result};
use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;

/// The longest name that is kept.
const NAME_LIMIT: usize = 64;

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

    /// How many bytes the table takes.
    pub fn size(&self) -> usize {
        HEADER
            + self
                .0
                .values()
                .map(|(name, _)| ENTRY + name.len())
                .sum::<usize>()
    }

    /// The table as the image reads it.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let size = self.size();
        let mut names = String::new();
        let mut bytes = MAGIC.to_vec();
        let names_size = size - HEADER - self.len() * ENTRY;
        bytes.extend(u32::try_from(self.len())?.to_be_bytes());
        bytes.extend(u32::try_from(names_size)?.to_be_bytes());
        for (address, (name, frame)) in &self.0 {
            bytes.extend(address.to_be_bytes());
            bytes.extend(u32::try_from(names.len())?.to_be_bytes());
            bytes.extend(packed(frame)?.to_be_bytes());
            bytes.extend(u16::try_from(frame.prologue)?.to_be_bytes());
            names.push_str(name);
        }
        bytes.extend(names.as_bytes());
        self.read_back(&bytes)?;
        Ok(bytes)
    }

    /// Look every function up as the image will.
    fn read_back(&self, bytes: &[u8]) -> Result<()> {
        let symbols = Symbols::parse(bytes).context("the table cannot be read back")?;
        ensure!(
            symbols.len() == self.len(),
            "the table reads back with another length"
        );
        for (&address, (name, frame)) in &self.0 {
            let expected = Function {
                name,
                offset: 0,
                frame: frame.size,
                prologue: frame.prologue,
                by_r11: frame.by_r11,
                saves_r11: frame.saves_r11,
            };
            ensure!(
                symbols.find(address.into()) == Some(expected),
                "{name} at {address:#x} does not read back: {frame:?}"
            );
        }
        Ok(())
    }
}

/// A frame as the table has it.
fn packed(frame: &Frame) -> Result<u16> {
    let size = u16::try_from(frame.size / 8).unwrap_or(u16::MAX);
    ensure!(size <= FRAME_MASK, "a frame of {} bytes", frame.size);
    let flag = |set, bit| if set { bit } else { 0 };
    Ok(size | flag(frame.by_r11, FRAME_BY_R11) | flag(frame.saves_r11, FRAME_SAVES_R11))
}

/// A symbol as a person reads it.
fn readable(symbol: &str) -> String {
    let name = without_arguments(&format!("{:#}", rustc_demangle::demangle(symbol)));
    let excess = name.chars().count().saturating_sub(NAME_LIMIT);
    name.chars().skip(excess).collect()
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
        assert_eq!(
            (function.name, function.offset),
            ("appliance::kmain", 0xFFE)
        );
        assert_eq!((function.frame, function.prologue), (176, 10));
        assert_eq!(symbols.find(0x12345).unwrap().name, "b");
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
        assert_eq!(readable(&"y".repeat(200)).len(), NAME_LIMIT);
    }
}
