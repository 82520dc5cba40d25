use std::os::unix::fs::symlink;

use super::*;
use crate::profile::Profiles;

/// A home with a project in it, both canonical.
struct Host {
    _folder: tempfile::TempDir,
    home: PathBuf,
    project: PathBuf,
}

impl Host {
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(folder.path()).expect("there");
        let project = home.join("project");
        fs::create_dir_all(project.join(".git/objects")).expect("made");
        for file in files {
            let path = home.join(file);
            if file.ends_with('/') {
                fs::create_dir_all(&path).expect("made");
            } else {
                fs::create_dir_all(path.parent().expect("below home")).expect("made");
                fs::write(&path, "x").expect("written");
            }
        }
        Self {
            _folder: folder,
            home,
            project,
        }
    }

    fn setting(&self) -> Setting {
        Setting {
            project: self.project.clone(),
            home: Some(self.home.clone()),
            gateway: None,
        }
    }

    fn plan(&self, profile: &str) -> Plan {
        let mut profile = Profiles::embedded().get(profile).expect("a profile");
        // This home lies in a temporary folder, which would be granted as a whole, or hidden.
        profile.files.write.retain(|path| path != "{tmp}");
        profile.tmp = Tmp::Shared;
        Plan::new(&profile, &self.setting()).expect("a plan")
    }

    fn under_home(&self, paths: &[PathBuf]) -> Vec<String> {
        paths
            .iter()
            .filter_map(|path| path.strip_prefix(&self.home).ok())
            .map(|path| path.display().to_string())
            .collect()
    }
}

#[test]
fn secrets_are_closed_wherever_a_grant_reaches_them() {
    let host = Host::new(&[
        ".ssh/id_rsa",
        ".npmrc",
        "project/.env",
        "project/.env.example",
        "project/a/b/.env.local",
        "project/node_modules/x/.env",
        "project/src/main.rs",
    ]);
    let closed = host.under_home(&host.plan("workspace").closed);
    assert_eq!(
        closed,
        [".npmrc", ".ssh", "project/.env", "project/a/b/.env.local"]
    );
    // Home is not granted there, so nothing in it needs to be closed.
    let closed = host.under_home(&host.plan("strict").closed);
    assert_eq!(closed, ["project/.env", "project/a/b/.env.local"]);
}

#[test]
fn a_link_to_a_secret_closes_the_secret() {
    let host = Host::new(&["vault/prod"]);
    symlink(host.home.join("vault/prod"), host.project.join(".env")).expect("linked");
    assert_eq!(host.under_home(&host.plan("workspace").closed), ["vault/prod"]);
}

#[test]
fn a_link_makes_nothing_vanish_that_supervises() {
    use std::os::unix::fs::PermissionsExt as _;
    let host = Host::new(&[
        ".claude/settings.json",
        "bin/hook",
        "folder/file",
        "project/.claude/settings.json",
    ]);
    let program = host.home.join("bin/hook");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    for (number, target) in [
        host.project.clone(),
        host.home.clone(),
        host.home.join("folder"),
        host.home.join(".claude/settings.json"),
        host.project.join(".claude"),
        host.project.join(".claude/settings.json"),
        program,
        "/etc/hostname".into(),
        "/usr".into(),
    ]
    .into_iter()
    .enumerate()
    {
        symlink(target, host.project.join(format!(".env.{number}"))).expect("linked");
    }
    let closed = host.plan("agent").closed;
    assert!(
        closed
            .iter()
            .all(|path| !path.starts_with(&host.home) && !path.starts_with("/usr")),
        "{closed:?}"
    );
    assert!(!closed.contains(&"/etc/hostname".into()), "{closed:?}");
}

#[test]
fn what_runs_code_outside_is_sealed_with_the_folders_above_it() {
    let host = Host::new(&[
        "project/.git/hooks/",
        "project/.git/config",
        "project/.claude/settings.json",
        "project/.github/workflows/ci.yaml",
    ]);
    let plan = host.plan("workspace");
    assert_eq!(
        host.under_home(&plan.sealed),
        [
            "project/.claude",
            "project/.git/config",
            "project/.git/hooks",
            "project/.github/workflows"
        ]
    );
    assert_eq!(host.under_home(&plan.pinned), ["project/.git", "project/.github"]);
    assert!(
        host.plan("read-only").sealed.is_empty(),
        "nothing of it can be written"
    );
}

