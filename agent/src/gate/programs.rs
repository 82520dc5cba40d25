//! The programs of harnesses. One that is about to run waits until the project that it is started in is governed: it reads the
//! project's skills before its first hook could name the project.

use std::path::{Path, PathBuf};

/// Names of harnesses' programs.
const NAMES: [&str; 14] = [
    "claude",
    "codex",
    "cursor-agent",
    "gemini",
    "copilot",
    "windsurf",
    "openclaw",
    "opencode",
    "hermes",
    "openhands",
    "antigravity",
    "agy",
    "clawdbot",
    "goose",
];
/// Where the host has programs.
const HOST: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/snap/bin"];
/// Where people have programs of their own, below their homes.
const PERSONAL: [&str; 9] = [
    ".local/bin",
    "bin",
    ".npm-global/bin",
    ".npm/bin",
    ".bun/bin",
    ".volta/bin",
    ".claude/local",
    ".cargo/bin",
    ".opencode/bin",
];
/// Version managers keep one folder of programs for each version of Node.
const VERSIONS: [&str; 2] = [".nvm/versions/node", ".local/share/fnm/node-versions"];
/// Most versions that are looked at in one home.
const MAX_VERSIONS: usize = 32;
/// Programs that run others: whoever starts one of these starts no harness in particular.
const INTERPRETERS: [&str; 8] = ["node", "bun", "deno", "python", "python3", "sh", "bash", "ruby"];
/// Most projects that programs brought, the newest kept.
pub const MAX_PROJECTS: usize = 128;

/// The programs of harnesses that are there, links followed.
pub fn found(homes: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = HOST.iter().map(PathBuf::from).collect();
    for home in homes {
        folders.extend(PERSONAL.iter().map(|folder| home.join(folder)));
        for versions in VERSIONS {
            let listed = std::fs::read_dir(home.join(versions))
                .into_iter()
                .flatten()
                .flatten();
            for version in listed.take(MAX_VERSIONS) {
                folders.extend(["bin", "installation/bin"].map(|below| version.path().join(below)));
            }
        }
    }
    let mut programs: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .filter_map(|program| program.canonicalize().ok())
        .filter(|program| program.is_file() && !is_interpreter(program))
        .collect();
    programs.sort();
    programs.dedup();
    programs
}

/// Whether it runs any program that it is given.
pub fn is_interpreter(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&plain) || INTERPRETERS.contains(&&*name)
}

/// Whether a session's program is to be known from now on: whoever says that `cat` is a harness must not slow every `cat` down.
pub fn is_harness(program: &Path) -> bool {
    let named = |part: std::path::Component<'_>| NAMES.iter().any(|name| part.as_os_str() == *name);
    !is_interpreter(program) && program.components().any(named)
}

/// The folders whose project-level places a program reads that the thread starts: where it stands, and the repository above.
pub fn projects_of(thread: i32, homes: &[PathBuf]) -> Vec<PathBuf> {
    let folder = std::fs::read_link(format!("/proc/{thread}/cwd")).unwrap_or_default();
    projects(&folder, homes)
}

fn projects(folder: &Path, homes: &[PathBuf]) -> Vec<PathBuf> {
    let is_project = |path: &Path| path.parent().is_some() && !homes.iter().any(|home| home == path);
    if !folder.is_absolute() || !is_project(folder) {
        return Vec::new();
    }
    let repository = folder
        .ancestors()
        .take_while(|above| is_project(above))
        .find(|above| above.join(".git").symlink_metadata().is_ok());
    let mut projects = vec![folder.to_owned()];
    projects.extend(repository.filter(|above| *above != folder).map(Path::to_owned));
    projects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_through_links_and_interpreters_are_none() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        let real = root.join("share/claude/2.1");
        std::fs::create_dir_all(real.parent().unwrap()).unwrap();
        std::fs::create_dir_all(root.join(".local/bin")).unwrap();
        std::fs::create_dir_all(root.join(".nvm/versions/node/v22/bin")).unwrap();
        std::fs::write(&real, "").unwrap();
        std::fs::write(root.join("share/node22"), "").unwrap();
        std::fs::write(root.join(".nvm/versions/node/v22/bin/codex"), "").unwrap();
        std::os::unix::fs::symlink(&real, root.join(".local/bin/claude")).unwrap();
        std::os::unix::fs::symlink("../../share/node22", root.join(".local/bin/gemini")).unwrap();
        let mut found = found(std::slice::from_ref(&root));
        found.retain(|program| program.starts_with(&root));
        assert_eq!(found, [root.join(".nvm/versions/node/v22/bin/codex"), real]);
        assert!(is_harness(Path::new("/h/share/claude/2.1")) && !is_harness(Path::new("/bin/cat")));
        assert!(is_interpreter(Path::new("/usr/bin/python3.12")) && !is_interpreter(Path::new("/x/codex")));
    }

    #[test]
    fn a_program_reads_where_it_stands_and_the_repository_above_but_never_a_home() {
        let folder = tempfile::tempdir().unwrap();
        let (home, inner) = (folder.path().join("home"), folder.path().join("home/work/src"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir(home.join(".git")).unwrap();
        let homes = [home.clone()];
        assert_eq!(projects(&inner, &homes), std::slice::from_ref(&inner));
        std::fs::create_dir(home.join("work/.git")).unwrap();
        assert_eq!(projects(&inner, &homes), [inner, home.join("work")]);
        assert!(projects(&home, &homes).is_empty() && projects(Path::new("/"), &homes).is_empty());
        assert!(projects(Path::new("x (deleted)"), &homes).is_empty());
    }
}
