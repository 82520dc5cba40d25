//! Labels: which session a process belongs to.

use defenseclaw_abi::{Counter, Label, ProcessKey};

use crate::{
    kernel::{Object, leader_start},
    maps::{CALLS, COUNTS, LABELS},
};

/// The label of process `tgid`, whose group leader started at `start_ns`; the call is the one in force now.
#[inline(always)]
pub fn of_process(tgid: u32, start_ns: u64) -> Option<Label> {
    // SAFETY: the value is copied at once; a concurrent writer is the process's own exec, which is this task.
    let mut label = unsafe { *LABELS.get(tgid)? };
    if label.start_ns != start_ns {
        return None;
    }
    // SAFETY: copied at once.
    if let Some(call) = unsafe {
        CALLS.get(ProcessKey {
            start_ns,
            tgid,
            pad: 0,
        })
    } {
        label.call = *call;
    }
    Some(label)
}

/// The label of the running process. Cheap for a process that carries none: one look-up.
#[inline(always)]
pub fn of_current(tgid: u32) -> Option<Label> {
    // SAFETY: only the presence is used.
    unsafe { LABELS.get(tgid)? };
    of_process(tgid, leader_start(Object::current())?)
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: the slot is this CPU's own; a lost increment under preemption is tolerable for a counter that only
        // has to become non-zero when something was lost.
        unsafe { *value += 1 };
    }
}
