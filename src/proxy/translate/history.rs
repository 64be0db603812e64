//! What the words of an arena have held, for the tests' channel, which may find any of it: see `tests::history`. The image has nothing
//! of this.

#[cfg(any(test, fuzzing))]
pub(super) use super::tests::history::History;

#[cfg(not(any(test, fuzzing)))]
pub(super) use unrecorded::History;

#[cfg(not(any(test, fuzzing)))]
mod unrecorded {
    use core::ops::Range;

    #[derive(Debug)]
    pub(in super::super) struct History;

    impl History {
        pub(in super::super) const fn new(_words: usize) -> Self {
            Self
        }

        #[inline(always)]
        pub(in super::super) const fn stored(&self, _index: usize, _value: u64) {}

        #[inline(always)]
        pub(in super::super) fn copied(&self, _words: Range<usize>, _now: impl Fn(usize) -> u64) {}

        #[inline(always)]
        pub(in super::super) fn taken(&self, _words: Range<usize>, _now: impl Fn(usize) -> u64) {}

        #[inline(always)]
        pub(in super::super) const fn published(&self) {}

        #[inline(always)]
        pub(in super::super) const fn forget(&self, _words: Range<usize>) {}
    }
}
