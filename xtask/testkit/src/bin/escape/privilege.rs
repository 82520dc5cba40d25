//! Getting rights back.

use std::fs;
use std::process::{Command, Stdio};

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, CAPABILITIES, Case, LANDLOCK, SECCOMP, Theme, case};
use crate::kernel::effective;
use crate::sys::{Arg, Attempt, Refused, absent, call, open_by, path, refused};

pub(crate) const THEME: Theme = Theme {
    name: "privilege",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("set-user-id": "executes a set-user-ID program of root's", set_user_id;
          twin "executes a system program", system_program; ALL, CAPABILITIES),
    case!("ambient-capability": "raises CAP_SYS_ADMIN as ambient, and executes", ambient;
          twin "executes a system program", system_program; ALL, CAPABILITIES),
    case!("powerful-capabilities": "has a capability that leads out (administration, modules, raw input and output, tracing)",
          |_| powerful(effective()?); twin "asks for its capabilities", |_| Ok(format!("{:#x}", effective()?));
          ALL, CAPABILITIES),
    case!("become-root": "sets its user to root", |_| {
              if nix::unistd::geteuid().is_root() {
                  return absent("it is root");
              }
              call("setresuid", libc::SYS_setresuid, &[0.into(), 0.into(), 0.into()])?;
              Ok("root".to_owned())
          }; twin "asks for its user", |_| Ok(nix::unistd::geteuid().to_string()); ALL, CAPABILITIES),
    case!("gain-by-exec": "may gain rights by executing (no_new_privs is not set)", |_| {
              match call("PR_GET_NO_NEW_PRIVS", libc::SYS_prctl, &[39.into(), 0.into(), 0.into(), 0.into(), 0.into()])? {
                  0 => Ok("no_new_privs is not set".to_owned()),
                  _ => refused("no_new_privs is set"),
              }
          }; twin "sets its own name", set_name; ALL, CAPABILITIES),
    case!("forge-program-name": "gives itself another /proc/self/exe or command line by PR_SET_MM", forge;
          twin "sets its own name", set_name; ALL, CAPABILITIES),
    case!("widen-landlock": "restricts itself by a Landlock ruleset that grants everything, and reads the secret", widen;
          twin "restricts itself further, as a harness's own sandbox does", nest; ALL, LANDLOCK),
    case!("outvote-filter": "adds a seccomp filter that allows unshare, and makes a user namespace", outvote;
          twin "adds a seccomp filter, as a harness's own sandbox does", |_| {
              filter()?;
              Ok("added".to_owned())
          }; ALL, SECCOMP),
];

/// Capabilities that lead out of any sandbox: DAC_READ_SEARCH, LINUX_IMMUTABLE, NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO,
/// SYS_CHROOT, SYS_PTRACE, SYS_PACCT, SYS_ADMIN, SYS_BOOT, SYS_TIME, MKNOD, MAC_OVERRIDE, MAC_ADMIN, SYSLOG, PERFMON, BPF,
/// CHECKPOINT_RESTORE.
const POWERFUL: [u32; 19] = [
    2, 9, 12, 13, 16, 17, 18, 19, 20, 21, 22, 25, 27, 32, 33, 34, 38, 39, 40,
];
const SYS_ADMIN: u32 = 21;

fn powerful(set: u64) -> Attempt {
    let held: Vec<u32> = POWERFUL.into_iter().filter(|bit| set & (1 << bit) != 0).collect();
    if held.is_empty() {
        return refused(format!("none of them: {set:#x}"));
    }
    Ok(format!("capabilities {held:?}"))
}

/// What a program that was executed prints.
pub(crate) fn own_capabilities() -> anyhow::Result<String> {
    let set = effective().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(format!("{} {set:x}", nix::unistd::geteuid()))
}

/// Executes a program that prints its user and its capabilities; more than before is an escape.
fn executed(program: &std::path::Path) -> Result<(u32, u64), Refused> {
    let output = Command::new(program)
        .args(["executed", "capabilities"])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let user = words.next().and_then(|word| word.parse().ok());
    let set = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
    user.zip(set)
        .ok_or_else(|| Refused::By(format!("it did not run: {}", output.status)))
}

fn set_user_id(scene: &Scene) -> Attempt {
    let Some(program) = &scene.set_user_id else {
        return absent("only root can prepare one");
    };
    let (user, set) = executed(program)?;
    if user != nix::unistd::geteuid().as_raw() {
        return Ok(format!("user {user}"));
    }
    powerful(set)
}

fn system_program(_: &Scene) -> Attempt {
    Ok(Command::new("/bin/true").status()?.to_string())
}

fn ambient(_: &Scene) -> Attempt {
    // Into the inheritable set first: version 3 of the header, then effective, permitted, inheritable of each half.
    let header = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    call(
        "capget",
        libc::SYS_capget,
        &[Arg::read(&header), Arg::write(&mut sets)],
    )?;
    sets[2] |= 1 << SYS_ADMIN;
    call(
        "capset",
        libc::SYS_capset,
        &[Arg::read(&header), Arg::read(&sets)],
    )?;
    // PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE.
    let arguments = [47.into(), 2.into(), SYS_ADMIN.into(), 0.into(), 0.into()];
    call("PR_CAP_AMBIENT_RAISE", libc::SYS_prctl, &arguments)?;
    let (_, set) = executed(std::path::Path::new("/proc/self/exe"))?;
    powerful(set & (1 << SYS_ADMIN))
}

