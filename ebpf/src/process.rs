//! Processes: fork, exec, exit, and the list of all.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_ANY,
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_seq_write},
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use defenseclaw_abi::{
    Counter, ExecRecord, ExitRecord, FLAG_ARGV_TRUNCATED, FLAG_CWD_TRUNCATED, FLAG_PATH_TRUNCATED,
    FLAG_READ_FAULT, Header, Kind, LABEL_INHERITED, Label, MAX_ARGV_BYTES, MAX_NAME, TaskRecord,
};

use crate::{
    emit::{Ring, header, length, offset as bound_offset, send, send_scratch},
    kernel::{Object, file_key, leader_start, offset},
    label::{count, of_process},
    maps::{EXEC_SCRATCH, LABELS, Scratch},
    path::walk,
};

/// The child inherits the label before it runs its first instruction.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn on_fork(ctx: BtfTracePointContext) -> i32 {
    let (parent, child) = (Object::new(ctx.arg(0)), Object::new(ctx.arg(1)));
    if let Some(_born) = inherit(parent, child) {
        log!(&ctx, "fork: {} inherits", _born);
    }
    0
}

#[inline(always)]
fn inherit(parent: Object, child: Object) -> Option<u32> {
    let tgid: u32 = parent.read(offset!(task_tgid))?;
    // SAFETY: only the presence is used; it spares every unlabelled process the rest.
    unsafe { LABELS.get(tgid)? };
    let born: u32 = child.read(offset!(task_tgid))?;
    if born == tgid {
        return None; // A thread: the label belongs to the process.
    }
    let label = of_process(tgid, leader_start(parent)?)?;
    let inherited = Label {
        start_ns: child.read(offset!(task_start_boottime))?,
        flags: label.flags & LABEL_INHERITED,
        ..label
    };
    if LABELS.insert(born, inherited, u64::from(BPF_ANY)).is_err() {
        count(Counter::LabelMapFull);
        let mut lost = header(Kind::LabelLost, &label);
        send(Ring::Security, &mut lost, |record: &mut Header| record);
    }
    Some(born)
}

/// A new image.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn on_exec(ctx: BtfTracePointContext) -> i32 {
    let (task, binprm) = (Object::new(ctx.arg(0)), Object::new(ctx.arg(2)));
    if let Some(_tgid) = exec(task, binprm) {
        log!(&ctx, "exec: {}", _tgid);
    }
    0
}

#[inline(always)]
fn exec(task: Object, binprm: Object) -> Option<u32> {
    let tgid: u32 = task.read(offset!(task_tgid))?;
    // SAFETY: only the presence is used.
    unsafe { LABELS.get(tgid)? };
    // `de_thread` has run: whichever thread called execve is the leader now, with the old leader's start time.
    let old = of_process(tgid, leader_start(task)?)?;
    // SAFETY: no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let new = Label {
        exec_ns: now,
        exec_tgid: tgid,
        ..old
    };
    let scratch = EXEC_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the scratch space is aligned for the record and this program's alone while it runs.
    let record = unsafe { &mut *scratch.cast::<ExecRecord>() };
    *record = ExecRecord {
        header: header(Kind::Exec, &new),
        parent_exec_ns: old.exec_ns,
        parent_exec_tgid: old.exec_tgid,
        ppid: parent_tgid(task).unwrap_or(0),
        ..ExecRecord::default()
    };
    record.header.time_ns = now;
    if LABELS.insert(tgid, new, u64::from(BPF_ANY)).is_err() {
        count(Counter::LabelMapFull);
    }
    let end = describe(record, scratch, task, binprm);
    if record.header.flags & (FLAG_ARGV_TRUNCATED | FLAG_PATH_TRUNCATED | FLAG_CWD_TRUNCATED) != 0 {
        count(Counter::Truncated);
    }
    send_scratch(Ring::Security, scratch, &mut record.header, end);
    Some(tgid)
}

/// Fills in file, names, working directory and arguments. Returns where the record ends.
#[inline(always)]
fn describe(record: &mut ExecRecord, scratch: *mut Scratch, task: Object, binprm: Object) -> usize {
    let mut end = size_of::<ExecRecord>();
    if let Some(name) = binprm.follow(offset!(bprm_filename)) {
        // SAFETY: the bounded offset plus MAX_NAME stays inside the scratch space.
        let written = unsafe {
            let to = scratch.cast::<u8>().add(bound_offset(end));
            bpf_probe_read_kernel_str(to.cast(), MAX_NAME as u32, name.address().cast())
        };
        if written > 0 {
            record.filename_len = written as u16;
            end += written as usize;
        }
    }
    if let Some(file) = binprm.follow(offset!(bprm_file)) {
        match file.follow(offset!(file_inode)).and_then(file_key) {
            Some(key) => record.file = key,
            None => record.header.flags |= FLAG_READ_FAULT,
        }
        let path = walk(scratch, end, file.member(offset!(file_path)), false);
        record.path_len = (path.end - end) as u16;
        end = path.end;
        note(&mut record.header.flags, path.truncated, FLAG_PATH_TRUNCATED);
        note(&mut record.header.flags, path.fault, FLAG_READ_FAULT);
    }
    if let Some(fs) = task.follow(offset!(task_fs)) {
        let cwd = walk(scratch, end, fs.member(offset!(fs_pwd)), false);
        record.cwd_len = (cwd.end - end) as u16;
        end = cwd.end;
        note(&mut record.header.flags, cwd.truncated, FLAG_CWD_TRUNCATED);
        note(&mut record.header.flags, cwd.fault, FLAG_READ_FAULT);
    }
    match arguments(scratch, end, task) {
        Some((bytes, truncated)) => {
            record.argv_len = bytes as u16;
            end += bytes;
            note(&mut record.header.flags, truncated, FLAG_ARGV_TRUNCATED);
        }
        None => record.header.flags |= FLAG_READ_FAULT,
    }
    end
}

