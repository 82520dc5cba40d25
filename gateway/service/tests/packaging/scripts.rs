//! The maintainer scripts under dash, in a root of their own, with stubs that note what they are asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use defenseclaw_testkit::{Need, require};

use crate::packaging;

const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// A host in a folder.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// One with systemd running and the package's programs unpacked. `None` without dash.
    fn new() -> Option<Self> {
        if !require(&[Need::Program("dash")]) {
            return None;
        }
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in [
            "stubs",
            "etc/defenseclaw",
            "var/lib",
            "run/systemd/system",
            "usr/lib/defenseclaw",
        ] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        fs::write(host.path("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(host.path("etc/group"), "root:x:0:\n").unwrap();
        fs::write(host.path("log"), "").unwrap();
        for name in [
            "systemctl",
            "systemd-tmpfiles",
            "deb-systemd-invoke",
            "chown",
            "defenseclaw-cli",
        ] {
            host.stub(name, "");
        }
        host.stub("deb-systemd-helper", "");
        host.stub(
            "systemd-sysusers",
            "echo 'defenseclaw:x:990:990::/:/' >> \"$DPKG_ROOT/etc/passwd\"\n",
        );
        host.stub("userdel", ": > \"$DPKG_ROOT/etc/passwd\"\n");
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that notes its name and arguments, then does `more`.
    fn stub(&self, name: &str, more: &str) {
        let path = self.path("stubs").join(name);
        let text = format!("#!/bin/dash\necho \"{name} $*\" >> \"$LOG\"\n{more}");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        Command::new("dash")
            .arg(packaging("debian").join(script))
            .args(arguments)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("stubs").display()))
            .env("DPKG_ROOT", self.folder.path())
            .env("LOG", self.path("log"))
            .output()
            .unwrap()
    }

    /// Runs it and gives what it said.
    fn done(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{script} {arguments:?}: {said}");
        said
    }

    /// What the stubs were asked since the last look.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap();
        fs::write(self.path("log"), "").unwrap();
        log.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// An SQLite file that says so of its schema, and is marked as a ledger.
    fn ledger(&self, schema: u8) {
        let mut header = vec![0; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[63] = schema;
        header[68..72].copy_from_slice(b"DCL\0");
        fs::create_dir_all(self.path("var/lib/defenseclaw")).unwrap();
        fs::write(self.path("var/lib/defenseclaw/ledger.db"), header).unwrap();
    }

    fn invoked(&self) -> Vec<String> {
        let mut asked = self.asked();
        asked.retain(|line| line.starts_with("deb-systemd-invoke"));
        asked
    }
}

const STARTED: [&str; 4] = [
    "deb-systemd-invoke start defenseclaw-gateway.socket",
    "deb-systemd-invoke start defenseclaw-gateway-agent.socket",
    "deb-systemd-invoke start defenseclaw-gateway.service",
    "deb-systemd-invoke start defenseclaw-agent.service",
];

#[test]
fn every_script_is_one_that_dash_can_read_and_refuses_what_it_does_not_know() {
    let Some(host) = Host::new() else { return };
    for script in SCRIPTS {
        let path = packaging("debian").join(script);
        let read = Command::new("dash").arg("-n").arg(&path).output().unwrap();
        assert!(read.status.success(), "{script}: {read:?}");
        assert!(
            fs::read_to_string(&path).unwrap().starts_with("#!/bin/sh\n"),
            "{script}"
        );
        assert_ne!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o111,
            0,
            "{script}"
        );
    }
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let refused = host.run(script, &["dance"]);
        assert!(!refused.status.success(), "{script}");
    }
}

#[test]
fn an_installation_makes_the_user_enables_and_starts_and_changes_no_agent() {
    let Some(host) = Host::new() else { return };
    host.done("preinst", &["install"]);
    host.done("postinst", &["configure", ""]);
    let asked = host.asked();
    let invoked: Vec<_> = asked
        .iter()
        .filter(|line| line.starts_with("deb-systemd-invoke"))
        .collect();
    assert_eq!(invoked, STARTED.iter().collect::<Vec<_>>());
    assert!(
        asked.iter().any(|line| line.starts_with("systemd-sysusers")),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"deb-systemd-helper enable defenseclaw-agent.service".to_owned()),
        "{asked:?}"
    );
    assert!(
        !asked.iter().any(|line| line.contains("api.socket")),
        "nobody asked for the API: {asked:?}"
    );
    assert!(
        !asked
            .iter()
            .any(|line| line.starts_with("defenseclaw-cli setup claude")),
        "{asked:?}"
    );
    let state = host.path("var/lib/defenseclaw");
    assert_eq!(fs::metadata(state).unwrap().permissions().mode() & 0o7777, 0o1770);
    assert!(!host.path("etc/defenseclaw/config.d/10-debconf.yaml").exists());
}

