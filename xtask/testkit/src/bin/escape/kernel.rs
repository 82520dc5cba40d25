//! The kernel itself: its interfaces that no tool of an agent needs, its settings, its devices.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, CAPABILITIES, Case, LANDLOCK, REPORTED, SECCOMP, Theme, case};
use crate::reading::await_bytes;
use crate::sys::{Arg, Attempt, Refused, absent, call, open_at, open_by, refused, status_field, word};

pub(crate) const THEME: Theme = Theme {
    name: "kernel",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("bpf-map": "makes a BPF map", bpf; twin "makes a pipe", pipe; ALL, SECCOMP),
    case!("perf-event": "counts its own page faults by perf_event_open", perf; twin "asks for its own resource usage", usage;
          ALL, SECCOMP),
    case!("userfaultfd": "handles its own page faults by userfaultfd", fault_handler; twin "maps memory", memory;
          ALL, SECCOMP),
    case!("load-module": "loads a module by finit_module with a descriptor that is not open (reached: EBADF)", |_| {
              let none = word("")?;
              reached(call("finit_module", libc::SYS_finit_module, &[(-1).into(), Arg::text(&none), 0.into()]))
          }; twin "reads the kernel's version", version; ALL, SECCOMP, judge ErrorNumber),
    case!("unload-module": "unloads a module that does not exist (reached: ENOENT)", |_| {
              let name = word("escape_no_such_module")?;
              reached(call("delete_module", libc::SYS_delete_module, &[Arg::text(&name), 0.into()]))
          }; twin "reads the kernel's version", version; ALL, SECCOMP, judge ErrorNumber),
    case!("load-kernel": "loads another kernel by kexec_load with impossible flags (reached: EINVAL)", |_| {
              let arguments = [0.into(), 0.into(), 0.into(), u64::MAX.into()];
              reached(call("kexec_load", libc::SYS_kexec_load, &arguments))
          }; twin "reads the kernel's version", version; ALL, SECCOMP, judge ErrorNumber),
    case!("reboot": "restarts the machine by reboot with a wrong magic number (reached: EINVAL)", |_| {
              let arguments = [0.into(), 0.into(), 0.into(), 0.into()];
              reached(call("reboot", libc::SYS_reboot, &arguments))
          }; twin "reads how long the kernel runs", uptime; ALL, SECCOMP, judge ErrorNumber),
    case!("add-swap": "adds swap space from a path that does not exist (reached: ENOENT)", |_| {
              let name = word("/nonexistent/escape")?;
              reached(call("swapon", libc::SYS_swapon, &[Arg::text(&name), 0.into()]))
          }; twin "maps memory", memory; ALL, SECCOMP, judge ErrorNumber),
    case!("personality": "makes its address space predictable by personality", personality;
          twin "asks for its personality", |_| {
              let now = call("personality", libc::SYS_personality, &[0xffff_ffff_u32.into()])?;
              Ok(format!("{now:#x}"))
          }; REPORTED, SECCOMP),
    case!("host-name": "sets the host's name, to what it is", host_name; twin "reads the host's name", |_| {
              Ok(fs::read_to_string("/proc/sys/kernel/hostname")?)
          }; ALL, CAPABILITIES),
    case!("kernel-log": "reads the kernel's log by syslog", |_| {
              let mut text = vec![0_u8; 4096];
              let arguments = [3.into(), Arg::write(&mut *text), 4096.into()];
              match call("syslog", libc::SYS_syslog, &arguments)? {
                  0 => absent("the kernel's log is empty"),
                  length => Ok(format!("{length} bytes")),
              }
          }; twin "reads the kernel's version", version; ALL, SECCOMP),
    case!("kernel-log-device": "reads /dev/kmsg", |_| {
              let file = open_at(libc::AT_FDCWD, Path::new("/dev/kmsg"), libc::O_RDONLY | libc::O_NONBLOCK)?;
              Ok(format!("{} bytes", await_bytes(file.into(), 100)?.len()))
          }; twin "reads /dev/urandom and writes /dev/null", devices; ALL, LANDLOCK),
    case!("physical-memory": "opens /dev/mem or /proc/kcore",
          |_| open_any(&["/dev/mem", "/proc/kcore"], libc::O_RDONLY);
          twin "reads /dev/urandom and writes /dev/null", devices; ALL, LANDLOCK),
    case!("raw-disk": "reads the disk's first block", raw_disk;
          twin "reads /dev/urandom and writes /dev/null", devices; ALL, LANDLOCK),
    case!("core-pattern": "writes /proc/sys/kernel/core_pattern, with what it is",
          |_| write_back(Path::new("/proc/sys/kernel/core_pattern"));
          twin "reads /proc/sys/kernel/pid_max", |_| Ok(fs::read_to_string("/proc/sys/kernel/pid_max")?);
          ALL, LANDLOCK),
    case!("sysctl-vm": "writes /proc/sys/vm/overcommit_memory, with what it is",
          |_| write_back(Path::new("/proc/sys/vm/overcommit_memory"));
          twin "reads /proc/meminfo", |_| Ok(format!("{} bytes", fs::read("/proc/meminfo")?.len())); ALL, LANDLOCK),
    case!("sysrq": "opens /proc/sysrq-trigger for writing", |_| open_any(&["/proc/sysrq-trigger"], libc::O_WRONLY);
          twin "reads how long the kernel runs", uptime; ALL, LANDLOCK),
    case!("kernel-hook-program": "writes /sys/kernel/uevent_helper, with what it is",
          |_| write_back(Path::new("/sys/kernel/uevent_helper"));
          twin "counts processors", processors; ALL, LANDLOCK),
    case!("leave-cgroup": "makes a control group beside its own", cgroup; twin "reads which control group it is in", |_| {
              Ok(fs::read_to_string("/proc/self/cgroup")?)
          }; ALL, LANDLOCK),
    case!("cgroup-release-agent": "writes a hierarchy's release_agent, with what it is", release_agent;
          twin "reads which control group it is in", |_| Ok(fs::read_to_string("/proc/self/cgroup")?); ALL, LANDLOCK),
    case!("immune-to-memory-killer": "lowers its own oom_score_adj", |_| {
              let file = Path::new("/proc/self/oom_score_adj");
              fs::write(file, "-1000")?;
              Ok(fs::read_to_string(file)?.trim().to_owned())
          }; twin "reads its own oom_score_adj", |_| Ok(fs::read_to_string("/proc/self/oom_score_adj")?);
          ALL, CAPABILITIES),
];

