use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::edit::Format;
use super::*;

mod contracts;

/// A host in a folder: `/etc`, a home and a state folder of its own.
struct Host {
    _folder: TempDir,
    site: Site,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["etc", "home/ada", "state", "bin"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let client = root.join("bin/defenseclaw-hook");
        fs::write(&client, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = fs::metadata(&root).unwrap();
        let site = Site {
            user: User {
                uid: owner.uid(),
                gid: owner.gid(),
                home: root.join("home/ada"),
            },
            privileged: false,
            state: root.join("state"),
            client,
            fail_closed: true,
            sandboxed: false,
            variables: BTreeMap::new(),
            programs: vec![root.join("bin")],
            root,
        };
        Self {
            _folder: folder,
            site,
        }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.site.user.home.join(path)
    }

    fn write(&self, path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn setup(&self, connector: &str, scope: Scope) -> Result<Vec<Change>, InstallError> {
        setup(&self.site, spec(connector), scope, false, 1)
    }

    fn teardown(&self, connector: &str, scope: Scope) -> Result<Vec<Change>, InstallError> {
        teardown(&self.site, spec(connector), scope, false)
    }

    fn manifest(&self) -> Manifest {
        Store::new(&self.site.state).load().unwrap()
    }

    fn health(&self) -> Vec<Health> {
        let checked = check(&self.manifest().installed[0]);
        checked.into_iter().map(|(_, health)| health).collect()
    }
}

fn spec(connector: &str) -> &'static Spec {
    spec::named(connector).unwrap().unwrap()
}

fn kinds(changes: &[Change]) -> Vec<ChangeKind> {
    changes.iter().map(|change| change.kind).collect()
}

fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

fn scopes(spec: &Spec) -> Vec<Scope> {
    let all = [Scope::User, Scope::System];
    all.into_iter()
        .filter(|scope| spec.place(*scope).is_some())
        .collect()
}

#[test]
fn what_is_written_where() {
    for spec in spec::all().unwrap() {
        for scope in scopes(spec) {
            let host = Host::new();
            let changes = host.setup(&spec.connector, scope).unwrap();
            let mut shown = String::new();
            for (change, planned) in changes.iter().zip(host.site.plan(spec, scope).unwrap()) {
                let text = fs::read_to_string(&change.file).unwrap();
                // Plugins have tests of their own.
                let text = if planned.format == Format::Whole {
                    "(as in policies/harness/shims)\n"
                } else {
                    &text
                };
                shown += &format!("{}\n{text}", change.file.display());
            }
            let shown = shown.replace(host.site.root.to_str().unwrap(), "");
            insta::assert_snapshot!(format!("{}_{}", spec.connector, scope.as_str()), shown);
        }
    }
}

#[test]
fn a_file_that_was_not_there_goes_again_with_its_folders() {
    for spec in spec::all().unwrap() {
        for scope in scopes(spec) {
            let host = Host::new();
            let places = [host.site.root.join("etc"), host.site.user.home.clone()];
            let before: Vec<_> = places.iter().map(|place| tree(place)).collect();
            assert!(
                kinds(&host.setup(&spec.connector, scope).unwrap())
                    .iter()
                    .all(|kind| *kind == ChangeKind::Created)
            );
            assert!(
                host.health().iter().all(|health| *health == Health::Whole),
                "{}: {:?}",
                spec.connector,
                host.health()
            );
            let again = host.setup(&spec.connector, scope).unwrap();
            assert!(kinds(&again).iter().all(|kind| *kind == ChangeKind::Unchanged));
            assert!(
                kinds(&host.teardown(&spec.connector, scope).unwrap())
                    .iter()
                    .all(|kind| *kind == ChangeKind::Removed)
            );
            let after: Vec<_> = places.iter().map(|place| tree(place)).collect();
            assert_eq!(after, before, "{}", spec.connector);
            assert_eq!(host.manifest(), Manifest::default());
        }
    }
}

/// What people have in such a file, by its format.
fn usual(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Jsonc => "{\n   \"model\": \"x\",\n   \"hooks\": {},\n   \"list\": [ 1,2 ]\n}",
        Format::Json5 => "// mine\n{ a: 'b', }\n",
        Format::Toml => "# mine\nmodel = \"x\"\n\n[features]\nweb = true # yes\n",
        Format::Yaml => "# mine\nmodel: x\n\nterminal:\n  backend: local # why\n",
        Format::Whole => "theirs\n",
    }
}