#[test]
fn an_upgrade_restarts_services_but_never_a_socket() {
    let Some(host) = Host::new() else { return };
    host.done("prerm", &["upgrade", "2.0"]);
    assert_eq!(
        host.asked(),
        [""; 0],
        "the old programs go on until the new ones are configured"
    );
    host.ledger(1);
    host.done("preinst", &["upgrade", "1.0"]);
    host.done("postrm", &["upgrade", "2.0"]);
    host.done("postinst", &["configure", "1.0"]);
    let expected = [
        STARTED[0],
        STARTED[1],
        "deb-systemd-invoke restart defenseclaw-gateway.service",
        "deb-systemd-invoke restart defenseclaw-agent.service",
    ];
    assert_eq!(host.invoked(), expected);
}

#[test]
fn a_disabled_unit_is_not_enabled_again() {
    let Some(host) = Host::new() else { return };
    host.stub(
        "deb-systemd-helper",
        "case \"$*\" in *was-enabled*agent.service) exit 1 ;; esac\n",
    );
    host.done("postinst", &["configure", "1.0"]);
    let asked = host.asked();
    assert!(
        !asked.contains(&"deb-systemd-helper enable defenseclaw-agent.service".to_owned()),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"deb-systemd-helper enable defenseclaw-gateway.service".to_owned()),
        "{asked:?}"
    );
    // Without Debian's helpers: what is neither enabled nor running is not touched.
    for name in ["deb-systemd-helper", "deb-systemd-invoke"] {
        fs::remove_file(host.path("stubs").join(name)).unwrap();
    }
    let only_here = format!("{}", host.path("stubs").display());
    host.stub(
        "systemctl",
        "case \"$*\" in *is-enabled*agent.service|*is-active*agent.service) exit 1 ;; esac\n",
    );
    for tool in ["sed", "mkdir", "chmod", "cat", "mv", "grep", "timeout"] {
        let real = ["/usr/bin", "/bin"].map(|folder| PathBuf::from(folder).join(tool));
        let real = real.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(real, host.path("stubs").join(tool)).unwrap();
    }
    let output = Command::new("/bin/dash")
        .arg(packaging("debian").join("postinst"))
        .args(["configure", "1.0"])
        .env_clear()
        .env("PATH", only_here)
        .env("DPKG_ROOT", host.folder.path())
        .env("LOG", host.path("log"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let asked = host.asked();
    assert!(
        asked.contains(&"systemctl restart defenseclaw-gateway.service".to_owned()),
        "{asked:?}"
    );
    assert!(
        !asked
            .iter()
            .any(|line| line.contains("restart defenseclaw-agent") || line.contains(" enable ")),
        "{asked:?}"
    );
}

#[test]
fn a_start_that_fails_is_said_and_leaves_the_package_configured() {
    let Some(host) = Host::new() else { return };
    host.stub("deb-systemd-invoke", "exit 1\n");
    let said = host.done("postinst", &["configure", ""]);
    assert!(
        said.contains("journalctl -u defenseclaw-gateway.service"),
        "{said}"
    );
    fs::write(host.path("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    host.stub("systemd-sysusers", "exit 1\n");
    host.stub("useradd", "exit 1\n");
    let said = host.done("postinst", &["configure", ""]);
    assert!(said.contains("the user defenseclaw could not be made"), "{said}");
}

#[test]
fn without_a_running_systemd_nothing_is_started() {
    let Some(host) = Host::new() else { return };
    fs::remove_dir_all(host.path("run/systemd")).unwrap();
    host.done("postinst", &["configure", ""]);
    assert_eq!(host.invoked(), [""; 0]);
    host.done("prerm", &["remove"]);
    assert_eq!(host.invoked(), [""; 0]);
}

#[test]
fn a_removal_takes_hooks_away_first_and_then_stops() {
    let Some(host) = Host::new() else { return };
    host.ledger(1);
    host.done("prerm", &["remove"]);
    let asked = host.asked();
    assert_eq!(asked[0], "defenseclaw-cli teardown --all");
    assert_eq!(asked[1], "deb-systemd-invoke stop defenseclaw-agent.service");
    assert_eq!(asked.len(), 6, "{asked:?}");
    let said = host.done("postrm", &["remove"]);
    assert!(said.contains("stays, with the ledger"), "{said}");
    assert!(host.path("var/lib/defenseclaw/ledger.db").exists());
}

#[test]
fn hooks_that_cannot_be_taken_away_stop_nothing_but_an_agent_that_removes_its_own_governor_is_refused() {
    let Some(host) = Host::new() else { return };
    host.stub("defenseclaw-cli", "echo 'left: ada: broken' >&2; exit 1\n");
    let said = host.done("prerm", &["remove"]);
    assert!(
        said.contains("left: ada") && said.contains("still call defenseclaw-hook"),
        "{said}"
    );
    assert_eq!(host.invoked().len(), 5);
    host.stub("defenseclaw-cli", "exit 101\n");
    host.done("prerm", &["remove"]);
    assert_eq!(host.invoked().len(), 5);
    host.stub("defenseclaw-cli", "exit 4\n");
    let refused = host.run("prerm", &["remove"]);
    assert!(!refused.status.success());
    assert_eq!(host.invoked(), [""; 0], "nothing was stopped");
    // dpkg then configures the package again.
    host.done("postinst", &["abort-remove"]);
    assert_eq!(host.invoked(), STARTED);
}

#[test]
fn purge_says_what_goes_and_leaves_only_what_is_somebody_s() {
    let Some(host) = Host::new() else { return };
    host.done("postinst", &["configure", ""]);
    host.ledger(1);
    for name in ["q-1", "q-2", "broken"] {
        fs::create_dir_all(host.path("var/lib/defenseclaw/quarantine").join(name)).unwrap();
    }
    for name in ["q-1", "q-2"] {
        fs::write(
            host.path("var/lib/defenseclaw/quarantine")
                .join(name)
                .join("manifest.json"),
            "{}",
        )
        .unwrap();
    }
    fs::create_dir_all(host.path("etc/defenseclaw/config.d")).unwrap();
    fs::create_dir_all(host.path("etc/defenseclaw/policies")).unwrap();
    for name in ["hook.conf", "config.d/10-debconf.yaml", "config.d/90-mine.yaml"] {
        fs::write(host.path("etc/defenseclaw").join(name), "").unwrap();
    }
    let said = host.done("postrm", &["purge"]);
    assert!(
        said.contains("removing the ledger") && said.contains("removing 2 artifacts"),
        "{said}"
    );
    assert!(said.contains("config.d stays"), "{said}");
    for gone in [
        "var/lib/defenseclaw",
        "etc/defenseclaw/hook.conf",
        "etc/defenseclaw/policies",
    ] {
        assert!(!host.path(gone).exists(), "{gone}");
    }
    assert!(host.path("etc/defenseclaw/config.d/90-mine.yaml").exists());
    let asked = host.asked();
    assert!(asked.iter().any(|line| line.starts_with("userdel")), "{asked:?}");
    assert!(
        asked.contains(&"deb-systemd-helper purge defenseclaw-gateway.socket".to_owned()),
        "{asked:?}"
    );
    // A second purge finds nothing, and after another installation all is as at the first.
    fs::remove_file(host.path("etc/defenseclaw/config.d/90-mine.yaml")).unwrap();
    host.done("postrm", &["purge"]);
    assert!(!host.path("etc/defenseclaw").exists());
    host.asked();
    host.done("preinst", &["install"]);
    host.done("postinst", &["configure", ""]);
    assert_eq!(host.invoked(), STARTED);
}

#[test]
fn a_ledger_of_a_newer_version_refuses_the_downgrade_with_a_reason() {
    let Some(host) = Host::new() else { return };
    for (schema, refused) in [(0, false), (1, false), (2, true), (200, true)] {
        host.ledger(schema);
        for arguments in [["upgrade", "9.0"], ["install", "9.0"]] {
            let output = host.run("preinst", &arguments);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), !refused, "schema {schema}: {said}");
            assert_eq!(said.contains("was written by a newer version"), refused, "{said}");
        }
    }
    // What is no ledger of ours is the gateway's to speak about.
    fs::write(host.path("var/lib/defenseclaw/ledger.db"), "short").unwrap();
    host.done("preinst", &["upgrade", "9.0"]);
}

/// Debconf as far as the scripts use it: the script that asks for it is started anew, answers come from a file beside, and the
/// questions are noted.
const CONFMODULE: &str = r#"
if [ -z "$DEBIAN_HAS_FRONTEND" ]; then
    export DEBIAN_HAS_FRONTEND=1
    exec dash "$0" "$@"
fi
db_get() { RET=$(sed -n "s|^$1 ||p" "$DPKG_ROOT/answers"); echo "db_get $1" >> "$LOG"; }
db_set() { echo "db_set $*" >> "$LOG"; }
db_input() { echo "db_input $*" >> "$LOG"; return 30; }
db_go() { :; }
db_stop() { echo "db_stop" >> "$LOG"; }
db_purge() { echo "db_purge" >> "$LOG"; }
"#;

#[test]
fn answers_given_beforehand_are_taken_and_the_operator_s_file_is_left_alone() {
    let Some(host) = Host::new() else { return };
    fs::create_dir_all(host.path("usr/share/debconf")).unwrap();
    fs::write(host.path("usr/share/debconf/confmodule"), CONFMODULE).unwrap();
    fs::write(host.path("etc/defenseclaw/config.yaml"), "# mine\n").unwrap();
    fs::write(
        host.path("answers"),
        "defenseclaw/mode action\ndefenseclaw/harnesses\n",
    )
    .unwrap();
    host.done("postinst", &["configure", ""]);
    let answers = host.path("etc/defenseclaw/config.d/10-debconf.yaml");
    assert!(
        fs::read_to_string(&answers)
            .unwrap()
            .ends_with("\nmode: action\n")
    );
    assert_eq!(
        fs::read_to_string(host.path("etc/defenseclaw/config.yaml")).unwrap(),
        "# mine\n"
    );
    let asked = host.asked();
    let stopped = asked.iter().position(|line| line == "db_stop").unwrap();
    let started = asked.iter().position(|line| line == STARTED[0]).unwrap();
    assert!(stopped < started, "{asked:?}");
    // Back to what is built in: the file that is there says so.
    fs::write(host.path("answers"), "defenseclaw/mode observe\n").unwrap();
    host.done("postinst", &["configure", "1.0"]);
    assert!(
        fs::read_to_string(&answers)
            .unwrap()
            .ends_with("\nmode: observe\n")
    );
    // An answer that is none changes nothing.
    fs::write(host.path("answers"), "defenseclaw/mode rm -rf\n").unwrap();
    host.done("postinst", &["configure", "1.0"]);
    assert!(
        fs::read_to_string(&answers)
            .unwrap()
            .ends_with("\nmode: observe\n")
    );
    let said = host.done("postrm", &["purge"]);
    assert!(host.asked().contains(&"db_purge".to_owned()));
    assert!(!answers.exists());
    assert_eq!(
        said.matches("somebody's files are in it").count(),
        1,
        "said once: {said}"
    );
}

#[test]
fn what_the_operator_changed_in_the_answers_is_what_debconf_hears() {
    let Some(host) = Host::new() else { return };
    fs::create_dir_all(host.path("usr/share/debconf")).unwrap();
    fs::create_dir_all(host.path("etc/defenseclaw/config.d")).unwrap();
    fs::write(host.path("usr/share/debconf/confmodule"), CONFMODULE).unwrap();
    let answers = host.path("etc/defenseclaw/config.d/10-debconf.yaml");
    fs::write(&answers, "# x\nmode: action\n").unwrap();
    host.done("config", &["configure", "1.0"]);
    assert!(
        host.asked()
            .contains(&"db_set defenseclaw/mode action".to_owned())
    );
    fs::remove_file(&answers).unwrap();
    host.done("config", &["configure", "1.0"]);
    assert!(
        host.asked()
            .contains(&"db_set defenseclaw/mode observe".to_owned())
    );
    host.done("config", &["configure", ""]);
    let asked = host.asked();
    assert!(!asked.iter().any(|line| line.starts_with("db_set")), "{asked:?}");
    assert!(
        asked.contains(&"db_input low defenseclaw/mode".to_owned()),
        "{asked:?}"
    );
}

/// A package with nothing but our scripts and one file of each kind.
fn package(host: &Host, version: &str, schema: u8) -> PathBuf {
    let tree = host.path(&format!("package-{version}"));
    for folder in ["DEBIAN", "etc/defenseclaw", "usr/bin"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let mut folders = vec![tree.clone()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(entries.filter(|path| path.is_dir()));
    }
    let control = format!(
        "Package: defenseclaw\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("DEBIAN/conffiles"), "/etc/defenseclaw/config.yaml\n").unwrap();
    fs::write(tree.join("etc/defenseclaw/config.yaml"), "# as it came\n").unwrap();
    fs::write(tree.join("usr/bin/program"), version).unwrap();
    for script in ["preinst", "postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(packaging("debian").join(script)).unwrap();
        let text = text.replace("\nSCHEMA=1\n", &format!("\nSCHEMA={schema}\n"));
        fs::write(tree.join("DEBIAN").join(script), text).unwrap();
        fs::set_permissions(
            tree.join("DEBIAN").join(script),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }
    let package = host.path(&format!("{version}.deb"));
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(&tree)
        .arg(&package)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    package
}

/// dpkg itself on that host; whether it was content, what it said, and what state it holds the package to be in.
fn dpkg(host: &Host, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new("dpkg")
        .arg(format!("--root={}", host.folder.path().display()))
        .args(["--force-script-chrootless", "--force-not-root", "--force-confold"])
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", host.path("stubs").display()),
        )
        .env("LOG", host.path("log"))
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let status = fs::read_to_string(host.path("var/lib/dpkg/status")).unwrap();
    let state = status
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("none");
    (output.status.success(), said, state.to_owned())
}

#[test]
fn dpkg_itself_is_never_left_half_way() {
    if !require(&[Need::Root, Need::Program("dpkg-deb")]) {
        return;
    }
    let Some(host) = Host::new() else { return };
    for folder in ["updates", "info", "triggers"] {
        fs::create_dir_all(host.path("var/lib/dpkg").join(folder)).unwrap();
    }
    fs::write(host.path("var/lib/dpkg/status"), "").unwrap();
    let (old, new) = (package(&host, "1.0", 1), package(&host, "2.0", 2));
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let installed = "install ok installed";

    let (done, said, state) = dpkg(&host, &["-i", old]);
    assert!(done && state == installed, "{said}");
    assert_eq!(host.invoked(), STARTED);
    fs::write(host.path("etc/defenseclaw/config.yaml"), "mode: action\n").unwrap();
    // An upgrade whose services do not start is an upgrade all the same.
    host.stub("deb-systemd-invoke", "exit 1\n");
    let (done, said, state) = dpkg(&host, &["-i", new]);
    assert!(
        done && state == installed && said.contains("did not start"),
        "{said}"
    );
    host.stub("deb-systemd-invoke", "");
    host.ledger(2);
    let (done, said, state) = dpkg(&host, &["-i", old]);
    assert!(
        !done && state == installed && said.contains("was written by a newer version"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(host.path("usr/bin/program")).unwrap(), "2.0");
    assert_eq!(
        fs::read_to_string(host.path("etc/defenseclaw/config.yaml")).unwrap(),
        "mode: action\n"
    );

    host.stub("defenseclaw-cli", "exit 4\n");
    let (done, said, state) = dpkg(&host, &["-r", "defenseclaw"]);
    assert!(!done && state.ends_with("ok installed"), "{state}: {said}");
    assert!(host.path("usr/bin/program").exists());
    host.stub("defenseclaw-cli", "");
    let (done, said, state) = dpkg(&host, &["-r", "defenseclaw"]);
    assert!(done && state == "deinstall ok config-files", "{state}: {said}");
    assert!(host.path("var/lib/defenseclaw/ledger.db").exists());
    // Installed again, all that was kept is there; purged, nothing is.
    let (done, said, state) = dpkg(&host, &["-i", new]);
    assert!(done && state == installed, "{said}");
    assert_eq!(
        fs::read_to_string(host.path("etc/defenseclaw/config.yaml")).unwrap(),
        "mode: action\n"
    );
    let (done, said, _) = dpkg(&host, &["-P", "defenseclaw"]);
    assert!(done && said.contains("removing the ledger"), "{said}");
    for gone in ["var/lib/defenseclaw", "etc/defenseclaw", "usr/bin/program"] {
        assert!(!host.path(gone).exists(), "{gone}");
    }
}
