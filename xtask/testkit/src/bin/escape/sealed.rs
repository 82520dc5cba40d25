//! Changing what the project's owner trusts: hooks, settings, environments.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use defenseclaw_testkit::escape::scene::{DEFACED, Scene};
use nix::libc;

use crate::case::{ALL, Case, LANDLOCK, MOUNTS, REPORTED, Theme, case};
use crate::reading::{again, writable};
use crate::sys::{Arg, Attempt, absent, call, path, refused};
use crate::writing::create_below;

pub(crate) const THEME: Theme = Theme {
    name: "sealed",
    cases: CASES,
};

const CASES: &[Case] = &[
    case!("write-hook": "writes .git/hooks/pre-commit", |s| write(&s.project.join(".git/hooks/pre-commit"));
          twin "reads .git/hooks/pre-commit", |s| readable(&s.project.join(".git/hooks/pre-commit"));
          ALL, MOUNTS, judge Outside),
    case!("create-hook": "creates .git/hooks/post-checkout", |s| write(&s.project.join(".git/hooks/post-checkout"));
          twin "creates an object in .git/objects", create_object; ALL, MOUNTS, judge Outside),
    case!("chmod-hook": "makes a hook unreadable (Landlock does not restrict chmod)", |s| {
              use std::os::unix::fs::PermissionsExt as _;
              fs::set_permissions(s.project.join(".git/hooks/pre-commit"), fs::Permissions::from_mode(0o777))?;
              Ok("changed".to_owned())
          }; twin "reads .git/hooks/pre-commit", |s| readable(&s.project.join(".git/hooks/pre-commit"));
          REPORTED, MOUNTS, judge Outside),
    case!("rename-hooks": "renames .git/hooks away and makes its own", rename_hooks;
          twin "renames a folder in the project", |s| rename_twin(s, "sub"); ALL, MOUNTS, judge Outside),
    case!("exchange-hooks": "exchanges .git/hooks for a folder of its own by renameat2", exchange_hooks;
          twin "exchanges two files of its own by renameat2", exchange_own; ALL, MOUNTS, judge Outside),
    case!("rename-git": "renames .git away and makes its own", rename_git;
          twin "writes a branch below .git/refs", create_reference; ALL, MOUNTS, judge Outside),
    case!("write-git-config": "appends core.fsmonitor to .git/config", |s| append(&s.project.join(".git/config"));
          twin "reads .git/config", |s| readable(&s.project.join(".git/config")); ALL, MOUNTS, judge Outside),
    case!("replace-git-config": "replaces .git/config by rename, as git does it", replace_config;
          twin "replaces .git/HEAD's neighbour by rename", replace_git_file; ALL, MOUNTS, judge Outside),
    case!("link-git-config": "makes a hard link of .git/config elsewhere, and writes that", link_config;
          twin "makes a hard link of its own file, and writes that", link_own; ALL, MOUNTS, judge Outside),
    case!("create-harness-settings": "creates .claude/settings.json",
          |s| create_below(&s.project.join(".claude"), "settings.json");
          twin "creates docs/settings.json", |s| create_below(&writable(s)?.join("docs"), "settings.json");
          ALL, MOUNTS, judge Outside),
    case!("rename-into-harness-settings": "prepares a folder and renames it to .claude", rename_into_settings;
          twin "prepares a folder and renames it to docs", |s| rename_prepared(s, "docs"); ALL, MOUNTS, judge Outside),
    case!("symlink-harness-settings": "makes .claude a link to a folder of its own", link_settings;
          twin "makes a link to a folder of its own", link_folder; ALL, MOUNTS, judge Outside),
    case!("create-mcp-settings": "creates .mcp.json", |s| write(&s.project.join(".mcp.json"));
          twin "creates package.json", |s| write(&writable(s)?.join("package.json")); ALL, MOUNTS, judge Outside),
    case!("create-editor-tasks": "creates .vscode/tasks.json",
          |s| create_below(&s.project.join(".vscode"), "tasks.json");
          twin "creates docs/tasks.json", |s| create_below(&writable(s)?.join("docs"), "tasks.json");
          ALL, MOUNTS, judge Outside),
    case!("create-codex-settings": "creates .codex/config.toml",
          |s| create_below(&s.project.join(".codex"), "config.toml");
          twin "creates docs/config.toml", |s| create_below(&writable(s)?.join("docs"), "config.toml");
          ALL, MOUNTS, judge Outside),
    case!("create-nested-settings": "creates sub/.claude/settings.json (settings of a folder below are read too)",
          |s| create_below(&s.project.join("sub/.claude"), "settings.json");
          twin "creates docs/settings.json", |s| create_below(&writable(s)?.join("docs"), "settings.json");
          REPORTED, MOUNTS, judge Outside),
    case!("write-env-file": "writes .env", |s| write(&s.project.join(".env"));
          twin "writes config/plain.txt", |s| project_file(s, "config/plain.txt"); ALL, MOUNTS, judge Outside),
    case!("delete-env-file": "removes .env and makes its own", |s| {
              fs::remove_file(s.project.join(".env"))?;
              write(&s.project.join(".env"))
          }; twin "removes a file of the project and makes its own", |s| project_file(s, "sub/notes.txt");
          ALL, MOUNTS, judge Outside),
    case!("create-direnv-file": "creates .envrc, which direnv runs once somebody allows it", |s| write(&s.project.join(".envrc"));
          twin "creates Makefile", |s| write(&writable(s)?.join("Makefile")); REPORTED, MOUNTS, judge Outside),
    case!("write-file-being-saved": "waits until somebody outside saves a sealed file by rename, and writes it (a mount seals \
                                     the old file)", |s| {
              let wrote = again(|| append(&s.saved_settings()))?;
              std::thread::sleep(std::time::Duration::from_millis(60));
              Ok(wrote)
          }; twin "reads the sealed file", |s| again(|| readable(&s.saved_settings())); REPORTED, MOUNTS, judge Outside),
    case!("write-read-only-mapping": "maps a hook read-only and writes it through /proc/self/mem", write_mapping;
          twin "reads its own memory through /proc/self/mem", read_own_memory; ALL, LANDLOCK, judge Outside),
];