/// For calls that are made with values that their handler refuses: the handler was reached unless the answer is the one of a
/// filter or of a missing capability.
fn reached(result: Result<i64, Refused>) -> Attempt {
    match result {
        Ok(value) => Ok(format!("it gave {value}")),
        Err(Refused::By(why)) if why.ends_with("(os error 1)") || why.ends_with("(os error 13)") => {
            refused(why)
        }
        Err(Refused::By(why)) => Ok(format!("its handler was reached: {why}")),
        Err(absent) => Err(absent),
    }
}

fn bpf(_: &Scene) -> Attempt {
    // BPF_MAP_CREATE of an array: type, key size, value size, entries.
    let attributes = [2_u32, 4, 4, 1];
    let length = size_of_val(&attributes);
    open_by(
        "bpf",
        libc::SYS_bpf,
        &[0.into(), Arg::read(&attributes), length.into()],
    )?;
    Ok("a map".to_owned())
}

fn pipe(_: &Scene) -> Attempt {
    std::io::pipe()?;
    Ok("a pipe".to_owned())
}

fn perf(_: &Scene) -> Attempt {
    // `struct perf_event_attr`: type (software), size, config (page faults), and the flag exclude_kernel.
    let mut attributes = [0_u8; 128];
    attributes[0..4].copy_from_slice(&1_u32.to_ne_bytes());
    attributes[4..8].copy_from_slice(&128_u32.to_ne_bytes());
    attributes[8..16].copy_from_slice(&2_u64.to_ne_bytes());
    attributes[40..48].copy_from_slice(&0x60_u64.to_ne_bytes());
    let arguments = [
        Arg::read(&attributes),
        0.into(),
        (-1).into(),
        (-1).into(),
        0.into(),
    ];
    open_by("perf_event_open", libc::SYS_perf_event_open, &arguments)?;
    Ok("a counter".to_owned())
}

