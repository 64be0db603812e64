//! What is to be known of what is kept, in memory that is kept with it.
//!
//! # Layout of the memory
//!
//! The first 8 bytes count the savings (in the machine's own byte order). The content of saving number N stands at [`FIRST`] if N is
//! even, and at [`FIRST`] + [`ROOM`] if it is odd: its length in 8 bytes, and so many bytes of JSON.
//!
//! # Rule
//!
//! A saving is there as a whole or not at all, at whatever instant the process is killed: the count changes last.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use serde::de::DeserializeOwned;
use serde::Serialize;

use super::{Key, Store};
use crate::pool::sealed;

const FIRST: u64 = 4096;
const ROOM: u64 = 1 << 20;
const LENGTH: u64 = size_of::<u64>() as u64;

/// Where the content of a saving stands.
const fn place(count: u64) -> u64 {
    FIRST + count % 2 * ROOM
}

/// A record of one kind.
#[derive(Debug)]
pub struct Record<T> {
    file: File,
    key: Key,
    count: u64,
    kind: PhantomData<fn(&T)>,
}

impl<T: Serialize + DeserializeOwned> Record<T> {
    /// A new one, with nothing in it.
    pub fn new(store: &Store) -> io::Result<Self> {
        let file = sealed("stellwerk-record", FIRST + 2 * ROOM)?;
        let key = store.keep(&file)?;
        Ok(Self::over(file, key))
    }

    /// A new one, which says what everything else is.
    pub fn first(store: &Store) -> io::Result<Self> {
        let file = sealed("stellwerk-state", FIRST + 2 * ROOM)?;
        store.keep_first(OwnedFd::from(file.try_clone()?));
        Ok(Self::over(file, Key::FIRST))
    }

    /// One that is kept, and what was saved in it last.
    pub fn open(store: &Store, key: Key) -> io::Result<(Self, T)> {
        let mut this = Self::over(File::from(store.get(key)?), key);
        this.count = this.number(0)?;
        let at = place(this.count);
        let length = this.number(at)?;
        if length > ROOM - LENGTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; length as usize];
        this.file.read_exact_at(&mut text, at + LENGTH)?;
        Ok((this, serde_json::from_slice(&text)?))
    }

    pub fn key(&self) -> Key {
        self.key
    }

    pub fn save(&mut self, what: &T) -> io::Result<()> {
        let text = serde_json::to_vec(what)?;
        if text.len() as u64 > ROOM - LENGTH {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let bytes = [&(text.len() as u64).to_ne_bytes()[..], &text].concat();
        let next = self.count + 1;
        self.file.write_all_at(&bytes, place(next))?;
        self.file.write_all_at(&next.to_ne_bytes(), 0)?;
        self.count = next;
        Ok(())
    }

    fn over(file: File, key: Key) -> Self {
        Self {
            file,
            key,
            count: 0,
            kind: PhantomData,
        }
    }

    fn number(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; LENGTH as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