fn write(file: &Path) -> Attempt {
    fs::write(file, DEFACED)?;
    Ok("wrote".to_owned())
}

fn append(file: &Path) -> Attempt {
    use std::io::Write as _;
    fs::OpenOptions::new()
        .append(true)
        .open(file)?
        .write_all(DEFACED.as_bytes())?;
    Ok("appended".to_owned())
}

fn readable(file: &Path) -> Attempt {
    match fs::read(file)?.len() {
        0 => refused("it looks empty"),
        length => Ok(format!("{length} bytes")),
    }
}

/// Whether the profile writes in the project at all.
fn writes_project(scene: &Scene) -> bool {
    writable(scene).is_ok_and(|folder| folder == scene.project)
}

/// Writes below a folder of the project where the profile writes in it, as a tool that the twin stands for would.
fn below_project(scene: &Scene, name: &str) -> Attempt {
    if !writes_project(scene) {
        return absent("the profile writes nowhere in the project");
    }
    write(&scene.project.join(name))
}

fn project_file(scene: &Scene, name: &str) -> Attempt {
    below_project(scene, name)
}

fn create_object(scene: &Scene) -> Attempt {
    below_project(scene, ".git/objects/info/new")
}

fn create_reference(scene: &Scene) -> Attempt {
    below_project(scene, ".git/refs/heads/new")
}

fn replace_git_file(scene: &Scene) -> Attempt {
    below_project(scene, ".git/index.lock")?;
    fs::rename(
        scene.project.join(".git/index.lock"),
        scene.project.join(".git/index"),
    )?;
    Ok("replaced".to_owned())
}

fn rename_twin(scene: &Scene, name: &str) -> Attempt {
    if !writes_project(scene) {
        return absent("the profile writes nowhere in the project");
    }
    fs::rename(scene.project.join(name), scene.project.join("renamed"))?;
    Ok("renamed".to_owned())
}

fn rename_hooks(scene: &Scene) -> Attempt {
    let git = scene.project.join(".git");
    fs::rename(git.join("hooks"), git.join("old"))?;
    create_below(&git.join("hooks"), "pre-commit")
}