fn usage(_: &Scene) -> Attempt {
    let mut usage = [0_i64; 18];
    call(
        "getrusage",
        libc::SYS_getrusage,
        &[0.into(), Arg::write(&mut usage)],
    )?;
    Ok("asked".to_owned())
}

fn fault_handler(_: &Scene) -> Attempt {
    /// `UFFD_USER_MODE_ONLY`: what an ordinary user may have.
    const USER_MODE_ONLY: i32 = 1;
    let file: OwnedFd = open_by(
        "userfaultfd",
        libc::SYS_userfaultfd,
        &[(libc::O_CLOEXEC | USER_MODE_ONLY).into()],
    )?;
    Ok(format!("{file:?}"))
}

fn memory(_: &Scene) -> Attempt {
    Ok(format!("{} bytes", vec![1_u8; 8 << 20].len()))
}

fn version(_: &Scene) -> Attempt {
    Ok(fs::read_to_string("/proc/version")?)
}

fn uptime(_: &Scene) -> Attempt {
    Ok(fs::read_to_string("/proc/uptime")?)
}

fn processors(_: &Scene) -> Attempt {
    Ok(std::thread::available_parallelism()?.to_string())
}

fn personality(_: &Scene) -> Attempt {
    let wanted = libc::ADDR_NO_RANDOMIZE as u64;
    call("personality", libc::SYS_personality, &[wanted.into()])?;
    let now = call("personality", libc::SYS_personality, &[0xffff_ffff_u32.into()])?;
    if now as u64 & wanted == 0 {
        return refused("it is as it was");
    }
    Ok(format!("{now:#x}"))
}

fn host_name(_: &Scene) -> Attempt {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = name.trim_end();
    call(
        "sethostname",
        libc::SYS_sethostname,
        &[Arg::read(name), name.len().into()],
    )?;
    Ok("set".to_owned())
}

fn devices(_: &Scene) -> Attempt {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    fs::write("/dev/null", bytes)?;
    fs::File::open("/dev/zero")?.read_exact(&mut bytes)?;
    Ok("read and written".to_owned())
}

fn open_any(names: &[&str], flags: i32) -> Attempt {
    let mut why = Refused::Absent("there is none of them".to_owned());
    for name in names {
        match open_at(libc::AT_FDCWD, Path::new(name), flags) {
            Ok(_) => return Ok(format!("opened {name}")),
            Err(_) if !Path::new(name).exists() => {}
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn raw_disk(_: &Scene) -> Attempt {
    use std::io::Read as _;
    use std::os::unix::fs::FileTypeExt as _;
    let mut why = Refused::Absent("there is no disk in /dev".to_owned());
    for entry in fs::read_dir("/dev")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let disk = ["vd", "sd", "nvme", "mmcblk"]
            .iter()
            .any(|start| name.starts_with(start));
        if !disk || !entry.file_type()?.is_block_device() {
            continue;
        }
        let mut block = [0; 512];
        match fs::File::open(entry.path()).and_then(|mut file| file.read_exact(&mut block)) {
            Ok(()) => return Ok(format!("read {}", entry.path().display())),
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

/// Writes what it reads, which changes nothing and needs the right to change it.
fn write_back(file: &Path) -> Attempt {
    if !file.exists() {
        return absent(format!("no {}", file.display()));
    }
    let text = fs::read(file)?;
    fs::write(file, text)?;
    Ok(format!("wrote {}", file.display()))
}

fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect()
}

fn cgroup(_: &Scene) -> Attempt {
    let mut why = Refused::Absent("no control groups are mounted".to_owned());
    for root in cgroup_roots() {
        let group = root.join(format!("escape-{}", std::process::id()));
        match fs::create_dir(&group) {
            Ok(()) => {
                fs::remove_dir(&group)?;
                return Ok(format!("made {}", group.display()));
            }
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

fn release_agent(_: &Scene) -> Attempt {
    let files = cgroup_roots().into_iter().map(|root| root.join("release_agent"));
    match files.into_iter().find(|file| file.exists()) {
        Some(file) => write_back(&file),
        None => absent("no hierarchy of the first version is mounted"),
    }
}

/// The capabilities in force, as a number.
pub(crate) fn effective() -> Result<u64, Refused> {
    u64::from_str_radix(&status_field("CapEff")?, 16).map_err(|error| Refused::By(error.to_string()))
}