#[test]
fn settings_that_are_missing_are_reserved_only_for_those_who_use_them() {
    let host = Host::new(&[".codex/"]);
    let reserved = host.under_home(&host.plan("workspace").reserved);
    assert!(reserved.contains(&"project/.codex".to_owned()), "{reserved:?}");
    assert!(
        reserved.contains(&"project/.git/hooks".to_owned()),
        "{reserved:?}"
    );
    assert!(!reserved.contains(&"project/.cursor".to_owned()), "{reserved:?}");
}

#[test]
fn a_project_that_would_grant_everything_is_refused() {
    let host = Host::new(&[]);
    let profile = Profiles::embedded().get("workspace").expect("a profile");
    for (project, part) in [
        (host.home.clone(), "home folder"),
        (PathBuf::from("/"), "home folder"),
        (PathBuf::from("/usr"), "system's"),
        (PathBuf::from("/etc/ssl"), "system's"),
        (host.home.join("missing"), "No such file"),
        (host.home.join("project/.git/HEAD"), "No such file"),
    ] {
        let setting = Setting {
            project: project.clone(),
            ..host.setting()
        };
        let error = Plan::new(&profile, &setting).expect_err("refused").to_string();
        assert!(error.contains(part), "{}: {error}", project.display());
    }
}

#[test]
fn an_abstract_profile_is_refused() {
    let base = Profiles::embedded().get("base").expect("base");
    let error = Plan::new(&base, &Host::new(&[]).setting()).expect_err("refused");
    assert!(error.to_string().contains("only serves to be extended"));
}

#[test]
fn a_worktree_s_repository_is_granted_only_if_it_knows_the_worktree() {
    let host = Host::new(&[
        "main/.git/HEAD",
        "main/.git/config",
        "main/.git/objects/",
        "main/.git/worktrees/w/HEAD",
        ".ssh/id_rsa",
    ]);
    fs::remove_dir_all(host.project.join(".git")).expect("removed");
    let own = host.home.join("main/.git/worktrees/w");
    fs::write(host.project.join(".git"), format!("gitdir: {}\n", own.display())).expect("written");
    fs::write(own.join("commondir"), "../..\n").expect("written");
    let common = "main/.git".to_owned();
    assert!(
        !host.under_home(&host.plan("workspace").write).contains(&common),
        "no word of it"
    );
    let back = host.project.join(".git");
    fs::write(own.join("gitdir"), format!("{}\n", back.display())).expect("written");
    let plan = host.plan("workspace");
    assert!(host.under_home(&plan.write).contains(&common));
    assert!(
        host.under_home(&plan.sealed)
            .contains(&"main/.git/config".to_owned())
    );
    // What the worktree's own file says is nobody else's word.
    fs::write(&back, format!("gitdir: {}\n", host.home.join(".ssh").display())).expect("written");
    let written = host.under_home(&host.plan("workspace").write);
    assert!(!written.iter().any(|path| path.contains("ssh")), "{written:?}");
}

#[test]
fn the_project_is_the_repository_around_a_folder_but_never_home() {
    let host = Host::new(&["project/src/deep/", "loose/"]);
    let home = Some(host.home.as_path());
    assert_eq!(project_of(&host.project.join("src/deep"), home), host.project);
    let loose = host.home.join("loose");
    fs::create_dir(host.home.join(".git")).expect("made");
    assert_eq!(project_of(&loose, home), loose);
}

#[test]
fn secrets_leave_the_environment() {
    let given = |names: &[&str]| -> Vec<(OsString, OsString)> {
        names.iter().map(|name| (name.into(), "x".into())).collect()
    };
    let left = |profile: &str, names: &[&str]| -> Vec<String> {
        let profile = Profiles::embedded().get(profile).expect("a profile");
        environment(&profile, given(names))
            .into_iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    };
    let names = [
        "PATH",
        "GITHUB_TOKEN",
        "AWS_PROFILE",
        "LD_PRELOAD",
        "CARGO_HOME",
        "MY_PASSWORD",
        "LC_ALL",
    ];
    assert_eq!(left("workspace", &names), ["PATH", "CARGO_HOME", "LC_ALL"]);
    assert_eq!(left("strict", &names), ["PATH", "LC_ALL"]);
}

