//! Kernel programs of the sensor.
//!
//! | Program | Hook | Does |
//! |---|---|---|
//! | `on_fork` | `tp_btf/sched_process_fork` | the child inherits its creator's label; no record |
//! | `on_exec` | `tp_btf/sched_process_exec` | new image; record |
//! | `on_exit` | `tp_btf/sched_process_exit` | label removed with the last thread; record |
//! | `on_syscall` | `tp_btf/sys_exit` | files opened, UDP sockets connected; record |
//! | `on_tcp_state` | `tp_btf/inet_sock_set_state` | TCP connections begun; record |
//! | `on_io_uring` | `tp_btf/io_uring_create` | io_uring set up; record |
//! | `list_tasks` | `iter/task` | every process with its exact start time, for binding a session |
//!
//! Only processes that carry a label produce records. Everything read comes from kernel objects, except the arguments
//! of an exec: those are read from the new stack before its first instruction ran, so that nobody can have changed them.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

/// A log line for debug builds (feature `log`); nothing at all otherwise.
#[cfg(feature = "log")]
macro_rules! log {
    ($ctx:expr, $($line:tt)*) => { aya_log_ebpf::debug!($ctx, $($line)*) };
}
#[cfg(not(feature = "log"))]
macro_rules! log {
    ($ctx:expr, $($line:tt)*) => {};
}

mod emit;
mod kernel;
mod label;
mod maps;
mod network;
mod open;
mod path;
mod process;

/// Kernel helpers such as `bpf_probe_read_kernel` are open only to programs that declare a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // A kernel program cannot panic: the verifier refuses one in which this could be reached.
    // SAFETY: never reached, see above.
    unsafe { core::hint::unreachable_unchecked() }
}
