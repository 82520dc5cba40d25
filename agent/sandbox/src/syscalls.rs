//! System calls that are refused in every sandbox: ways out, ways around the other protections, and those of the kernel's parts that no
//! build or test needs.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpArgLen::Qword, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::profile::NetworkMode;

mod join;

use join::Answer;

/// Why the filters could not be made or put in force.
#[derive(Debug, thiserror::Error)]
pub enum SyscallError {
    /// A rule makes no sense to the library.
    #[error("the system call filter cannot be made: {0}")]
    Build(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("the system call filter cannot be put in force: {0}")]
    Load(#[from] seccompiler::Error),
    /// Two parts of it answer the same call.
    #[error("the system call filter has two answers for call {0}")]
    Twice(u32),
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
const NAMESPACES: u64 = 0x7e02_0000;
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

/// The first argument has none of them.
fn without_flags(flags: u64) -> Result<SeccompRule, SyscallError> {
    let condition = SeccompCondition::new(0, Qword, SeccompCmpOp::MaskedEq(flags), 0)?;
    rule(vec![condition])
}

/// The filter.
///
/// # Errors
/// When a rule makes no sense, which a test rules out.
pub fn filter(wishes: Wishes) -> Result<BpfProgram, SyscallError> {
    let parts = parts(wishes)?;
    let number = |call: i64| u32::try_from(call).map_err(|_| SyscallError::Architecture);
    let mut numbers: BTreeMap<u32, Answer> = BTreeMap::new();
    // The weaker of two answers would stand in for the stricter one.
    let mut answer = |call: i64, answer: Answer| {
        let number = number(call)?;
        let before = numbers.insert(number, answer);
        before.map_or(Ok(()), |_| Err(SyscallError::Twice(number)))
    };
    for call in parts.refused {
        answer(call, Answer::Refused(libc::EPERM))?;
    }
    for call in parts.missing {
        answer(call, Answer::Refused(libc::ENOSYS))?;
    }
    let filters = [(parts.refused_where, false), (parts.allowed_where, true)];
    let mut compiled = Vec::new();
    for (at, (rules, allow)) in filters.into_iter().enumerate() {
        for call in rules.keys() {
            answer(*call, Answer::Asked(at))?;
        }
        compiled.push(compile(rules, libc::EPERM, allow, parts.arch)?);
    }
    let from = parts.from.map(|from| (from, libc::ENOSYS));
    Ok(join::joined(compiled, &numbers, from, parts.arch))
}

/// What the filter is made of.
struct Parts {
    /// Refused whatever the arguments are.
    refused: Vec<i64>,
    /// As if the kernel had none of these.
    missing: Vec<i64>,
    /// Refused where one of the rules fits.
    refused_where: BTreeMap<i64, Vec<SeccompRule>>,
    /// Refused where none of the rules fits.
    allowed_where: BTreeMap<i64, Vec<SeccompRule>>,
    /// As if the kernel had none from this number on.
    from: Option<u32>,
    arch: TargetArch,
}

fn parts(wishes: Wishes) -> Result<Parts, SyscallError> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => TargetArch::x86_64,
        "aarch64" => TargetArch::aarch64,
        _ => return Err(SyscallError::Architecture),
    };
    let mut refused = [REFUSED, REFUSED_HERE].concat();
    if wishes.truncate {
        refused.push(libc::SYS_truncate);
    }
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let allowed_where = BTreeMap::from([
        (libc::SYS_clone, vec![without_flags(NAMESPACES)?]),
        (libc::SYS_unshare, vec![without_flags(NAMESPACES | NEW_TIME)?]),
    ]);
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
    Ok(Parts {
        refused,
        // Its flags lie behind a pointer, which no filter can follow. Libraries fall back to `clone`.
        missing: vec![libc::SYS_clone3],
        refused_where: rules,
        allowed_where,
        from: (arch == TargetArch::x86_64).then_some(X32),
        arch,
    })
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

/// Refuses where a rule fits, or with `allow` where none does.
fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
    allow: bool,
    arch: TargetArch,
) -> Result<BpfProgram, SyscallError> {
    let refuse = SeccompAction::Errno(u32::try_from(errno).unwrap_or(1));
    let (fits, else_) = match allow {
        true => (SeccompAction::Allow, refuse),
        false => (refuse, SeccompAction::Allow),
    };
    let filter = SeccompFilter::new(rules, else_, fits, arch)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// The x32 calls of x86_64 have the same architecture as the others and numbers from 2³⁰ on: rules by number miss them.
const X32: u32 = 0x4000_0000;

/// Puts a filter in force for this thread, for good.
///
/// # Errors
/// When the kernel refuses it.
pub fn enforce(filter: &BpfProgram) -> Result<(), SyscallError> {
    seccompiler::apply_filter(filter)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::join::{ALLOW, ERRNO, JUMP_IF_AT_LEAST, LOAD_WORD, NUMBER, RETURN, step};
    use super::*;

    /// Refuses the calls from that number on.
    fn none_from(number: u32) -> BpfProgram {
        vec![
            step(LOAD_WORD, 0, 0, NUMBER),
            step(JUMP_IF_AT_LEAST, 0, 1, number),
            step(RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
            step(RETURN, 0, 0, ALLOW),
        ]
    }

    /// The same as several filters that the library makes alone, and the numbers that they may refuse.
    fn apart(wishes: Wishes) -> (Vec<BpfProgram>, Vec<u32>) {
        let Parts {
            refused,
            missing,
            refused_where,
            allowed_where,
            from,
            arch,
        } = parts(wishes).unwrap();
        let whole = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect();
        let with_arguments = refused_where.keys().chain(allowed_where.keys());
        let numbers = refused.iter().chain(&missing).chain(with_arguments);
        let numbers = numbers.map(|call| u32::try_from(*call).unwrap()).collect();
        // One rule for each flag, so that the one rule for all of them is held against something else.
        let flags = |set: u64| {
            (0..64)
                .map(move |bit| 1 << bit)
                .filter(move |flag| set & flag != 0)
        };
        let by_flag = |set: u64| flags(set).map(|flag| with_flag(0, flag).unwrap()).collect();
        let namespaces = BTreeMap::from([
            (libc::SYS_clone, by_flag(NAMESPACES)),
            (libc::SYS_unshare, by_flag(NAMESPACES | NEW_TIME)),
        ]);
        assert!(allowed_where.keys().eq(namespaces.keys()));
        let mut filters = vec![
            compile(whole(&missing), libc::ENOSYS, false, arch).unwrap(),
            compile(whole(&refused), libc::EPERM, false, arch).unwrap(),
            compile(refused_where, libc::EPERM, false, arch).unwrap(),
            compile(namespaces, libc::EPERM, false, arch).unwrap(),
        ];
        filters.extend(from.map(none_from));
        (filters, numbers)
    }

    #[test]
    fn the_flags_of_namespaces_are_those_of_the_kernel() {
        let flags = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ];
        let all = flags.into_iter().fold(0, |all, flag| all | flag);
        assert_eq!(u64::from(all.unsigned_abs()), NAMESPACES);
    }

    /// What the kernel hands a filter: number, architecture, instruction pointer, six arguments.
    #[derive(Debug, Clone, Copy)]
    struct Asked {
        number: u32,
        arch: u32,
        arguments: [u64; 6],
    }

    impl Asked {
        fn word(&self, at: u32) -> u32 {
            let argument = |at: u32| self.arguments[at as usize / 8];
            match at {
                0 => self.number,
                4 => self.arch,
                16.. if at.is_multiple_of(8) => argument(at - 16) as u32,
                20.. => (argument(at - 20) >> 32) as u32,
                _ => 0,
            }
        }
    }

    /// Runs a filter: its answer, and after how many steps.
    fn run(program: &BpfProgram, asked: &Asked) -> (u32, usize) {
        let (mut at, mut value) = (0, 0_u32);
        for steps in 1.. {
            let one = &program[at];
            at += 1;
            let jump = |is: bool| usize::from(if is { one.jt } else { one.jf });
            match one.code {
                0x20 => value = asked.word(one.k),
                0x54 => value &= one.k,
                0x05 => at += one.k as usize,
                0x15 => at += jump(value == one.k),
                0x25 => at += jump(value > one.k),
                0x35 => at += jump(value >= one.k),
                0x45 => at += jump(value & one.k != 0),
                0x06 => return (one.k, steps),
                other => panic!("the kernel knows step {other:#x}, and this test does not"),
            }
        }
        unreachable!("a filter only goes forward")
    }

    /// How far an answer goes: the kernel takes the strictest, which has the lowest number but for the sign.
    fn strictest(filters: &[BpfProgram], asked: &Asked) -> u32 {
        let answers = filters.iter().map(|filter| run(filter, asked).0);
        answers
            .min_by_key(|answer| (answer & 0xffff_0000).cast_signed())
            .unwrap()
    }

    fn arch() -> u32 {
        if cfg!(target_arch = "x86_64") {
            0xc000_003e
        } else {
            0xc000_00b7
        }
    }

    fn arguments() -> Vec<[u64; 6]> {
        let telling = [
            0,
            1,
            2,
            3,
            10,
            16,
            0x80,
            0x5412,
            0x5423,
            262,
            0x0120_0011,
            0x0002_0000,
            0x0200_0000,
            0x0400_0000,
            0x0800_0000,
            0x4000_0000,
            0x1000_0000,
            0x2000_0000,
            u64::MAX,
            1 << 40 | 1,
        ];
        let mut all = Vec::new();
        for first in telling {
            for second in telling {
                all.push([first, second, 0, 0, 0, 0]);
                all.push([first, 1, second, second, second, 0]);
            }
        }
        all
    }

    #[test]
    fn the_joined_filter_answers_as_its_parts_do() {
        for network in [NetworkMode::Full, NetworkMode::None, NetworkMode::Allowlist] {
            for truncate in [true, false] {
                let wishes = Wishes { network, truncate };
                let ((filters, numbers), whole) = (apart(wishes), filter(wishes).unwrap());
                assert!(whole.len() < 4096);
                let own = arch();
                let mut refused = 0;
                let mut ask = |asked: Asked| {
                    let answer = run(&whole, &asked).0;
                    assert_eq!(answer, strictest(&filters, &asked), "{asked:?}");
                    refused += usize::from(asked.arch == own && answer != ALLOW);
                };
                let arches = [0xc000_003e, 0xc000_00b7, 0x4000_0003, 0];
                for number in (0..600).chain(X32 - 2..X32 + 600).chain([u32::MAX]) {
                    for arch in arches {
                        ask(Asked {
                            number,
                            arch,
                            arguments: [0; 6],
                        });
                    }
                }
                for &number in &numbers {
                    for arguments in arguments() {
                        for arch in arches {
                            ask(Asked {
                                number,
                                arch,
                                arguments,
                            });
                        }
                    }
                }
                // Those that are refused whatever their arguments are, and some with some.
                assert!(refused > REFUSED.len() * arguments().len(), "{refused}");
            }
        }
    }

    #[test]
    fn what_is_not_refused_is_allowed_after_a_few_steps() {
        let whole = filter(Wishes {
            network: NetworkMode::None,
            truncate: false,
        })
        .unwrap();
        let arch = arch();
        for number in [libc::SYS_read, libc::SYS_openat, libc::SYS_futex] {
            let asked = Asked {
                number: u32::try_from(number).unwrap(),
                arch,
                arguments: [0; 6],
            };
            let (answer, steps) = run(&whole, &asked);
            assert_eq!(answer, ALLOW);
            assert!(steps < 25, "{steps}");
        }
    }
}