#[test]
fn what_was_there_comes_back_byte_for_byte_with_mode_and_owner() {
    for spec in spec::all().unwrap() {
        for scope in scopes(spec) {
            let host = Host::new();
            let planned = host.site.plan(spec, scope).unwrap();
            for file in &planned {
                host.write(&file.path, usual(file.format));
                fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
            }
            let changes = host.setup(&spec.connector, scope).unwrap();
            assert!(
                kinds(&changes).iter().all(|kind| *kind == ChangeKind::Changed),
                "{changes:?}"
            );
            for (change, file) in changes.iter().zip(&planned) {
                let backup = change.backup.as_ref().unwrap();
                assert_eq!(fs::read_to_string(backup).unwrap(), usual(file.format));
                assert_eq!(
                    fs::metadata(backup).unwrap().mode() & 0o777,
                    0o600,
                    "it may hold keys"
                );
                assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o640);
            }
            let back = host.teardown(&spec.connector, scope).unwrap();
            assert!(
                kinds(&back).iter().all(|kind| *kind == ChangeKind::Restored),
                "{back:?}"
            );
            for file in &planned {
                assert_eq!(fs::read_to_string(&file.path).unwrap(), usual(file.format));
                assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o640);
            }
            assert_eq!(
                fs::read_dir(host.site.state.join("install/backups"))
                    .unwrap()
                    .count(),
                0
            );
        }
    }
}

#[test]
fn what_came_after_us_stays() {
    let host = Host::new();
    let file = host.home(".claude/settings.json");
    host.write(&file, "{\"a\": 1}\n");
    host.setup("claude-code", Scope::User).unwrap();
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("\"a\": 1", "\"a\": 1, \"mine\": true");
    fs::write(&file, text).unwrap();
    assert_eq!(
        kinds(&host.teardown("claude-code", Scope::User).unwrap()),
        [ChangeKind::Cleaned]
    );
    let now: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(now, json!({"a": 1, "mine": true}));
}

#[test]
fn changes_between_two_set_ups_stay_too() {
    let host = Host::new();
    let file = host.home(".claude/settings.json");
    host.write(&file, "{}\n");
    host.setup("claude-code", Scope::User).unwrap();
    fs::write(&file, "{\"mine\": true}\n").unwrap();
    assert_eq!(
        kinds(&host.setup("claude-code", Scope::User).unwrap()),
        [ChangeKind::Changed]
    );
    host.teardown("claude-code", Scope::User).unwrap();
    let now: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(now, json!({"mine": true}));
}

#[test]
fn a_new_client_replaces_the_old_one_and_the_way_back_stays() {
    let mut host = Host::new();
    let file = host.home(".claude/settings.json");
    host.write(&file, "{\"a\": 1}");
    host.setup("claude-code", Scope::User).unwrap();
    let old = host.site.client.clone();
    host.site.client = host.site.root.join("etc/defenseclaw-hook");
    fs::copy(&old, &host.site.client).unwrap();
    host.setup("claude-code", Scope::User).unwrap();
    assert!(!fs::read_to_string(&file).unwrap().contains(old.to_str().unwrap()));
    assert_eq!(
        kinds(&host.teardown("claude-code", Scope::User).unwrap()),
        [ChangeKind::Restored]
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"a\": 1}");
}

