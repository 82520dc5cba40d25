//! `teardown --all` and `setup --detect` over the homes of a host in a folder, some of which mean ill.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use defenseclaw_harness::install::{self, Scope, Site, User, spec};
use defenseclaw_testkit::{Need, require};
use serde_json::Value;

use crate::common::Answer;

/// Of nobody on the host that runs the test.
const FIRST: u32 = 41_000;

struct Host {
    folder: tempfile::TempDir,
    tool: PathBuf,
    people: Vec<String>,
}

impl Host {
    /// A host whose folders everybody may pass, and the tool where everybody may start it.
    fn new() -> Option<Self> {
        if !require(&[Need::Root]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "etc", "home", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::set_permissions(folder.path().join("state"), Permissions::from_mode(0o750)).unwrap();
        let tool = folder.path().join("bin/defenseclaw-cli");
        let built = env!("CARGO_BIN_EXE_defenseclaw-cli");
        fs::hard_link(built, &tool)
            .or_else(|_| fs::copy(built, &tool).map(drop))
            .unwrap();
        for name in ["defenseclaw-hook", "defenseclaw-shell"] {
            fs::write(folder.path().join("bin").join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(
                folder.path().join("bin").join(name),
                Permissions::from_mode(0o755),
            )
            .unwrap();
        }
        fs::write(folder.path().join("etc/passwd"), "").unwrap();
        Some(Self {
            folder,
            tool,
            people: Vec::new(),
        })
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A person with a home that nobody else may look into; gives the user id.
    fn person(&mut self, name: &str) -> u32 {
        let uid = FIRST + self.people.len() as u32;
        self.people.push(name.to_owned());
        let mut passwd = fs::read_to_string(self.root().join("etc/passwd")).unwrap();
        passwd += &format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n");
        fs::write(self.root().join("etc/passwd"), passwd).unwrap();
        let home = self.home(name);
        for folder in [home.clone(), home.join(".claude")] {
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
            chown(&folder, Some(uid), Some(uid)).unwrap();
        }
        uid
    }

    fn home(&self, name: &str) -> PathBuf {
        self.root().join("home").join(name)
    }

    fn settings(&self, name: &str) -> PathBuf {
        self.home(name).join(".claude/settings.json")
    }

    fn write(&self, name: &str, uid: u32, text: &str) {
        fs::write(self.settings(name), text).unwrap();
        chown(self.settings(name), Some(uid), Some(uid)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.settings(name)).unwrap()
    }

    fn site(&self, name: &str, uid: u32) -> Site {
        Site {
            root: self.root().to_owned(),
            user: User {
                uid,
                gid: uid,
                home: self.home(name),
            },
            privileged: uid != 0,
            state: self.root().join("state"),
            client: self.root().join("bin/defenseclaw-hook"),
            fail_closed: false,
            sandboxed: false,
            variables: Default::default(),
            programs: Vec::new(),
        }
    }

    /// Claude Code's hooks, as root sets them up for a person.
    fn set_up(&self, name: &str, uid: u32, scope: Scope) {
        let spec = spec::named("claude-code").unwrap().unwrap();
        install::setup(&self.site(name, uid), spec, scope, false, 1).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("DEFENSECLAW_CONFIG", self.root().join("etc/config.yaml"))
            .env("DEFENSECLAW_STATE", self.root().join("state"))
            .env("DEFENSECLAW_SOCKET", self.root().join("none.sock"))
            .args(["--root", self.root().to_str().unwrap()]);
        fs::write(self.root().join("etc/config.yaml"), "").unwrap();
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap(), self.root())
    }

    /// The same as a person.
    fn run_as(&self, name: &str, uid: u32, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        command.env("HOME", self.home(name)).uid(uid).gid(uid);
        Answer::of(command.output().unwrap(), self.root())
    }
}

/// Settings as a person writes them: order, spaces and a last line without its end are theirs.
const OWN: &str = "{\n   \"model\" : \"x\",\t\"hooks\": { \"Stop\": [ { \"hooks\": [ { \"type\": \"command\", \"command\": \"mine\" } ] } ] } }";

#[test]
fn everybody_s_settings_are_byte_for_byte_what_they_were() {
    let Some(mut host) = Host::new() else { return };
    let (ada, bob, cyd) = (host.person("ada"), host.person("bob"), host.person("cyd"));
    for (name, uid) in [("ada", ada), ("bob", bob), ("cyd", cyd)] {
        host.write(name, uid, OWN);
    }
    // Root set up ada's and the host's; bob his own; cyd has none.
    host.set_up("ada", ada, Scope::User);
    host.set_up("ada", ada, Scope::System);
    let own = host.run_as("bob", bob, &["setup", "claude-code"]);
    assert_eq!(own.status, 0, "{}", own.whole());
    for name in ["ada", "bob"] {
        assert!(host.read(name).contains("defenseclaw-hook"), "{name}");
    }
    let dry = host.run(&["teardown", "--all", "--dry-run"]);
    assert_eq!(dry.status, 0, "{}", dry.whole());
    assert!(
        dry.out.contains("would restore /state/home/ada")
            && dry.out.contains("would restore /state/home/bob"),
        "{}",
        dry.whole()
    );
    assert!(
        host.read("ada").contains("defenseclaw-hook"),
        "nothing was changed"
    );

    let done = host.run(&["teardown", "--all"]);
    assert_eq!(done.status, 0, "{}", done.whole());
    for name in ["ada", "bob", "cyd"] {
        assert_eq!(host.read(name), OWN, "{name}");
    }
    for name in ["ada", "bob"] {
        assert!(
            done.out
                .contains(&format!("restored /state/home/{name}/.claude/settings.json")),
            "{}",
            done.whole()
        );
    }
    assert!(!done.whole().contains("cyd"), "{}", done.whole());
    assert!(
        !host
            .root()
            .join("etc/claude-code/managed-settings.d/50-defenseclaw.json")
            .exists()
    );
    assert!(
        !host.home("bob").join(".local/state/defenseclaw").exists(),
        "its own notes are gone, too"
    );
    assert!(!host.home("cyd").join(".local").exists());
    let meta = fs::metadata(host.settings("ada")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (ada, ada));
    // Again: there is nothing left to do.
    let again = host.run(&["teardown", "--all"]);
    assert_eq!(
        (again.status, again.out.as_str()),
        (0, "no hook of ours is in any harness's settings\n")
    );
}

#[test]
fn hooks_that_no_manifest_knows_are_taken_out_and_all_else_stays() {
    let Some(mut host) = Host::new() else { return };
    let ada = host.person("ada");
    host.write("ada", ada, OWN);
    host.set_up("ada", ada, Scope::User);
    fs::remove_dir_all(host.root().join("state/install")).unwrap();
    let done = host.run(&["teardown", "--all"]);
    assert_eq!(done.status, 0, "{}", done.whole());
    assert!(done.out.contains("cleaned /state/home/ada"), "{}", done.whole());
    let left: Value = serde_json::from_str(&host.read("ada")).unwrap();
    let own: Value = serde_json::from_str(OWN).unwrap();
    assert_eq!(left["model"], own["model"]);
    assert_eq!(left["hooks"]["Stop"], own["hooks"]["Stop"]);
    assert!(!host.read("ada").contains("defenseclaw-hook"));
}

#[test]
fn one_home_that_means_ill_stops_no_other_and_reaches_nothing_foreign() {
    let Some(mut host) = Host::new() else { return };
    let (ill, pipe, broken, good) = (
        host.person("ill"),
        host.person("pipe"),
        host.person("broken"),
        host.person("zoe"),
    );
    host.write("zoe", good, OWN);
    host.set_up("zoe", good, Scope::User);
    // A link to a file of root's that holds what looks like ours: following it would change the file.
    host.write("ill", ill, OWN);
    host.set_up("ill", ill, Scope::User);
    let hooked = host.read("ill");
    let foreign = host.root().join("etc/foreign.json");
    fs::write(&foreign, &hooked).unwrap();
    fs::set_permissions(&foreign, Permissions::from_mode(0o664)).unwrap();
    fs::remove_file(host.settings("ill")).unwrap();
    symlink(&foreign, host.settings("ill")).unwrap();
    // And one whose whole folder leads away.
    let away = host.root().join("etc/away");
    fs::create_dir(&away).unwrap();
    fs::set_permissions(&away, Permissions::from_mode(0o777)).unwrap();
    fs::write(away.join("settings.json"), &hooked).unwrap();
    fs::create_dir(host.home("ill").join(".cursor")).unwrap();
    symlink(&away, host.home("ill").join(".codex")).unwrap();
    // Settings that never end, and settings that are none.
    host.write("pipe", pipe, OWN);
    host.set_up("pipe", pipe, Scope::User);
    fs::remove_file(host.settings("pipe")).unwrap();
    nix::unistd::mkfifo(&host.settings("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(host.settings("pipe"), Some(pipe), Some(pipe)).unwrap();
    host.write("broken", broken, OWN);
    host.set_up("broken", broken, Scope::User);
    let spoilt = format!("{} oops", host.read("broken"));
    host.write("broken", broken, &spoilt);

    let done = host.run(&["teardown", "--all"]);
    assert_eq!(done.status, 1, "{}", done.whole());
    assert_eq!(
        fs::read_to_string(&foreign).unwrap(),
        hooked,
        "a link out of a home was followed"
    );
    assert_eq!(fs::read_to_string(away.join("settings.json")).unwrap(), hooked);
    assert_eq!(
        fs::read_dir(&away).unwrap().count(),
        1,
        "something was written beside it"
    );
    assert_eq!(host.read("zoe"), OWN, "{}", done.whole());
    assert_eq!(host.read("broken"), spoilt);
    for name in ["ill", "pipe", "broken"] {
        assert!(
            done.notes
                .lines()
                .any(|line| line.starts_with("left: ") && line.contains(&format!("home/{name}"))),
            "{name}: {}",
            done.whole()
        );
    }
    // What is mended can be taken away then: the manifest still knows it.
    fs::remove_file(host.settings("pipe")).unwrap();
    fs::remove_file(host.settings("ill")).unwrap();
    host.write("broken", broken, spoilt.trim_end_matches(" oops"));
    let mended = host.run(&["teardown", "--all"]);
    assert_eq!(mended.status, 0, "{}", mended.whole());
    assert_eq!(host.read("broken"), OWN);
}

#[test]
fn everybody_s_harnesses_are_offered_with_the_command_and_nothing_is_changed() {
    let Some(mut host) = Host::new() else { return };
    let (ada, _bob, cyd) = (host.person("ada"), host.person("bob"), host.person("cyd"));
    fs::remove_dir(host.home("bob").join(".claude")).unwrap();
    host.write("ada", ada, OWN);
    host.write("cyd", cyd, OWN);
    host.set_up("cyd", cyd, Scope::User);
    // A program in a home that would do something if it were started.
    let program = host.home("ada").join(".local/bin/claude");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho started > {}/started\n",
            host.home("ada").display()
        ),
    )
    .unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    for path in [
        host.home("ada").join(".local"),
        host.home("ada").join(".local/bin"),
        program,
    ] {
        chown(path, Some(ada), Some(ada)).unwrap();
    }
    let found = host.run(&["setup", "--detect"]);
    assert_eq!(found.status, 0, "{}", found.whole());
    assert!(
        found
            .out
            .contains("sudo defenseclaw-cli setup claude-code --user ada"),
        "{}",
        found.whole()
    );
    assert!(
        !found.out.contains("--user cyd") && found.out.contains("set up (user)"),
        "{}",
        found.whole()
    );
    assert!(!found.out.contains("bob"), "{}", found.whole());
    assert!(
        !host.home("ada").join("started").exists(),
        "a program of a home was started"
    );
    assert_eq!(host.read("ada"), OWN);
    assert!(!host.home("ada").join(".local/state").exists());
    let json = host.run(&["setup", "--detect", "--json"]);
    let lines: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let claude = lines
        .iter()
        .find(|line| line["user"] == "ada" && line["connector"] == "claude-code")
        .unwrap();
    assert_eq!(
        claude["command"],
        "sudo defenseclaw-cli setup claude-code --user ada"
    );
    assert!(
        claude["program"]
            .as_str()
            .unwrap()
            .ends_with("home/ada/.local/bin/claude")
    );
    // For oneself it is shorter.
    let own = host.run_as("ada", ada, &["setup", "--detect"]);
    assert!(
        own.out.contains("sudo defenseclaw-cli setup claude-code\n"),
        "{}",
        own.whole()
    );
}
