//! Storage for one device after the other.
//!
//! # Rule
//!
//! Storage that a device has been told of is never given back: the device may go on writing there. But when it is opened anew, it may get
//! it again, and if it still writes there, that is its own trouble. So a device that cannot be opened for days takes no more than one try
//! does.

use liballoc::vec::Vec;

/// What one device was given of the platform's storage.
#[derive(Debug, Default)]
pub struct Stock(Vec<Chunk>);

#[derive(Debug)]
struct Chunk {
    absolute: u64,
    pages: usize,
    in_use: bool,
}

impl Stock {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No driver of the device uses any of it any more: the next one gets it.
    pub fn renew(&mut self) {
        for chunk in &mut self.0 {
            chunk.in_use = false;
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where so many pages are that are not in use. They are from now on.
    pub fn take(&mut self, pages: usize) -> Option<u64> {
        let free = self.0.iter_mut().filter(|chunk| !chunk.in_use);
        let chunk = free
            .filter(|chunk| chunk.pages >= pages)
            .min_by_key(|chunk| chunk.pages)?;
        chunk.in_use = true;
        Some(chunk.absolute)
    }

    pub fn add(&mut self, absolute: u64, pages: usize) {
        self.0.push(Chunk {
            absolute,
            pages,
            in_use: true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_out_is_given_out_again_and_never_twice_at_once() {
        let mut stock = Stock::default();
        assert_eq!(stock.take(1), None);
        stock.add(0x1000, 1);
        stock.add(0x8000, 4);
        assert_eq!(stock.take(1), None, "all of it is in use");
        stock.renew();
        assert_eq!(stock.take(1), Some(0x1000), "the smallest that will do");
        assert_eq!(stock.take(1), Some(0x8000));
        assert_eq!(stock.take(1), None);
        stock.renew();
        assert_eq!(stock.take(5), None);
        assert_eq!(stock.take(3), Some(0x8000));
    }
}
