//! Gives back what only starting needed: reading policy, packs and contracts takes several times the memory of what is kept
//! of them, and most of the program's own text.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use nix::libc::{PF_W, PT_LOAD, dl_iterate_phdr, dl_phdr_info};
use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};

/// Gives back freed heap of the gateway's own allocator, and unmaps program text; what is used again is mapped again from the page cache.
pub fn give_back() {
    // SAFETY: it takes no pointer and may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
    // SAFETY: the callback has the signature that is asked for, keeps nothing of what it is given, and needs no data.
    unsafe { dl_iterate_phdr(Some(unmap_text), null_mut()) };
}

/// Called for each loaded object, the program itself first; what is not 0 ends the walk.
unsafe extern "C" fn unmap_text(object: *mut dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the dynamic linker hands a valid object, for as long as this call lasts.
    let Some(object) = (unsafe { object.as_ref() }) else {
        return 1;
    };
    let (headers, count) = (object.dlpi_phdr, usize::from(object.dlpi_phnum));
    if headers.is_null() {
        return 1;
    }
    // SAFETY: `dlpi_phdr` names `dlpi_phnum` headers (dl_iterate_phdr(3)), and is not null.
    let headers = unsafe { std::slice::from_raw_parts(headers, count) };
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let Some(page) = page.and_then(|page| u64::try_from(page).ok()) else {
        return 1;
    };
    // What the linker relocates lies in writable segments only: the program is built position-independent.
    for header in headers
        .iter()
        .filter(|it| it.p_type == PT_LOAD && it.p_flags & PF_W == 0)
    {
        let from = object.dlpi_addr.saturating_add(header.p_vaddr);
        let to = from.saturating_add(header.p_memsz) / page * page;
        let from = from / page * page;
        let (Ok(at), Ok(length)) = (usize::try_from(from), usize::try_from(to.saturating_sub(from))) else {
            continue;
        };
        if let Some(at) = NonNull::new(std::ptr::with_exposed_provenance_mut(at)) {
            // SAFETY: these pages are a private mapping of the program's file that nobody can have written to, so that each
            // access after this reads the same bytes again. A refusal changes nothing.
            let _ = unsafe { madvise(at, length, MmapAdvise::MADV_DONTNEED) };
        }
    }
    1
}