#[test]
fn a_lost_manifest_does_not_keep_our_entries_there() {
    let host = Host::new();
    let file = host.home(".codex/hooks.json");
    host.write(&file, "{\"description\": \"mine\"}");
    host.setup("codex", Scope::User).unwrap();
    fs::remove_dir_all(host.site.state.join("install")).unwrap();
    assert_eq!(
        kinds(&host.teardown("codex", Scope::User).unwrap()),
        [ChangeKind::Cleaned]
    );
    let now: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(now["description"], "mine");
    assert!(!now.to_string().contains(CLIENT));
    let error = host.teardown("codex", Scope::User).unwrap_err().to_string();
    assert!(error.contains("codex is not set up here (user)"), "{error}");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let host = Host::new();
    host.write(&host.home(".claude/settings.json"), "{}");
    let before = tree(&host.site.root);
    let changes = setup(&host.site, spec("claude-code"), Scope::User, true, 1).unwrap();
    assert_eq!(kinds(&changes), [ChangeKind::Changed]);
    assert!(changes[0].diff.contains("+") && changes[0].diff.contains("defenseclaw-hook claude-code"));
    assert_eq!(tree(&host.site.root), before);
    assert_eq!(
        fs::read_to_string(host.home(".claude/settings.json")).unwrap(),
        "{}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_left() {
    let host = Host::new();
    let file = host.home(".gemini/settings.json");
    for (text, word) in [
        (&b"{\n  \"a\": ,\n}"[..], "line 2"),
        (b"{\"hooks\": []}", "hooks"),
        (b"{\"a\": \"\xff\"}", "not UTF-8"),
    ] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        let error = host.setup("gemini-cli", Scope::User).unwrap_err().to_string();
        assert!(
            error.contains(".gemini/settings.json") && error.contains(word),
            "{error}"
        );
        assert_eq!(fs::read(&file).unwrap(), text);
        assert_eq!(host.manifest(), Manifest::default());
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(
        host.setup("gemini-cli", Scope::User),
        Err(InstallError::NotAFile { .. })
    ));
}

#[test]
fn a_link_stays_a_link() {
    let host = Host::new();
    let (real, link) = (
        host.home("dotfiles/claude.json"),
        host.home(".claude/settings.json"),
    );
    host.write(&real, "{}\n");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("../dotfiles/claude.json", &link).unwrap();
    let changes = host.setup("claude-code", Scope::User).unwrap();
    assert_eq!(changes[0].file, real);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains(CLIENT));
    host.teardown("claude-code", Scope::User).unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "{}\n");
    assert!(link.symlink_metadata().unwrap().is_symlink());
}

#[test]
fn links_lead_nobody_s_helper_out_of_the_home() {
    let mut host = Host::new();
    host.site.privileged = true;
    let prize = host.site.root.join("etc/prize.json");
    host.write(&prize, "{}");
    host.write(&host.home(".claude/x"), "");
    symlink(&prize, host.home(".claude/settings.json")).unwrap();
    let error = host.setup("claude-code", Scope::User).unwrap_err();
    assert!(matches!(error, InstallError::Outside { .. }), "{error}");
    symlink(host.site.root.join("etc"), host.home(".codex")).unwrap();
    let error = host.setup("codex", Scope::User).unwrap_err();
    assert!(matches!(error, InstallError::Outside { .. }), "{error}");
    assert_eq!(fs::read_to_string(&prize).unwrap(), "{}");
    symlink("loop", host.home(".cursor")).unwrap();
    symlink(".cursor", host.home("loop")).unwrap();
    assert!(host.setup("cursor", Scope::User).is_err());
    // On the host's own behalf it is the same: nothing outside of /etc.
    symlink(host.home(""), host.site.root.join("etc/cursor")).unwrap();
    let error = host.setup("cursor", Scope::System).unwrap_err();
    assert!(matches!(error, InstallError::Outside { .. }), "{error}");
}

#[test]
fn root_reaches_a_user_s_files_with_the_user_s_rights_only() {
    if !nix::unistd::geteuid().is_root() {
        // Without root there are no rights to give up; the test above holds for everyone.
        return;
    }
    let mut host = Host::new();
    let nobody = 65534;
    host.site.privileged = true;
    (host.site.user.uid, host.site.user.gid) = (nobody, nobody);
    for folder in [host.site.root.clone(), host.site.user.home.clone()] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(host.site.root.join("home"), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&host.site.user.home, Some(nobody), Some(nobody)).unwrap();
    let file = host.home(".claude/settings.json");
    host.setup("claude-code", Scope::User).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().uid(),
        nobody,
        "a file in a home is its user's"
    );
    assert_eq!(
        fs::metadata(Store::new(&host.site.state).file()).unwrap().uid(),
        0
    );
    host.teardown("claude-code", Scope::User).unwrap();
    assert!(!file.exists());
    // A folder that the user cannot write is not written for the user.
    fs::create_dir(host.home(".codex")).unwrap();
    fs::set_permissions(host.home(".codex"), fs::Permissions::from_mode(0o755)).unwrap();
    let error = host.setup("codex", Scope::User).unwrap_err().to_string();
    assert!(error.contains("Permission denied"), "{error}");
}

