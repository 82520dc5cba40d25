//! Making a world of one's own: namespaces and mounts, in which masks can be taken off.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use defenseclaw_testkit::escape::scene::Scene;
use nix::libc;

use crate::case::{ALL, Case, SECCOMP, Theme, case, loot};
use crate::reading::writable;
use crate::sys::{Arg, Attempt, Refused, absent, call, in_child, open_by, path, refused, word};

pub(crate) const THEME: Theme = Theme {
    name: "namespaces",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("unshare-user": "makes a user namespace by unshare", |_| {
              changed("user", || call("unshare", libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]).map(drop))
          }; twin "starts a process", start_process; ALL, SECCOMP),
    case!("unshare-mount": "makes a mount namespace by unshare", |_| {
              changed("mnt", || call("unshare", libc::SYS_unshare, &[new_mounts().into()]).map(drop))
          }; twin "starts a process", start_process; ALL, SECCOMP),
    case!("clone-user": "starts a process in a user namespace by clone", |_| clone(libc::CLONE_NEWUSER);
          twin "starts a process by clone", |_| clone(0); ALL, SECCOMP),
    case!("clone3-user": "starts a process in a user namespace by clone3", |_| clone3(libc::CLONE_NEWUSER);
          twin "starts a thread", start_thread; ALL, SECCOMP),
    case!("setns-process": "enters the namespaces of a process outside by its pidfd", enter_by_pidfd;
          twin "compares its namespaces' names", namespace_names; ALL, SECCOMP),
    case!("setns-file": "enters the mount namespace of a process outside by /proc/PID/ns/mnt", enter_by_file;
          twin "compares its namespaces' names", namespace_names; ALL, SECCOMP),
    case!("mount-tmpfs": "mounts a tmpfs", |s| mounting(|| mount("tmpfs", &writable(s)?.join("m"), Some("tmpfs"), 0));
          twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("mount-bind-secret": "mounts ~/.ssh into the project, and reads the secret there", bind_secret;
          twin "makes a link within the project", link_within; ALL, SECCOMP),
    case!("mount-proc": "mounts another procfs", |s| mounting(|| mount("proc", &writable(s)?.join("m"), Some("proc"), 0));
          twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("unmount-mask": "unmounts what hides a closed file, and reads that", unmount_mask;
          twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("remount-writable": "remounts / as writable", |_| {
              let flags = libc::MS_REMOUNT | libc::MS_BIND;
              mounting(|| mount("none", Path::new("/"), None, flags))
          }; twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("open-tree-clone": "takes a private copy of the mounts by open_tree", |_| {
              mounting(|| open_tree().map(drop))
          }; twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("move-mount": "puts a copy of ~/.ssh into the project by open_tree and move_mount", move_copy;
          twin "renames a folder of its own", rename_own; ALL, SECCOMP),
    case!("fsopen": "makes a file system by fsopen and fsmount", |_| mounting(new_file_system);
          twin "reads its mount table", mount_table; ALL, SECCOMP),
    case!("pivot-root": "changes its root by pivot_root", |s| pivot(s);
          twin "changes its working directory", |_| {
              std::env::set_current_dir("/")?;
              Ok("changed".to_owned())
          }; ALL, SECCOMP),
    case!("chroot": "changes its root by chroot", |s| {
              mounting(|| {
                  let folder = path(&s.project)?;
                  call("chroot", libc::SYS_chroot, &[Arg::text(&folder)]).map(drop)
              })
          }; twin "changes its working directory", |_| {
              std::env::set_current_dir("/")?;
              Ok("changed".to_owned())
          }; ALL, SECCOMP),
];

fn namespace(name: &str) -> Result<String, Refused> {
    Ok(fs::read_link(format!("/proc/self/ns/{name}"))?
        .display()
        .to_string())
}

/// Whether `act` has put this process into another namespace.
fn changed(name: &str, act: impl FnOnce() -> Result<(), Refused>) -> Attempt {
    let before = namespace(name)?;
    act()?;
    let after = namespace(name)?;
    if before == after {
        return refused(format!("still in {before}"));
    }
    Ok(format!("in {after}"))
}

fn start_process(_: &Scene) -> Attempt {
    Ok(std::process::Command::new("/bin/true").status()?.to_string())
}

fn start_thread(_: &Scene) -> Attempt {
    std::thread::spawn(|| "a thread".to_owned())
        .join()
        .map_err(|_| Refused::By("the thread panicked".to_owned()))
}

/// A process by `clone`, which ends at once: like fork, without a stack of its own.
fn clone(flags: i32) -> Attempt {
    started(
        "clone",
        libc::SYS_clone,
        &[
            (flags | libc::SIGCHLD).into(),
            0.into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    )
}

fn clone3(flags: i32) -> Attempt {
    // `struct clone_args`: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let arguments = [flags as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    started(
        "clone3",
        libc::SYS_clone3,
        &[Arg::read(&arguments), size_of_val(&arguments).into()],
    )
}

fn started(what: &str, number: libc::c_long, arguments: &[Arg<'_>]) -> Attempt {
    let child = call(what, number, arguments)?;
    if child == 0 {
        // The child has nothing to do, and must not run its parent's code.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
    }
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child as i32), None).ok();
    Ok(format!("process {child}"))
}

fn enter_by_pidfd(scene: &Scene) -> Attempt {
    let process = open_by(
        "pidfd_open",
        libc::SYS_pidfd_open,
        &[scene.outside.pid.into(), 0.into()],
    )?;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    // Without a namespace of its own it changes nothing, but has asked for what only a privileged process may have.
    mounting_here(|| call("setns", libc::SYS_setns, &[Arg::fd(&process), flags.into()]).map(drop))
}

fn enter_by_file(scene: &Scene) -> Attempt {
    let file = fs::File::open(format!("/proc/{}/ns/mnt", scene.outside.pid))?;
    mounting_here(|| {
        call(
            "setns",
            libc::SYS_setns,
            &[Arg::fd(&file), libc::CLONE_NEWNS.into()],
        )
        .map(drop)
    })
}

fn namespace_names(_: &Scene) -> Attempt {
    namespace("mnt")
}

/// Does something with mounts in a child that has made every namespace it could.
fn mounting(act: impl FnOnce() -> Result<(), Refused>) -> Attempt {
    in_child(|| {
        private_world();
        act()?;
        Ok("done".to_owned())
    })
    .unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

fn mounting_here(act: impl FnOnce() -> Result<(), Refused>) -> Attempt {
    in_child(|| {
        act()?;
        Ok("done".to_owned())
    })
    .unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

/// A mount namespace; for an ordinary user with the user namespace that it takes.
fn new_mounts() -> i32 {
    let user = if nix::unistd::geteuid().is_root() {
        0
    } else {
        libc::CLONE_NEWUSER
    };
    user | libc::CLONE_NEWNS
}

/// Makes mounts private to this process, so that an attack that succeeds changes nothing for others.
fn private_world() {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // What is refused here is refused to the attack as well, or the attack does not need it.
    let _ = call("unshare", libc::SYS_unshare, &[new_mounts().into()]);
    let _ = fs::write("/proc/self/setgroups", "deny");
    let _ = fs::write("/proc/self/uid_map", format!("{user} {user} 1"));
    let _ = fs::write("/proc/self/gid_map", format!("{group} {group} 1"));
    let _ = mount("none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE);
}

fn mount(source: &str, target: &Path, kind: Option<&str>, flags: u64) -> Result<(), Refused> {
    if !target.exists() {
        fs::create_dir(target)?;
    }
    let (source, target) = (word(source)?, path(target)?);
    let kind = kind.map(word).transpose()?;
    let kind = kind.as_ref().map_or(Arg::from(0), Arg::text);
    let arguments = [
        Arg::text(&source),
        Arg::text(&target),
        kind,
        flags.into(),
        0.into(),
    ];
    call("mount", libc::SYS_mount, &arguments)?;
    Ok(())
}

fn mount_table(_: &Scene) -> Attempt {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(format!("{} mounts", text.lines().count()))
}

fn bind_secret(scene: &Scene) -> Attempt {
    let target = writable(scene)?.join("m");
    let from = scene.home.join(".ssh");
    in_child(|| {
        private_world();
        mount(&from.to_string_lossy(), &target, None, libc::MS_BIND)?;
        loot(&fs::read(target.join("id_ed25519"))?)
    })
    .unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

fn link_within(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    std::os::unix::fs::symlink(".", folder.join("here"))?;
    Ok(format!("{:?}", fs::read_link(folder.join("here"))?))
}

/// Closed files and folders may be hidden by mounts: takes off whatever lies over them.
fn unmount_mask(scene: &Scene) -> Attempt {
    let places = [
        scene.project.join(".env"),
        scene.home.join(".ssh"),
        scene.secret.clone(),
        scene.home.clone(),
    ];
    let own = own_mask(scene)?;
    in_child(|| {
        private_world();
        if own {
            // Nothing is hidden: hides it first, so that there is something to take off.
            mount("none", &scene.home.join(".ssh"), Some("tmpfs"), 0)?;
        }
        let mut why = Refused::By("nothing was mounted there".to_owned());
        for place in &places {
            let place: CString = path(place)?;
            let arguments = [Arg::text(&place), libc::MNT_DETACH.into()];
            if let Err(error) = call("umount2", libc::SYS_umount2, &arguments) {
                why = error;
            }
        }
        loot(&fs::read(&scene.secret).map_err(|_| why)?)
    })
    .unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

/// Whether the secret can be read, so that no sandbox hides it.
fn own_mask(scene: &Scene) -> Result<bool, Refused> {
    Ok(fs::read(&scene.secret).is_ok_and(|bytes| !bytes.is_empty()))
}

/// `OPEN_TREE_CLONE | AT_RECURSIVE`: an ordinary user may not copy a part of what was mounted together.
const CLONE_ALL: u32 = 0x8001;

fn open_tree() -> Result<std::os::fd::OwnedFd, Refused> {
    tree(Path::new("/"))
}

fn tree(of: &Path) -> Result<std::os::fd::OwnedFd, Refused> {
    let name = path(of)?;
    let arguments = [libc::AT_FDCWD.into(), Arg::text(&name), CLONE_ALL.into()];
    open_by("open_tree", libc::SYS_open_tree, &arguments)
}

fn move_copy(scene: &Scene) -> Attempt {
    let target = writable(scene)?.join("m");
    fs::create_dir_all(&target)?;
    in_child(|| {
        private_world();
        let (copy, empty, to) = (tree(&scene.home.join(".ssh"))?, word("")?, path(&target)?);
        // MOVE_MOUNT_F_EMPTY_PATH.
        let arguments = [
            Arg::fd(&copy),
            Arg::text(&empty),
            libc::AT_FDCWD.into(),
            Arg::text(&to),
            4.into(),
        ];
        call("move_mount", libc::SYS_move_mount, &arguments)?;
        loot(&fs::read(target.join("id_ed25519"))?)
    })
    .unwrap_or_else(|signal| refused(format!("ended by {signal}")))
}

fn rename_own(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    fs::create_dir(folder.join("twin"))?;
    fs::rename(folder.join("twin"), folder.join("twin-renamed"))?;
    Ok("renamed".to_owned())
}

fn new_file_system() -> Result<(), Refused> {
    let kind = word("tmpfs")?;
    let context = open_by("fsopen", libc::SYS_fsopen, &[Arg::text(&kind), 1.into()])?;
    // FSCONFIG_CMD_CREATE.
    let arguments = [Arg::fd(&context), 6.into(), 0.into(), 0.into(), 0.into()];
    call("fsconfig", libc::SYS_fsconfig, &arguments)?;
    open_by(
        "fsmount",
        libc::SYS_fsmount,
        &[Arg::fd(&context), 1.into(), 0.into()],
    )?;
    Ok(())
}

fn pivot(scene: &Scene) -> Attempt {
    let root = writable(scene)?.join("root");
    mounting(|| {
        mount("tmpfs", &root, Some("tmpfs"), 0)?;
        fs::create_dir(root.join("old"))?;
        let (new, old) = (path(&root)?, path(&root.join("old"))?);
        match call(
            "pivot_root",
            libc::SYS_pivot_root,
            &[Arg::text(&new), Arg::text(&old)],
        ) {
            // The kernel never pivots away from its first root file system.
            Err(Refused::By(why)) if why.ends_with("(os error 22)") => absent(why),
            other => other.map(drop),
        }
    })
}