fn set_name(_: &Scene) -> Attempt {
    let name = crate::sys::word("twin")?;
    call(
        "PR_SET_NAME",
        libc::SYS_prctl,
        &[libc::PR_SET_NAME.into(), Arg::text(&name)],
    )?;
    Ok(fs::read_to_string("/proc/self/comm")?)
}

/// Moves the start of its command line: what `/proc/PID/cmdline` shows is then its own choice.
fn forge(_: &Scene) -> Attempt {
    let name = Box::leak(Box::new(*b"/usr/bin/innocent\0"));
    let start = std::ptr::from_ref(name).expose_provenance() as u64;
    let set = |what: &str, option: i32, address: u64| {
        let arguments = [
            libc::PR_SET_MM.into(),
            option.into(),
            address.into(),
            0.into(),
            0.into(),
        ];
        call(what, libc::SYS_prctl, &arguments)
    };
    // The start must not lie behind the end: whichever order the kernel takes.
    if set("PR_SET_MM_ARG_START", libc::PR_SET_MM_ARG_START, start).is_err() {
        set(
            "PR_SET_MM_ARG_END",
            libc::PR_SET_MM_ARG_END,
            start + name.len() as u64,
        )?;
        set("PR_SET_MM_ARG_START", libc::PR_SET_MM_ARG_START, start)?;
    } else {
        set(
            "PR_SET_MM_ARG_END",
            libc::PR_SET_MM_ARG_END,
            start + name.len() as u64,
        )?;
    }
    match fs::read("/proc/self/cmdline")?.starts_with(b"/usr/bin/innocent") {
        true => Ok("another command line".to_owned()),
        false => refused("the command line is as it was"),
    }
}

/// Restricts this thread by a ruleset that handles reading files; with `grant`, that is granted below `/`.
fn restrict(grant: bool) -> Result<(), Refused> {
    const READ_FILE: u64 = 1 << 2;
    let ruleset = open_by(
        "landlock_create_ruleset",
        libc::SYS_landlock_create_ruleset,
        &[Arg::read(&READ_FILE), 8.into(), 0.into()],
    )?;
    if grant {
        let root = fs::File::open("/")?;
        use std::os::fd::AsRawFd as _;
        // `struct landlock_path_beneath_attr`, packed: allowed access, the folder's descriptor.
        let mut rule = [0_u8; 12];
        rule[..8].copy_from_slice(&READ_FILE.to_ne_bytes());
        rule[8..].copy_from_slice(&root.as_raw_fd().to_ne_bytes());
        let arguments = [Arg::fd(&ruleset), 1.into(), Arg::read(&rule), 0.into()];
        call("landlock_add_rule", libc::SYS_landlock_add_rule, &arguments)?;
    }
    call(
        "PR_SET_NO_NEW_PRIVS",
        libc::SYS_prctl,
        &[38.into(), 1.into(), 0.into(), 0.into(), 0.into()],
    )?;
    let arguments = [Arg::fd(&ruleset), 0.into()];
    call(
        "landlock_restrict_self",
        libc::SYS_landlock_restrict_self,
        &arguments,
    )?;
    Ok(())
}

fn widen(scene: &Scene) -> Attempt {
    restrict(true)?;
    crate::case::loot(&fs::read(&scene.secret)?)
}

fn nest(scene: &Scene) -> Attempt {
    let readme = scene.project.join("README");
    fs::read(&readme)?;
    restrict(false)?;
    let name = path(&readme)?;
    let arguments = [
        libc::AT_FDCWD.into(),
        Arg::text(&name),
        libc::O_RDONLY.into(),
        0.into(),
    ];
    match call("openat", libc::SYS_openat, &arguments) {
        Ok(_) => refused("the inner sandbox has no effect"),
        Err(_) => Ok("the inner sandbox holds".to_owned()),
    }
}

/// A filter of one instruction: everything is allowed.
fn filter() -> Result<(), Refused> {
    call(
        "PR_SET_NO_NEW_PRIVS",
        libc::SYS_prctl,
        &[38.into(), 1.into(), 0.into(), 0.into(), 0.into()],
    )?;
    let allow = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: allow.as_ptr().cast_mut(),
    };
    call(
        "seccomp",
        libc::SYS_seccomp,
        &[1.into(), 0.into(), Arg::read(&program)],
    )?;
    Ok(())
}

fn outvote(_: &Scene) -> Attempt {
    let before = fs::read_link("/proc/self/ns/user")?;
    filter()?;
    call("unshare", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()])?;
    match fs::read_link("/proc/self/ns/user")? == before {
        true => refused("still in the same namespace"),
        false => Ok("in another user namespace".to_owned()),
    }
}
