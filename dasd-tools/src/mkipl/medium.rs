//! The file of a volume: units of one size, behind a header.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Context, Result};

#[derive(Debug)]
pub struct Medium {
    file: File,
    /// What a unit is called.
    name: &'static str,
    header: u64,
    bytes: usize,
    pub units: u32,
}

impl Medium {
    /// Opens one for reading and writing, and says how long it is.
    pub fn open(path: &Path) -> Result<(File, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// With that many units of `bytes` bytes.
    pub const fn new(
        file: File,
        name: &'static str,
        header: u64,
        bytes: usize,
        units: u32,
    ) -> Self {
        Self {
            file,
            name,
            header,
            bytes,
            units,
        }
    }

    /// Reads the front of a unit.
    pub fn read(&self, number: u32, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(bytes, self.offset(number)?);
        read.with_context(|| format!("reading {} {number}", self.name))
    }

    pub fn write(&self, number: u32, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.offset(number)?);
        written.with_context(|| format!("writing {} {number}", self.name))
    }

    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().context("writing")
    }

    fn offset(&self, number: u32) -> Result<u64> {
        ensure!(number < self.units, "there is no {} {number}", self.name);
        Ok(self.header + u64::from(number) * self.bytes as u64)
    }
}
