//! The ELF as the linker made it, and what can be loaded out of it.
//!
//! Rule: the loadable bytes are the linker's, moved nowhere; only the symbol table's section is
//! filled in, and everything behind it is cut off.

use anyhow::{ensure, Context, Result};
use object::elf::{FileHeader64, ProgramHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{BigEndian, Object, ObjectSection};
use s390x::psw::{PswMask, ShortPsw};

/// Where the image begins: the one place every loader agrees on.
pub const BASE: u64 = 0x10000;

/// The control file of a list-directed IPL.
pub const INS: &str = "\
* Stellwerk: list-directed IPL. A file with a command line (at most 2943 characters and a zero
* byte) can be added at 0x00010480.
ipl-psw.bin 0x00000000
stellwerk.bin 0x00010000
";

type Elf = FileHeader64<BigEndian>;

/// A linked image.
#[derive(Debug)]
pub struct Image {
    bytes: Vec<u8>,
}

/// A piece of the file that is loaded.
struct Segment {
    offset: usize,
    size: usize,
    address: u64,
}

impl Image {
    /// Take an s390x ELF executable with its entry where loaders expect it.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let header = Elf::parse(bytes).context("not an ELF file")?;
        ensure!(
            header.e_machine.get(BigEndian) == object::elf::EM_S390
                && header.e_type.get(BigEndian) == object::elf::ET_EXEC,
            "not an s390x executable"
        );
        let entry = header.e_entry.get(BigEndian);
        ensure!(
            entry == BASE,
            "the entry is at {entry:#x} and must be at {BASE:#x}"
        );
        Ok(Self {
            bytes: bytes.to_vec(),
        })
    }

    /// Put `contents` at the front of the section that is loaded last, and let the file's part of its segment end there.
    pub fn set_last_section(&mut self, name: &str, contents: &[u8]) -> Result<()> {
        let file = object::File::parse(&*self.bytes)?;
        let section = file
            .section_by_name(name)
            .with_context(|| format!("no section {name}"))?;
        let (start, size) = section
            .file_range()
            .with_context(|| format!("{name} is empty"))?;
        let length = contents.len() as u64;
        ensure!(
            length <= size,
            "{name} has {size} bytes, {} too few: raise SECTION_SIZE in src/boot/symbols.rs",
            length - size
        );
        let offset = usize::try_from(start)?;
        self.bytes[offset..offset + contents.len()].copy_from_slice(contents);

        let header = Elf::parse(&*self.bytes)?;
        let table = usize::try_from(header.e_phoff.get(BigEndian))?;
        let count = usize::from(header.e_phnum.get(BigEndian));
        let last = start + size;
        let (programs, _) = object::pod::slice_from_bytes_mut::<ProgramHeader64<BigEndian>>(
            &mut self.bytes[table..],
            count,
        )
        .map_err(|()| anyhow::anyhow!("no room for program headers"))?;
        let segment = programs
            .iter_mut()
            .find(|program| {
                program.p_offset.get(BigEndian) + program.p_filesz.get(BigEndian) == last
            })
            .with_context(|| format!("{name} is not the last section of a segment"))?;
        let filled = start + length - segment.p_offset.get(BigEndian);
        segment.p_filesz.set(BigEndian, filled);
        Ok(())
    }

    /// The file without sections: what program headers name, and nothing behind it.
    pub fn stripped(&self) -> Result<Vec<u8>> {
        let end = self
            .segments()?
            .iter()
            .map(|s| s.offset + s.size)
            .max()
            .unwrap_or(0);
        let mut bytes = self.bytes[..end].to_vec();
        let (header, _) = object::pod::from_bytes_mut::<Elf>(&mut bytes)
            .map_err(|()| anyhow::anyhow!("no room for an ELF header"))?;
        header.e_shoff.set(BigEndian, 0);
        header.e_shnum.set(BigEndian, 0);
        header.e_shstrndx.set(BigEndian, 0);
        Ok(bytes)
    }

    /// What is loaded, as one piece from [`BASE`] on.
    pub fn flat(&self) -> Result<Vec<u8>> {
        let mut flat = Vec::new();
        for segment in self.segments()? {
            let start = usize::try_from(segment.address - BASE)?;
            let end = start + segment.size;
            if flat.len() < end {
                flat.resize(end, 0);
            }
            flat[start..end].copy_from_slice(&self.bytes[segment.offset..][..segment.size]);
        }
        Ok(flat)
    }

    fn segments(&self) -> Result<Vec<Segment>> {
        let header = Elf::parse(&*self.bytes)?;
        let mut segments = Vec::new();
        for program in header.program_headers(BigEndian, &*self.bytes)? {
            if program.p_type(BigEndian) != PT_LOAD || program.p_filesz(BigEndian) == 0 {
                continue;
            }
            let (offset, size) = program.file_range(BigEndian);
            let address = program.p_paddr(BigEndian);
            ensure!(
                address >= BASE,
                "a segment at {address:#x} is below the image"
            );
            let (offset, size) = (usize::try_from(offset)?, usize::try_from(size)?);
            ensure!(
                offset
                    .checked_add(size)
                    .is_some_and(|end| end <= self.bytes.len()),
                "a segment is outside the file"
            );
            segments.push(Segment {
                offset,
                size,
                address,
            });
        }
        Ok(segments)
    }
}

/// The PSW that a list-directed IPL begins with: ESA/390 mode, 31-bit addressing, at the entry.
pub fn ipl_psw() -> Result<[u8; 8]> {
    let psw = ShortPsw::new(PswMask::BASIC_ADDRESSING, BASE).context("the entry is too high")?;
    Ok(psw.to_bytes())
}
