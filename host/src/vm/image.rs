//! The appliance's image.
//!
//! # Rule
//!
//! What serves can be started again, whatever becomes of its file: a copy is kept as long as it is in use.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use crate::config::MIB;
use crate::pool::sealed;

/// Bytes of the largest file that is taken for an image.
const MOST: u64 = 64 * MIB;
const EM_S390: u16 = 22;

/// A copy of an image.
#[derive(Debug)]
pub struct Image(OwnedFd);

impl Image {
    /// Reads it from its file. Whoever calls this waits for the file system.
    pub fn read(path: &Path) -> Result<Self> {
        let named = || format!("the appliance's image {}", path.display());
        let mut bytes = Vec::new();
        let file = File::open(path).with_context(named)?;
        let kind = file.metadata().with_context(named)?.file_type();
        ensure!(kind.is_file(), "{} is no file", named());
        file.take(MOST + 1)
            .read_to_end(&mut bytes)
            .with_context(named)?;
        if let Some(wrong) = no_image(&bytes) {
            bail!("{} {wrong}", named());
        }
        let length = bytes.len() as u64;
        ensure!(length <= MOST, "{} is too large", named());
        let copy = sealed("stellwerk-image", length)?;
        copy.write_all_at(&bytes, 0)?;
        Ok(Self(copy.into()))
    }

    /// The one that another daemon has read.
    pub const fn take_over(copy: OwnedFd) -> Self {
        Self(copy)
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Why a file that begins so is not the appliance's image.
pub fn no_image(head: &[u8]) -> Option<&'static str> {
    if !head.starts_with(b"\x7fELF") {
        return Some("is no ELF file; QEMU would start whatever it is");
    }
    // 64 bits, most significant byte first.
    let (class, machine) = (head.get(4..6), head.get(18..20));
    let s390x = class == Some(&[2, 2]) && machine == Some(&EM_S390.to_be_bytes());
    (!s390x).then_some("is an ELF file for another machine than s390x")
}
