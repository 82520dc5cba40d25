//! Connections begun, system calls sorted, io_uring noticed.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext};
use defenseclaw_abi::{ConnectRecord, IoUringRecord, Kind, Label};

use crate::{
    emit::{Ring, header, send},
    kernel::{Object, offset},
    label::of_current,
    open::{descriptor_file, opened},
};

// include/net/tcp_states.h
const TCP_SYN_SENT: i32 = 2;
const TCP_CLOSE: i32 = 7;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_DGRAM: u16 = 2;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

#[inline(always)]
fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// TCP: the state leaves CLOSE for SYN_SENT in the context of the task that connects, whichever way it asked for it
/// (`connect`, `sendto` with fast open, io_uring). The destination is already in the socket.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn on_tcp_state(ctx: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    if old == TCP_CLOSE
        && new == TCP_SYN_SENT
        && let Some(label) = of_current(current_tgid())
    {
        let _ = connected(&label, Object::new(ctx.arg(0)));
    }
    0
}

#[inline(always)]
fn connected(label: &Label, sock: Object) -> Option<()> {
    let family: u16 = sock.read(offset!(sk_family))?;
    let mut address = [0u8; 16];
    match family {
        AF_INET => {
            let v4: [u8; 4] = sock.read(offset!(sk_daddr))?;
            address[0] = v4[0];
            address[1] = v4[1];
            address[2] = v4[2];
            address[3] = v4[3];
        }
        AF_INET6 => address = sock.read(offset!(sk_v6_daddr))?,
        _ => return None,
    }
    let mut record = ConnectRecord {
        header: header(Kind::Connect, label),
        address,
        port: u16::from_be(sock.read(offset!(sk_dport))?),
        family,
        protocol: sock.read(offset!(sk_protocol))?,
        pad: 0,
    };
    send(Ring::Security, &mut record, |record| &mut record.header);
    Some(())
}

/// The end of a system call.
#[btf_tracepoint(function = "sys_exit")]
pub fn on_syscall(ctx: BtfTracePointContext) -> i32 {
    let returned: i64 = ctx.arg(1);
    if returned < 0 {
        return 0;
    }
    let tgid = current_tgid();
    let Some(label) = of_current(tgid) else { return 0 };
    let _ = sort(&label, Object::new(ctx.arg(0)), returned);
    0
}

#[inline(always)]
fn sort(label: &Label, registers: Object, returned: i64) -> Option<()> {
    let number = registers.read::<u32>(offset!(regs_syscall))?;
    let table = if is_compat(registers)? {
        syscall::COMPAT
    } else {
        syscall::NATIVE
    };
    match table.classify(number) {
        syscall::Class::Open => opened(label, returned as u32),
        syscall::Class::Connect => udp(label, first_argument(registers, table.compat)?),
        syscall::Class::Other => None,
    }
}

/// A datagram socket was given a destination.
#[inline(always)]
fn udp(label: &Label, descriptor: u32) -> Option<()> {
    let file = descriptor_file(Object::current(), descriptor)?;
    let mode: u16 = file.follow(offset!(file_inode))?.read(offset!(inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let sock = file
        .follow(offset!(file_private_data))?
        .follow(offset!(socket_sk))?;
    let kind: u16 = sock.read(offset!(sk_type))?;
    if kind != SOCK_DGRAM {
        return None;
    }
    connected(label, sock)
}

/// io_uring opens files without a system call of its own for each: say that it was set up.
#[btf_tracepoint(function = "io_uring_create")]
pub fn on_io_uring(ctx: BtfTracePointContext) -> i32 {
    if let Some(label) = of_current(current_tgid()) {
        let mut record = IoUringRecord {
            header: header(Kind::IoUring, &label),
            entries: ctx.arg(2),
            pad: 0,
        };
        send(Ring::Security, &mut record, |record| &mut record.header);
    }
    0
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn is_compat(_registers: Object) -> Option<bool> {
    /// arch/x86/include/asm/thread_info.h: the task is in a 32-bit system call.
    const TS_COMPAT: u32 = 2;
    Some(Object::current().read::<u32>(offset!(task_compat_status))? & TS_COMPAT != 0)
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn is_compat(registers: Object) -> Option<bool> {
    /// arch/arm64/include/uapi/asm/ptrace.h: the task runs in AArch32 state.
    const PSR_MODE32_BIT: u64 = 0x10;
    Some(registers.read::<u64>(offset!(regs_pstate))? & PSR_MODE32_BIT != 0)
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn first_argument(registers: Object, compat: bool) -> Option<u32> {
    registers.read(if compat {
        offset!(regs_compat_arg0)
    } else {
        offset!(regs_arg0)
    })
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn first_argument(registers: Object, _compat: bool) -> Option<u32> {
    registers.read(offset!(regs_arg0))
}

/// System call numbers, from arch/x86/entry/syscalls/*.tbl and arch/arm64/tools/syscall_*.tbl.
mod syscall {
    /// What a system call does, as far as the sensor cares.
    pub enum Class {
        /// Returns a descriptor of an opened file.
        Open,
        /// Connects the socket that its first argument names.
        Connect,
        /// Anything else.
        Other,
    }

    /// The numbers of one system call table.
    #[derive(Clone, Copy)]
    pub struct Table {
        open: [u32; 5],
        connect: u32,
        /// Whether it is the 32-bit table.
        pub compat: bool,
        mask: u32,
    }

    impl Table {
        /// Sorts a number.
        #[inline(always)]
        pub fn classify(&self, number: u32) -> Class {
            let number = number & self.mask;
            let [open, openat, openat2, creat, by_handle] = self.open;
            if number == open
                || number == openat
                || number == openat2
                || number == creat
                || number == by_handle
            {
                Class::Open
            } else if number == self.connect {
                Class::Connect
            } else {
                Class::Other
            }
        }
    }

    /// No system call has this number.
    const NONE: u32 = u32::MAX;

    // x32 calls have bit 30 set and, for these, the numbers of the 64-bit table.
    #[cfg(bpf_target_arch = "x86_64")]
    pub const NATIVE: Table = Table {
        open: [2, 257, 437, 85, 304],
        connect: 42,
        compat: false,
        mask: !0x4000_0000,
    };
    #[cfg(bpf_target_arch = "x86_64")]
    pub const COMPAT: Table = Table {
        open: [5, 295, 437, 8, 342],
        connect: 362,
        compat: true,
        mask: !0,
    };
    #[cfg(bpf_target_arch = "aarch64")]
    pub const NATIVE: Table = Table {
        open: [NONE, 56, 437, NONE, 265],
        connect: 203,
        compat: false,
        mask: !0,
    };
    #[cfg(bpf_target_arch = "aarch64")]
    pub const COMPAT: Table = Table {
        open: [5, 322, 437, 8, 371],
        connect: 283,
        compat: true,
        mask: !0,
    };

    #[cfg(bpf_target_arch = "x86_64")]
    const _: u32 = NONE;
}
