//! Makes the loadable images out of the linked appliance.
//!
//! ```text
//! cargo xtask image ELF [--out DIR]
//! ```
//!
//! | output | for |
//! |---|---|
//! | `stellwerk.elf` | QEMU's `-kernel`: the ELF without sections, with the symbol table filled in |
//! | `stellwerk.bin` | the same as a flat file, to be loaded at 0x10000 |
//! | `stellwerk.ins`, `ipl-psw.bin` | list-directed IPL of `stellwerk.bin` (LPAR, z/VM, Hercules) |
//!
//! It prints the loadable size, and fails when that or the symbol table is over its limit.

mod frames;
mod image;
mod table;

#[path = "../../src/boot/symbols.rs"]
mod symbols;

// Pure, but part of a program that runs on s390x only: its tests run here.
#[cfg(test)]
#[path = "../../src/boot/cmdline.rs"]
mod cmdline;

use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask image ELF [--out DIR]";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<PathBuf>) -> Result<()> {
    let words: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
    match words.as_slice() {
        [command, elf] if *command == Path::new("image") => make(elf, Path::new("target/image")),
        [command, elf, flag, out]
            if *command == Path::new("image") && *flag == Path::new("--out") =>
        {
            make(elf, out)
        }
        _ => bail!(USAGE),
    }
}

/// Make all files for `elf` in `out`.
fn make(elf: &Path, out: &Path) -> Result<()> {
    let bytes = std::fs::read(elf).with_context(|| format!("reading {}", elf.display()))?;
    let mut image = image::Image::parse(&bytes)?;
    let table = table::Table::of(&bytes)?;
    image.set_section(".symbols", &table.to_bytes()?)?;
    let flat = image.flat()?;

    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(out.join(name), bytes)
            .with_context(|| format!("writing {}", out.join(name).display()))
    };
    write("stellwerk.elf", &image.stripped()?)?;
    write("stellwerk.bin", &flat)?;
    write("ipl-psw.bin", &image::ipl_psw()?)?;
    write("stellwerk.ins", image::INS.as_bytes())?;
    println!(
        "image: {} KiB loadable (limit {} KiB), {} functions named in {} of {} KiB",
        flat.len().div_ceil(1024),
        image::LIMIT / 1024,
        table.len(),
        table.size().div_ceil(1024),
        symbols::SECTION_SIZE / 1024,
    );
    Ok(())
}