#[test]
fn a_manifest_that_others_can_write_is_not_believed() {
    let host = Host::new();
    host.setup("claude-code", Scope::User).unwrap();
    let file = Store::new(&host.site.state).file();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(
        host.setup("codex", Scope::User),
        Err(InstallError::Untrusted { .. })
    ));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, "{\"version\": 9, \"installed\": []}").unwrap();
    let error = host.setup("codex", Scope::User).unwrap_err().to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn a_variable_names_the_folder() {
    let mut host = Host::new();
    let elsewhere = host.home("elsewhere");
    host.site
        .variables
        .insert("CODEX_HOME".into(), elsewhere.clone().into());
    assert_eq!(
        host.setup("codex", Scope::User).unwrap()[0].file,
        elsewhere.join("hooks.json")
    );
    host.site
        .variables
        .insert("CODEX_HOME".into(), "not/absolute".into());
    let error = host.setup("codex", Scope::User).unwrap_err().to_string();
    assert!(error.contains("CODEX_HOME"), "{error}");
    // Once the folder is another, the old one is left behind clean.
    host.site.variables.clear();
    host.setup("codex", Scope::User).unwrap();
    assert!(!elsewhere.exists() && host.home(".codex/hooks.json").exists());
}

#[test]
fn a_place_that_a_harness_does_not_have_is_said() {
    let error = Host::new()
        .setup("hermes", Scope::System)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Hermes Agent has no place"), "{error}");
}

#[test]
fn a_client_that_cannot_be_named_safely_is_refused() {
    let mut host = Host::new();
    for bad in [
        "bin/defenseclaw-hook",
        "/opt/my programs/defenseclaw-hook",
        "/opt/$(x)/defenseclaw-hook",
        "/usr/bin/true",
    ] {
        host.site.client = bad.into();
        assert!(
            matches!(host.setup("codex", Scope::User), Err(InstallError::Client { .. })),
            "{bad}"
        );
    }
}

#[test]
fn the_other_shape_of_a_file_is_kept() {
    let host = Host::new();
    let file = host.home(".openhands/hooks.json");
    host.write(&file, "{\"hooks\": {\"PreToolUse\": []}}");
    host.setup("openhands", Scope::User).unwrap();
    let now: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(
        now["hooks"]["pre_tool_use"].is_array() && now.get("pre_tool_use").is_none(),
        "{now}"
    );
    assert_eq!(host.health()[0], Health::Whole);
    host.teardown("openhands", Scope::User).unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "{\"hooks\": {\"PreToolUse\": []}}"
    );
}

#[test]
fn tampering_is_noticed_and_repaired() {
    let host = Host::new();
    let file = host.home(".claude/settings.json");
    host.write(&file, "{\"a\": 1}");
    host.setup("claude-code", Scope::User).unwrap();
    let installed = host.manifest().installed.remove(0);
    let whole = fs::read_to_string(&file).unwrap();
    let now = || check(&installed).remove(0).1;

    fs::write(&file, "{\"a\": 2}").unwrap();
    assert_eq!(now(), Health::Missing("no hook of ours is left in it".into()));
    repair(&installed, false).unwrap();
    assert_eq!(now(), Health::Whole);
    assert!(
        fs::read_to_string(&file).unwrap().contains("\"a\": 2"),
        "what else was changed stays"
    );

    fs::write(&file, whole.replace("claude-code", "claude-cod")).unwrap();
    assert!(matches!(now(), Health::Missing(_)));
    fs::write(&file, whole.replacen("\"timeout\": 60", "\"timeout\": 0", 1)).unwrap();
    assert!(matches!(now(), Health::Altered(_)));
    repair(&installed, false).unwrap();
    assert_eq!(now(), Health::Whole);

    fs::write(&file, whole.replace("\"a\": 1", "\"disableAllHooks\": true")).unwrap();
    assert_eq!(
        now(),
        Health::Altered("disableAllHooks is true, which switches hooks off".into())
    );
    fs::write(&file, "{").unwrap();
    assert!(matches!(now(), Health::Missing(_)));
    assert!(
        repair(&installed, false).is_err(),
        "what cannot be read is not overwritten"
    );
    fs::remove_dir_all(host.home(".claude")).unwrap();
    assert_eq!(now(), Health::Missing("the file is gone".into()));
    repair(&installed, false).unwrap();
    assert_eq!(now(), Health::Whole);

    fs::remove_file(&host.site.client).unwrap();
    assert_eq!(
        check(&installed)[1].1,
        Health::Missing("the hook client is gone".into())
    );
}

