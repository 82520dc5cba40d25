//! Putting records together and into a ring.

use core::arch::asm;

use aya_ebpf::{
    btf_maps::RingBuf,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
        generated::bpf_ringbuf_output,
    },
};
use defenseclaw_abi::{Counter, FLAG_READ_FAULT, Header, Kind, Label, SEQ_SECURITY, SEQ_TELEMETRY};

use crate::{
    label::count,
    maps::{OFFSET_MASK, PART_MASK, SECURITY, SEQUENCE, Scratch, TELEMETRY},
};

/// Which ring a record goes to.
#[derive(Clone, Copy, PartialEq)]
pub enum Ring {
    /// Records that security decisions rest on.
    Security,
    /// Bulk.
    Telemetry,
}

/// Bounds `value` by `mask` where the compiler cannot drop it: it may know that the value is in range already, the
/// verifier does not.
#[inline(always)]
pub fn bound(mut value: usize, mask: usize) -> usize {
    // SAFETY: a bitwise and of a register; no memory is touched.
    unsafe { asm!("{0} &= {1}", inout(reg) value, in(reg) mask, options(pure, nomem, nostack)) };
    value
}

/// Bounds a part's offset.
#[inline(always)]
pub fn offset(value: usize) -> usize {
    bound(value, OFFSET_MASK)
}

/// Bounds a part's length.
#[inline(always)]
pub fn length(value: usize) -> usize {
    bound(value, PART_MASK)
}

/// The header of a record about the running process.
#[inline(always)]
pub fn header(kind: Kind, label: &Label) -> Header {
    // SAFETY: these helpers have no preconditions.
    let (ids, uid, time_ns) = unsafe {
        (
            bpf_get_current_pid_tgid(),
            bpf_get_current_uid_gid() as u32,
            bpf_ktime_get_boot_ns(),
        )
    };
    Header {
        kind: kind as u16,
        flags: 0,
        uid,
        seq: 0,
        time_ns,
        session: label.session,
        call: label.call,
        start_ns: label.start_ns,
        exec_ns: label.exec_ns,
        exec_tgid: label.exec_tgid,
        tgid: (ids >> 32) as u32,
        tid: ids as u32,
        pad: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
    }
}

/// Sends a record of fixed size.
#[inline(always)]
pub fn send<T>(ring: Ring, record: &mut T, header: fn(&mut T) -> &mut Header) {
    number(ring, header(record));
    output(ring, (record as *mut T).cast(), size_of::<T>());
}

/// Sends the first `length` bytes of a scratch space, whose header is `header`.
#[inline(always)]
pub fn send_scratch(ring: Ring, scratch: *mut Scratch, header: &mut Header, length: usize) {
    number(ring, header);
    output(ring, scratch.cast(), offset(length));
}

#[inline(always)]
fn number(ring: Ring, header: &mut Header) {
    if header.flags & FLAG_READ_FAULT != 0 {
        count(Counter::ReadFault);
    }
    let index = if ring == Ring::Security {
        SEQ_SECURITY
    } else {
        SEQ_TELEMETRY
    };
    if let Some(last) = SEQUENCE.get_ptr_mut(index) {
        let mut previous = 1u64;
        // The BPF target of rustc offers atomic loads and stores only; the instruction exists since Linux 5.12.
        // SAFETY: the slot is valid for the program's duration, and kernel programs touch it only by this instruction.
        unsafe { asm!("{0} = atomic_fetch_add((u64 *)({1} + 0), {0})", inout(reg) previous, in(reg) last) };
        header.seq = previous + 1;
    }
}

#[inline(always)]
fn output(ring: Ring, data: *mut core::ffi::c_void, length: usize) {
    let (map, lost) = match ring {
        Ring::Security => (map_pointer(&SECURITY), Counter::SecurityRingFull),
        Ring::Telemetry => (map_pointer(&TELEMETRY), Counter::TelemetryRingFull),
    };
    // SAFETY: `data` is readable for `length` bytes: it is a whole record, or a scratch space longer than OFFSET_MASK.
    if unsafe { bpf_ringbuf_output(map, data, length as u64, 0) } != 0 {
        count(lost);
    }
}

#[inline(always)]
fn map_pointer<const N: usize>(ring: &'static RingBuf<u8, N>) -> *mut core::ffi::c_void {
    core::ptr::from_ref(ring).cast_mut().cast()
}