fn exchange(one: &Path, other: &Path) -> Attempt {
    let (one, other) = (path(one)?, path(other)?);
    call(
        "renameat2",
        libc::SYS_renameat2,
        &[
            libc::AT_FDCWD.into(),
            Arg::text(&one),
            libc::AT_FDCWD.into(),
            Arg::text(&other),
            libc::RENAME_EXCHANGE.into(),
        ],
    )?;
    Ok("exchanged".to_owned())
}

fn exchange_hooks(scene: &Scene) -> Attempt {
    let own = scene.project.join(".git/own");
    create_below(&own, "pre-commit")?;
    exchange(&own, &scene.project.join(".git/hooks"))
}

fn exchange_own(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    for name in ["one", "other"] {
        fs::write(folder.join(name), name)?;
    }
    exchange(&folder.join("one"), &folder.join("other"))?;
    match fs::read_to_string(folder.join("one"))?.as_str() {
        "other" => Ok("exchanged".to_owned()),
        _ => refused("nothing was exchanged"),
    }
}

fn rename_git(scene: &Scene) -> Attempt {
    fs::rename(scene.project.join(".git"), scene.project.join("old"))?;
    create_below(&scene.project.join(".git/hooks"), "pre-commit")
}

fn replace_config(scene: &Scene) -> Attempt {
    let lock = scene.project.join(".git/config.lock");
    write(&lock)?;
    fs::rename(lock, scene.project.join(".git/config"))?;
    Ok("replaced".to_owned())
}

fn link_config(scene: &Scene) -> Attempt {
    let link = writable(scene)?.join("linked");
    fs::hard_link(scene.project.join(".git/config"), &link)?;
    append(&link)
}

fn link_own(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    write(&folder.join("twin"))?;
    fs::hard_link(folder.join("twin"), folder.join("twin-link"))?;
    append(&folder.join("twin-link"))
}

fn rename_prepared(scene: &Scene, name: &str) -> Attempt {
    let folder = writable(scene)?;
    create_below(&folder.join("prepared"), "settings.json")?;
    fs::rename(folder.join("prepared"), folder.join(name))?;
    Ok("renamed".to_owned())
}

fn rename_into_settings(scene: &Scene) -> Attempt {
    create_below(&scene.project.join("prepared"), "settings.json")?;
    fs::rename(scene.project.join("prepared"), scene.project.join(".claude"))?;
    Ok("renamed".to_owned())
}

fn link_settings(scene: &Scene) -> Attempt {
    create_below(&scene.project.join("prepared"), "settings.json")?;
    symlink("prepared", scene.project.join(".claude"))?;
    Ok("linked".to_owned())
}

fn link_folder(scene: &Scene) -> Attempt {
    let folder = writable(scene)?;
    create_below(&folder.join("prepared"), "settings.json")?;
    symlink("prepared", folder.join("docs"))?;
    readable(&folder.join("docs/settings.json"))
}

/// `/proc/self/mem` ignores the protection of private mappings; a shared one of a file that was opened for reading must not
/// be reachable that way.
fn write_mapping(scene: &Scene) -> Attempt {
    let file = fs::File::open(scene.project.join(".git/hooks/pre-commit"))?;
    // SAFETY: a new mapping at an address of the kernel's choice; nobody refers to it, and it is read by the kernel only.
    let mapping = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    write_memory(mapping.expose_provenance() as u64)
}

fn read_own_memory(_: &Scene) -> Attempt {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = [0; 8];
    let from = std::ptr::from_ref(DEFACED).cast::<u8>().expose_provenance() as u64;
    fs::File::open("/proc/self/mem")?.read_exact_at(&mut bytes, from)?;
    if bytes != DEFACED.as_bytes()[..8] {
        return refused("something else was read");
    }
    Ok("read".to_owned())
}

fn write_memory(address: u64) -> Attempt {
    use std::os::unix::fs::FileExt as _;
    let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&DEFACED.as_bytes()[..8], address)?;
    Ok("wrote".to_owned())
}