#[test]
fn a_cut_off_set_up_can_be_done_again() {
    let host = Host::new();
    let file = host.home(".claude/settings.json");
    host.write(&file, "{\"a\": 1}");
    host.setup("claude-code", Scope::User).unwrap();
    // As after a crash between manifest and file.
    fs::write(&file, "{\"a\": 1}").unwrap();
    let store = Store::new(&host.site.state);
    let text = fs::read_to_string(store.file())
        .unwrap()
        .replace("\"stage\": \"installed\"", "\"stage\": \"arriving\"");
    fs::write(store.file(), text).unwrap();
    host.setup("claude-code", Scope::User).unwrap();
    assert_eq!(
        kinds(&host.teardown("claude-code", Scope::User).unwrap()),
        [ChangeKind::Restored]
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"a\": 1}");
}

#[test]
fn two_at_once_do_not_mix() {
    let host = Host::new();
    host.setup("claude-code", Scope::User).unwrap();
    let held = Store::new(&host.site.state).lock().unwrap();
    assert!(matches!(
        host.setup("codex", Scope::User),
        Err(InstallError::Busy { .. })
    ));
    drop(held);
    host.setup("codex", Scope::User).unwrap();
    assert_eq!(host.manifest().installed.len(), 2);
}

#[test]
fn harnesses_and_their_sessions_are_found() {
    let host = Host::new();
    assert!(!detect::detect(&host.site, spec("claude-code")).is_here());
    let program = host.site.root.join("bin/claude");
    fs::write(&program, "#!/bin/sh\necho '2.1.197 (Claude Code)'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let found = detect::detect(&host.site, spec("claude-code"));
    assert_eq!(found.version.as_deref(), Some("2.1.197 (Claude Code)"));
    assert_eq!(found.program, Some(program));

    let proc = host.site.root.join("proc");
    let process =
        |pid: &str, line: &str| host.write(&proc.join(pid).join("cmdline"), &line.replace(' ', "\0"));
    process("10", "/usr/bin/node /usr/lib/node_modules/bin/claude --resume");
    process("11", "bash -c /usr/bin/claude");
    process("12", "vim claude");
    process("self", "/usr/bin/claude");
    let running = detect::running(&proc, spec("claude-code"), None);
    assert_eq!(
        running.iter().map(|process| process.pid).collect::<Vec<_>>(),
        [10]
    );
    assert_eq!(
        detect::running(&proc, spec("claude-code"), Some(host.site.user.uid + 1)),
        []
    );
}

#[test]
fn a_setting_of_the_person_s_is_given_back() {
    let host = Host::new();
    let file = host.home(".openclaw/openclaw.json");
    host.write(
        &file,
        "// mine\n{\n  plugins: { allow: ['x'], entries: { defenseclaw: { enabled: false } } },\n}\n",
    );
    let before = fs::read_to_string(&file).unwrap();
    host.setup("openclaw", Scope::User).unwrap();
    let now = edit::read(&fs::read_to_string(&file).unwrap(), Format::Json5).unwrap();
    assert_eq!(
        now["plugins"],
        json!({"allow": ["x", "defenseclaw"], "entries": {"defenseclaw": {"enabled": true}}})
    );
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("// mine", "// still mine");
    fs::write(&file, text).unwrap();
    host.teardown("openclaw", Scope::User).unwrap();
    let after = edit::read(&fs::read_to_string(&file).unwrap(), Format::Json5).unwrap();
    assert_eq!(after, edit::read(&before, Format::Json5).unwrap());
    assert!(!host.home(".openclaw/extensions").exists());
}
