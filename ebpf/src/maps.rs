//! Maps, and the constants that the agent sets before loading.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use defenseclaw_abi::{
    COUNTERS, FileKey, Label, MAX_LABELS, Offsets, ProcessKey, SECURITY_RING_BYTES, TELEMETRY_RING_BYTES,
    WatchName,
};

/// Offsets of kernel members. Read-only data: the verifier knows each value as a constant.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = {
    // SAFETY: all members are integers, for which zero is valid.
    unsafe { core::mem::zeroed() }
};

/// Label of each labelled process, by tgid.
#[btf_map]
pub static LABELS: HashMap<u32, Label, MAX_LABELS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// The call that took over a process after it was born. Least recently used entries may go: the agent removes each entry
/// when the process ends, and a live process's call is also known from its image.
#[btf_map]
pub static CALLS: LruHashMap<ProcessKey, u64, 16384> = LruHashMap::new();

/// Path components by which opens for reading are pre-filtered.
#[btf_map]
pub static WATCH_NAMES: HashMap<WatchName, u8, 1024> = HashMap::new();

/// Files watched by identity, so that a hard link or a bind mount does not hide them.
#[btf_map]
pub static WATCH_FILES: LruHashMap<FileKey, u8, 16384> = LruHashMap::new();

/// Records that security decisions rest on: exec, exit, connect, watched reads.
#[btf_map]
pub static SECURITY: RingBuf<u8, SECURITY_RING_BYTES> = RingBuf::new();

/// Bulk: files opened for writing. A flood here cannot push out security records.
#[btf_map]
pub static TELEMETRY: RingBuf<u8, TELEMETRY_RING_BYTES> = RingBuf::new();

/// Last sequence number of each ring.
#[btf_map]
pub static SEQUENCE: Array<u64, 2> = Array::new();

/// Losses by cause.
#[btf_map]
pub static COUNTS: PerCpuArray<u64, COUNTERS> = PerCpuArray::new();

/// Bytes in which a record of variable length is put together.
///
/// The highest offset at which a part may begin is `OFFSET_MASK`; the longest part is below `PART_MASK`.
pub const SCRATCH_BYTES: usize = 24 * 1024;
/// Bound of a part's offset, as a mask for the verifier.
pub const OFFSET_MASK: usize = 0x3fff;
/// Bound of a part's length, as a mask for the verifier.
pub const PART_MASK: usize = 0x1fff;

const _: () = assert!(OFFSET_MASK + PART_MASK < SCRATCH_BYTES);

/// Space for one record, and behind it what a walk up a path carries from one component to the next.
#[repr(C, align(8))]
pub struct Scratch(pub [u8; SCRATCH_BYTES], pub Carried);

/// Kept in memory, which the verifier does not follow. With these in registers Linux 6.1 took minutes in an emulated guest (6.12 did not),
/// most likely because it tells apart every number of components and of bytes that a path may have so far.
#[repr(C)]
pub struct Carried {
    /// Offset behind the last byte written.
    pub end: u64,
    /// What was met on the way.
    pub flags: u64,
    /// What a component has to be watched as.
    pub wanted: u64,
}

// Each program has a space of its own: the kernel never runs one program twice at a time on one CPU (it counts a miss
// instead), but another program may run in between.
/// For `on_exec`.
#[btf_map]
pub static EXEC_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
/// For `on_syscall`.
#[btf_map]
pub static OPEN_SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
