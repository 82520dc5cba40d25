//! System calls that are refused in every sandbox: ways out, ways around the other protections, and those of the kernel's parts that no
//! build or test needs.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use crate::profile::NetworkMode;

/// Why the filters could not be made or put in force.
#[derive(Debug, thiserror::Error)]
pub enum SyscallError {
    /// A rule makes no sense to the library.
    #[error("the system call filter cannot be made: {0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("the system call filter cannot be put in force: {0}")]
    Load(#[from] seccompiler::Error),
    /// Another machine.
    #[error("there is no system call filter for this architecture")]
    Architecture,
}

/// What is refused beside the common part.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Internet sockets.
    pub network: NetworkMode,
    /// Refuse `truncate` by path: Landlock before version 3 does not see it.
    pub truncate: bool,
}

/// Refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // Rings do what they are told without a filter seeing it.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Programs in the kernel, its counters, its faults.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Keyrings are of the user, not of the sandbox.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The sandbox's walls.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // Descriptors from elsewhere.
    libc::SYS_open_by_handle_at,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_fanotify_init,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// `clone` and `unshare` flags that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];
/// For `unshare` alone: NEWTIME; in `clone` its bit belongs to the exit signal.
const NEW_TIME: u64 = 0x80;

/// Terminal controls that put words into somebody else's mouth: TIOCSTI, TIOCLINUX, TIOCSETD.
const IOCTLS: [u64; 3] = [0x5412, 0x541C, 0x5423];

/// Execution domains that programs use: none, "tell me", no address randomisation, and 32-bit names.
const PERSONALITIES: [u64; 4] = [0, 0xffff_ffff, 0x0004_0000, 0x0008];

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const SOCK_TYPE: u64 = 0xf;
const SOCK_STREAM: u64 = 1;
const SOCK_RAW: u64 = 3;
const SOCK_PACKET: u64 = 10;
/// TCP that connects while it sends: `connect` is never called.
const MSG_FASTOPEN: u64 = 0x2000_0000;
/// Transports that Landlock's and our rules for TCP do not mean: MPTCP, SCTP, DCCP, UDP-Lite.
const PROTOCOLS: [u64; 4] = [262, 132, 33, 136];