#[inline(always)]
fn note(flags: &mut u16, set: bool, flag: u16) {
    if set {
        *flags |= flag;
    }
}

/// Copies the arguments from the new stack. Returns their length and whether they were cut.
#[inline(always)]
fn arguments(scratch: *mut Scratch, end: usize, task: Object) -> Option<(usize, bool)> {
    let mm = task.follow(offset!(task_mm))?;
    let first: u64 = mm.read(offset!(mm_arg_start))?;
    let last: u64 = mm.read(offset!(mm_arg_end))?;
    let whole = last.checked_sub(first)? as usize;
    let (mut bytes, truncated) = if whole > MAX_ARGV_BYTES {
        (MAX_ARGV_BYTES, true)
    } else {
        (whole, false)
    };
    bytes = length(bytes);
    // SAFETY: the bounded offset plus the bounded length stays inside the scratch space.
    let result = unsafe {
        let to = scratch.cast::<u8>().add(bound_offset(end));
        bpf_probe_read_user(to.cast(), bytes as u32, first as *const _)
    };
    (result == 0).then_some((bytes, truncated))
}

#[inline(always)]
fn parent_tgid(task: Object) -> Option<u32> {
    task.follow(offset!(task_real_parent))?.read(offset!(task_tgid))
}

/// The label goes with the last thread.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn on_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(_tgid) = exit(Object::new(ctx.arg(0))) {
        log!(&ctx, "exit: {}", _tgid);
    }
    0
}

#[inline(always)]
fn exit(task: Object) -> Option<u32> {
    let tgid: u32 = task.read(offset!(task_tgid))?;
    // SAFETY: only the presence is used.
    unsafe { LABELS.get(tgid)? };
    // `do_exit` has already counted this thread out, so the last one sees 0.
    let live: i32 = task.follow(offset!(task_signal))?.read(offset!(signal_live))?;
    if live > 0 {
        return None;
    }
    let label = of_process(tgid, leader_start(task)?);
    // Two threads that end together may both see 0: the one that removes the label reports.
    let removed = LABELS.remove(tgid).is_ok();
    let label = label?;
    if removed {
        let mut record = ExitRecord {
            header: header(Kind::Exit, &label),
            status: status(task)?,
            pad: 0,
        };
        send(Ring::Security, &mut record, |record| &mut record.header);
    }
    Some(tgid)
}

/// The status that the parent is told: the group's, where the whole group was told to end, else its leader's. The thread that
/// ends last may have ended on its own, with another.
#[inline(always)]
fn status(task: Object) -> Option<u32> {
    /// `SIGNAL_GROUP_EXIT` of `linux/sched/signal.h`
    const GROUP_EXIT: u32 = 4;
    let signal = task.follow(offset!(task_signal))?;
    let flags: u32 = signal.read(offset!(signal_flags))?;
    if flags & GROUP_EXIT != 0 {
        return signal.read(offset!(signal_group_exit_code));
    }
    task.follow(offset!(task_group_leader))?
        .read(offset!(task_exit_code))
}

/// Context of a `task` iterator, as the kernel passes it (`struct bpf_iter__task`).
#[repr(C)]
struct TaskIterator {
    meta: *const IteratorMeta,
    task: *const u8,
}

/// `struct bpf_iter_meta`
#[repr(C)]
struct IteratorMeta {
    seq: *mut aya_ebpf::bindings::seq_file,
}

/// Writes one [`TaskRecord`] for each process.
///
/// # Safety
///
/// Called by the kernel with a valid iterator context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub unsafe extern "C" fn list_tasks(ctx: *mut core::ffi::c_void) -> i32 {
    // SAFETY: the kernel passes this structure to iterators over tasks.
    let iterator = unsafe { &*ctx.cast::<TaskIterator>() };
    if iterator.task.is_null() {
        return 0;
    }
    let task = Object::new(iterator.task);
    let Some(record) = describe_task(task) else {
        return 0;
    };
    // SAFETY: `meta` and `seq` are valid in an iterator; the record is plain data of that size.
    unsafe {
        let seq = (*iterator.meta).seq;
        bpf_seq_write(seq, (&raw const record).cast(), size_of::<TaskRecord>() as u32);
    }
    0
}

#[inline(always)]
fn describe_task(task: Object) -> Option<TaskRecord> {
    let pid: u32 = task.read(offset!(task_pid))?;
    let tgid: u32 = task.read(offset!(task_tgid))?;
    if pid != tgid {
        return None;
    }
    Some(TaskRecord {
        start_ns: leader_start(task)?,
        tgid,
        ppid: parent_tgid(task)?,
    })
}

/// Keeps the trait in use that gives `ctx.arg` its context.
const _: fn(&BtfTracePointContext) -> *mut core::ffi::c_void = |ctx| ctx.as_ptr();
