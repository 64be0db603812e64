//! Makes the loadable images out of the linked appliance.
//!
//! ```text
//! cargo xtask image ELF DIR [LIMIT]
//! ```
//!
//! | output | for |
//! |---|---|
//! | `stellwerk.elf` | QEMU's `-kernel`: the ELF without sections, with the symbol table filled in |
//! | `stellwerk.bin` | the same as a flat file, to be loaded at 0x10000 |
//! | `stellwerk.ins`, `ipl-psw.bin` | list-directed IPL of `stellwerk.bin` (LPAR, z/VM, Hercules) |
//!
//! It prints the loadable size, and fails when that is more than LIMIT KiB or when the symbol table has no room.

mod frames;
mod image;
mod names;
mod table;

use anyhow::{bail, ensure, Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask image ELF DIR [LIMIT]";

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
    let (elf, out, limit) = match arguments.as_slice() {
        [command, elf, out] if command == Path::new("image") => (elf, out, None),
        [command, elf, out, limit] if command == Path::new("image") => {
            let limit = limit.to_str().and_then(|limit| limit.parse().ok());
            (elf, out, Some(limit.context(USAGE)?))
        }
        _ => bail!(USAGE),
    };
    make(elf, out, limit)
}

/// Make all files for `elf` in `out`; `limit` is in KiB.
fn make(elf: &Path, out: &Path, limit: Option<usize>) -> Result<()> {
    let bytes = std::fs::read(elf).with_context(|| format!("reading {}", elf.display()))?;
    let mut image = image::Image::parse(&bytes)?;
    let table = table::Table::of(&bytes)?;
    let symbols = table.to_bytes()?;
    image.set_last_section(".symbols", &symbols)?;
    let flat = image.flat()?;
    let size = flat.len().div_ceil(1024);
    ensure!(
        limit.is_none_or(|limit| size <= limit),
        "the image loads {size} KiB, more than its limit, which is {}",
        limit.unwrap_or_default()
    );

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
        "image: {size} KiB loadable{}, {} functions named in {} KiB",
        limit.map_or_else(String::new, |limit| format!(" (limit {limit} KiB)")),
        table.len(),
        symbols.len().div_ceil(1024),
    );
    Ok(())
}