fn is(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, SyscallError> {
    Ok(SeccompCondition::new(index, Dword, operator, value)?)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, SyscallError> {
    Ok(SeccompRule::new(conditions)?)
}

fn with_flag(index: u8, flag: u64) -> Result<SeccompRule, SyscallError> {
    let condition = SeccompCondition::new(index, Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
    rule(vec![condition])
}

/// The filters, in the order in which they are put in force.
///
/// # Errors
/// When a rule makes no sense, which a test rules out.
pub fn filters(wishes: Wishes) -> Result<Vec<BpfProgram>, SyscallError> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => TargetArch::x86_64,
        "aarch64" => TargetArch::aarch64,
        _ => return Err(SyscallError::Architecture),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        rules.insert(*call, Vec::new());
    }
    if wishes.truncate {
        rules.insert(libc::SYS_truncate, Vec::new());
    }
    let namespaces: Result<Vec<_>, _> = NAMESPACES.iter().map(|flag| with_flag(0, *flag)).collect();
    rules.insert(libc::SYS_clone, namespaces?);
    let unshare: Result<Vec<_>, _> = NAMESPACES
        .iter()
        .chain(&[NEW_TIME])
        .map(|flag| with_flag(0, *flag))
        .collect();
    rules.insert(libc::SYS_unshare, unshare?);
    let ioctls: Result<Vec<_>, _> = IOCTLS
        .iter()
        .map(|request| rule(vec![is(1, SeccompCmpOp::Eq, *request)?]))
        .collect();
    rules.insert(libc::SYS_ioctl, ioctls?);
    let personality: Result<Vec<_>, _> = PERSONALITIES
        .iter()
        .map(|known| is(0, SeccompCmpOp::Ne, *known))
        .collect();
    rules.insert(libc::SYS_personality, vec![rule(personality?)?]);
    rules.insert(libc::SYS_socket, sockets(wishes.network)?);
    // A pair is within the sandbox; of other families than Unix the kernel makes none that matters.
    rules.insert(
        libc::SYS_socketpair,
        vec![rule(vec![is(0, SeccompCmpOp::Ne, AF_UNIX)?])?],
    );
    if wishes.network != NetworkMode::Full {
        for (call, index) in [
            (libc::SYS_sendto, 3),
            (libc::SYS_sendmsg, 2),
            (libc::SYS_sendmmsg, 3),
        ] {
            rules.insert(call, vec![with_flag(index, MSG_FASTOPEN)?]);
        }
    }
    let refused = compile(rules, libc::EPERM, arch)?;
    // Its flags lie behind a pointer, which no filter can follow. Libraries fall back to `clone`.
    let missing = compile(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        libc::ENOSYS,
        arch,
    )?;
    let mut filters = vec![missing, refused];
    if arch == TargetArch::x86_64 {
        filters.push(no_x32());
    }
    Ok(filters)
}

/// Which sockets are refused: all families but a few, and of those what the other protections do not see.
fn sockets(network: NetworkMode) -> Result<Vec<SeccompRule>, SyscallError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let families: &[u64] = match network {
        NetworkMode::Full => &[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK],
        NetworkMode::Allowlist => &[AF_UNIX, AF_INET, AF_INET6],
        NetworkMode::None => &[AF_UNIX],
    };
    let others: Result<Vec<_>, _> = families.iter().map(|family| is(0, Ne, *family)).collect();
    let mut rules = vec![rule(others?)?];
    for family in families.iter().filter(|family| **family != AF_UNIX) {
        let of = || is(0, Eq, *family);
        if *family == AF_NETLINK {
            // Only routes (0): what resolvers and `getifaddrs` ask.
            rules.push(rule(vec![of()?, is(2, Ne, 0)?])?);
            continue;
        }
        for kind in [SOCK_RAW, SOCK_PACKET] {
            rules.push(rule(vec![of()?, is(1, MaskedEq(SOCK_TYPE), kind)?])?);
        }
        for protocol in PROTOCOLS {
            rules.push(rule(vec![of()?, is(2, Eq, protocol)?])?);
        }
        if network == NetworkMode::Allowlist {
            let not_stream = (2..=6).filter(|kind| *kind != SOCK_STREAM && *kind != SOCK_RAW);
            for kind in not_stream {
                rules.push(rule(vec![of()?, is(1, MaskedEq(SOCK_TYPE), kind)?])?);
            }
        }
    }
    Ok(rules)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    arch: TargetArch,
) -> Result<BpfProgram, SyscallError> {
    let refuse = SeccompAction::Errno(u32::try_from(errno).unwrap_or(1));
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// Refuses the x32 calls, which have the same architecture as the others and numbers from 2³⁰ on: rules by number miss them.
fn no_x32() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const NUMBER: u32 = 0;
    const X32: u32 = 0x4000_0000;
    const ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_WORD, 0, 0, NUMBER),
        step(JUMP_IF_AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
        step(RETURN, 0, 0, ALLOW),
    ]
}

/// Puts `filters` in force for this thread, for good.
///
/// # Errors
/// When the kernel refuses one.
pub fn enforce(filters: &[BpfProgram]) -> Result<(), SyscallError> {
    for filter in filters {
        seccompiler::apply_filter(filter)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_of_every_wish_can_be_made() {
        for network in [NetworkMode::Full, NetworkMode::None, NetworkMode::Allowlist] {
            for truncate in [true, false] {
                let filters = filters(Wishes { network, truncate }).expect("filters");
                assert!(filters.iter().all(|filter| filter.len() < 4096));
            }
        }
    }
}
