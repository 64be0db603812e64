//! The heap.
//!
//! One heap, over one range of free storage behind the image, below 2 GiB: so whatever is allocated
//! has an address that a CCW, an IDAW of format 1 or an SCCB can hold. Page frames for devices are
//! allocations like others, with a layout that is aligned to pages.
//!
//! **The rule.** Nobody allocates in an interruption handler: there are none. The lock therefore
//! never waits; it is there for more CPUs.
//!
//! **Limits.** A free list, first fit (`linked_list_allocator`): meant for set-up and for arenas,
//! not for the data path. When the heap is used up, `alloc`'s containers panic; their `try_`
//! functions and the bare `alloc` say no.

#![cfg(target_os = "none")]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use linked_list_allocator::Heap;
use s390x::address::{AbsoluteAddress, PAGE_SIZE};
use spin::Mutex;

/// The first address that does not fit into 31 bits.
const LIMIT_31: u64 = 1 << 31;

/// The global allocator.
struct GlobalHeap(Mutex<Heap>);

#[global_allocator]
static HEAP: GlobalHeap = GlobalHeap(Mutex::new(Heap::empty()));

/// Give the heap its storage: from `start` up to `end`, or to 2 GiB if that comes first. Gives the
/// number of bytes, 0 if that is not enough for anything or the heap has storage already.
///
/// # Safety
/// The range is storage that exists and that nothing else uses, now or later.
pub unsafe fn init(start: AbsoluteAddress, end: AbsoluteAddress) -> usize {
    let mut heap = HEAP.0.lock();
    let Some(start) = start.align_up(PAGE_SIZE as u64) else {
        return 0;
    };
    let end = end.get().min(LIMIT_31) & !(PAGE_SIZE as u64 - 1);
    let size = end.saturating_sub(start.get()) as usize;
    if size < PAGE_SIZE || heap.size() != 0 {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { heap.init(start.as_mut_ptr(), size) };
    size
}

/// How much of the heap is used, and how much there is, in bytes.
#[must_use]
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.used(), heap.size())
}

// SAFETY: `Heap` hands out each byte once, under the lock.
unsafe impl GlobalAlloc for GlobalHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0
            .lock()
            .allocate_first_fit(layout)
            .map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller vouches that it was allocated with this layout.
            unsafe { self.0.lock().deallocate(pointer, layout) };
        }
    }
}
