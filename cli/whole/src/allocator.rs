//! The memory of each role as it was measured for it: decisions are thousands of small pieces, for which the gateway has an
//! allocator of its own. The tool keeps the system's: it closes processes in by filters that know that one.

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

use crate::role::{self, Role};

/// The system's allocator, and the gateway's in the gateway.
pub(crate) struct ByRole;

// SAFETY: a process has one role from its first allocation to its last, so that each piece goes back to the allocator that it came
// from; both keep the trait's promises, and finding out the role allocates nothing and does not panic.
unsafe impl GlobalAlloc for ByRole {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match role::own() {
            // SAFETY: the caller's promises are those that it asks for.
            Role::Gateway => unsafe { MiMalloc.alloc(layout) },
            // SAFETY: as above.
            Role::Tool => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match role::own() {
            // SAFETY: as above.
            Role::Gateway => unsafe { MiMalloc.alloc_zeroed(layout) },
            // SAFETY: as above.
            Role::Tool => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match role::own() {
            // SAFETY: as above; the piece is of the same allocator.
            Role::Gateway => unsafe { MiMalloc.dealloc(piece, layout) },
            // SAFETY: as above.
            Role::Tool => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match role::own() {
            // SAFETY: as above; the piece is of the same allocator.
            Role::Gateway => unsafe { MiMalloc.realloc(piece, layout, size) },
            // SAFETY: as above.
            Role::Tool => unsafe { System.realloc(piece, layout, size) },
        }
    }
}