#[test]
fn a_private_temporary_folder_is_the_one_that_programs_look_in() {
    let folder = |profile: &str| {
        let profile = Profiles::embedded().get(profile).expect("a profile");
        let given = [("TMPDIR".into(), "/home/x/tmp".into())];
        environment(&profile, given).pop().expect("TMPDIR").1
    };
    assert_eq!(folder("read-only"), "/tmp");
    assert_eq!(folder("strict"), "/tmp");
    assert_eq!(folder("workspace"), "/home/x/tmp");
}

#[test]
fn what_comes_later_is_closed_by_its_name_or_its_place() {
    let host = Host::new(&[".config/"]);
    let plan = host.plan("workspace");
    let closes = |path: &str| plan.closes(&host.home.join(path));
    for path in [
        ".netrc",
        ".config/gh",
        "project/.env",
        "project/a/b/.env.local",
        "project/key.pem",
    ] {
        assert!(closes(path), "{path}");
    }
    for path in [
        ".env",
        "project/.env.example",
        "project/node_modules/x/.env",
        "project/a/b/c/d/.env",
        "project/src/main.rs",
        "projects/.env",
    ] {
        assert!(!closes(path), "{path}");
    }
    assert!(
        !host.plan("strict").closes(&host.home.join(".netrc")),
        "home is not granted"
    );
}

#[test]
fn a_whole_agent_keeps_its_credentials_and_cannot_change_its_settings() {
    let host = Host::new(&[
        ".claude/.credentials.json",
        ".claude/settings.json",
        ".codex/auth.json",
        ".ssh/id_rsa",
    ]);
    assert_eq!(
        host.under_home(&host.plan("workspace").closed),
        [".claude/.credentials.json", ".codex/auth.json", ".ssh"]
    );
    let plan = host.plan("agent");
    assert_eq!(host.under_home(&plan.closed), [".ssh"]);
    assert!(host.under_home(&plan.write).contains(&".claude".to_owned()));
    assert!(
        host.under_home(&plan.sealed)
            .contains(&".claude/settings.json".to_owned())
    );
    let profile = Profiles::embedded().get("agent").expect("agent");
    let given = ["OPENAI_API_KEY", "GITHUB_TOKEN"].map(|name| (name.into(), "x".into()));
    let names: Vec<_> = environment(&profile, given)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["OPENAI_API_KEY"]);
}

#[test]
fn the_gateway_s_socket_stays_only_where_it_is_meant_to() {
    let host = Host::new(&[]);
    let profile = Profiles::embedded().get("mcp").expect("a profile");
    for gateway in [Some(PathBuf::from("/srv/dc/gateway.sock")), None] {
        let setting = Setting {
            gateway: gateway.clone(),
            ..host.setting()
        };
        let plan = Plan::new(&profile, &setting).expect("a plan");
        for socket in ["/run/defenseclaw/gateway.sock", "/srv/dc/gateway.sock"] {
            assert_eq!(
                plan.keeps_socket(Path::new(socket)),
                gateway.is_some(),
                "{socket}"
            );
        }
    }
}

#[test]
fn a_link_is_followed_however_its_name_ends() {
    let host = Host::new(&["vault/keys/a", "project/real/file"]);
    symlink(host.home.join("vault/keys"), host.home.join(".secrets")).expect("linked");
    symlink(host.home.join("vault"), host.project.join("link")).expect("linked");
    for path in [
        host.home.join(".secrets"),
        host.project.join("link"),
        host.project.join("link/keys"),
        host.project.join("real"),
    ] {
        for end in ["", "/", "/.", "//", "/./."] {
            let mut written = path.clone().into_os_string();
            written.push(end);
            let found = resolved(written.as_ref(), &mut None);
            let real = fs::canonicalize(&path).expect("there");
            assert_eq!(
                found.map(|found| found.into_os_string()),
                Some(real.into_os_string()),
                "{}",
                written.display()
            );
        }
    }
}
