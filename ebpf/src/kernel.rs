//! Reading kernel objects at offsets that the agent resolved from the running kernel's BTF.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel};
use defenseclaw_abi::{FileKey, Offsets};

use crate::maps::OFFSETS;

/// One offset as a verifier-known constant.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: the static is initialised; the read is volatile because the loader replaces the value.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) as usize }
    }};
}
pub(crate) use offset;

/// A kernel object.
#[derive(Clone, Copy)]
pub struct Object(*const u8);

impl Object {
    /// Wraps a kernel pointer.
    pub fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// The running task's group of threads is described by its `task_struct`.
    pub fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task_btf() } as *const u8)
    }

    /// The address.
    pub fn address(self) -> *const u8 {
        self.0
    }

    /// Whether it is the same object.
    pub fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// The member at `offset`, or `None` when that memory cannot be read.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: usize) -> Option<T> {
        // SAFETY: the helper checks the address and copies; T is plain data at every call.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset).cast::<T>()) }.ok()
    }

    /// The object that the pointer member at `offset` points to.
    #[inline(always)]
    pub fn follow(self, offset: usize) -> Option<Self> {
        let pointer: usize = self.read(offset)?;
        if pointer == 0 {
            None
        } else {
            Some(Self(pointer as *const u8))
        }
    }

    /// The object embedded at `offset`.
    #[inline(always)]
    pub fn member(self, offset: usize) -> Self {
        Self(self.0.wrapping_add(offset))
    }

    /// The object that embeds this one at `offset`.
    #[inline(always)]
    pub fn container(self, offset: usize) -> Self {
        Self(self.0.wrapping_sub(offset))
    }
}

/// Start of the group leader, ns since boot.
#[inline(always)]
pub fn leader_start(task: Object) -> Option<u64> {
    task.follow(offset!(task_group_leader))?
        .read(offset!(task_start_boottime))
}

/// Device and inode of a file.
#[inline(always)]
pub fn file_key(inode: Object) -> Option<FileKey> {
    let ino: u64 = inode.read(offset!(inode_ino))?;
    let dev: u32 = inode.follow(offset!(inode_sb))?.read(offset!(sb_dev))?;
    Some(FileKey { ino, dev, pad: 0 })
}

const _: fn() = || {
    // The whole structure is handed over at once; this fails to compile if it ever stops being plain data.
    fn plain<T: Copy>(_: &T) {}
    plain::<Offsets>(&OFFSETS);
};
