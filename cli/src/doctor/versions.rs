//! Whether the programs that work together are of one build.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use defenseclaw_model::api::Status;
use defenseclaw_run::settings::Settings;

use super::host::{Host, Ran};
use super::{Check, files};

/// This tool's.
pub(super) const OWN: &str = env!("CARGO_PKG_VERSION");

/// The daemons, as the kernel names their processes: 15 bytes of the program's name.
const DAEMONS: [(&str, &str); 2] = [("defenseclaw-gat", "gateway"), ("defenseclaw-age", "agent")];
/// What the kernel adds to the name of a program whose file is gone.
const GONE: &str = " (deleted)";

/// All of them: what runs, and what lies on the disk. `clients` are the hook clients that harnesses run.
pub(super) fn checks(
    host: &Host,
    status: Option<&Status>,
    settings: &Settings,
    clients: &[PathBuf],
) -> Vec<Check> {
    let mut checks: Vec<Check> = status
        .map(|status| running(&status.version))
        .into_iter()
        .collect();
    checks.extend(replaced(host, settings));
    let mut programs: Vec<PathBuf> = files::found(host)
        .into_iter()
        .filter(|path| !path.ends_with("defenseclaw-cli") && !path.ends_with("defenseclaw-shell"))
        .chain(clients.iter().filter(|client| client.is_file()).cloned())
        .collect();
    programs.sort_unstable();
    programs.dedup();
    checks.extend(programs.iter().map(|program| on_disk(host, program)));
    checks
}

fn running(version: &str) -> Check {
    let about = "gateway (running)";
    if version == OWN {
        Check::ok("version", about, version)
    } else {
        Check::ok(
            "version",
            about,
            format!("{}, and this tool is {OWN}", first(version)),
        )
        .warn("sudo systemctl restart defenseclaw-gateway")
    }
}

/// Daemons whose program was replaced since they started: an upgrade that nobody restarted them after.
fn replaced(host: &Host, settings: &Settings) -> Vec<Check> {
    let gateway = settings.config.state.metadata().map(|meta| meta.uid());
    // Anybody may call a process of theirs by any name.
    let owners = [Some(host.superuser), Some(host.uid), gateway.ok()];
    let Ok(entries) = std::fs::read_dir(host.path("/proc")) else {
        return Vec::new();
    };
    let old = entries.filter_map(Result::ok).filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let comm = host.read(&format!("/proc/{pid}/comm")).ok()?;
        let (_, what) = DAEMONS.iter().find(|(name, _)| *name == comm.trim())?;
        let owner = entry.metadata().ok()?.uid();
        let program = std::fs::read_link(entry.path().join("exe")).ok()?;
        let program = program.to_string_lossy().strip_suffix(GONE)?.to_owned();
        owners.contains(&Some(owner)).then(|| {
            Check::ok(
                "version",
                format!("{what} (running)"),
                format!("process {pid} runs a {program} that was replaced since"),
            )
            .warn(format!("sudo systemctl restart defenseclaw-{what}"))
        })
    });
    old.collect()
}

fn on_disk(host: &Host, program: &Path) -> Check {
    let about = program.display().to_string();
    let said = |detail: String| Check::ok("version", about.clone(), detail);
    if !may_start(host, program) {
        return said("was not started: others than root could have changed it".to_owned())
            .note("Run doctor as the user whose program it is");
    }
    let again = "sudo apt install --reinstall defenseclaw (from a build: install all programs of one build side by side)";
    match host.probes.run(program, &["--version"]) {
        Ran::Done { good: true, out } => {
            let version = out.split_whitespace().last().unwrap_or_default();
            if version == OWN {
                said(version.to_owned())
            } else {
                said(format!("{}, and this tool is {OWN}", first(version))).fail(again)
            }
        }
        // Hook clients told no version before this one.
        Ran::Done { good: false, .. } => {
            said(format!("tells no version: it is older than this tool ({OWN})")).fail(again)
        }
        Ran::Absent => said("cannot be started: what it is linked against is missing".to_owned()).fail(again),
        Ran::Late => said("did not tell its version in time".to_owned()).warn(again),
        Ran::NotStarted(why) => said(format!("was not started: {why}")),
    }
}

fn first(version: &str) -> String {
    version.chars().take(40).collect()
}

/// Root starts nothing that somebody else could have put there.
pub(super) fn may_start(host: &Host, program: &Path) -> bool {
    if !host.is_root() {
        return true;
    }
    let own = |meta: std::fs::Metadata| meta.uid() == host.superuser;
    program.metadata().is_ok_and(own) && files::weak(host, program, &[host.superuser]).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::testing::{self, Place};
    use super::*;

    #[test]
    fn what_runs_is_of_this_build_or_has_to_be_started_anew() {
        let place = Place::new();
        let mut status = testing::status(None);
        let states = |status: &Status| {
            let checks = checks(&place.host, Some(status), &place.settings(), &[]);
            checks.iter().map(|check| check.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&status), [State::Ok]);
        status.version = "0.0.9".to_owned();
        assert_eq!(states(&status), [State::Warning]);
    }

    #[test]
    fn a_daemon_whose_program_was_replaced_is_found_and_others_are_left_alone() {
        let place = Place::new();
        for (pid, comm, exe) in [
            (
                70,
                "defenseclaw-gat\n",
                "/usr/lib/defenseclaw/defenseclaw-gateway",
            ),
            (
                71,
                "defenseclaw-age\n",
                "/usr/lib/defenseclaw/defenseclaw-agent (deleted)",
            ),
            (72, "something-else\n", "/usr/bin/something (deleted)"),
        ] {
            place.file(&format!("/proc/{pid}/comm"), comm);
            std::os::unix::fs::symlink(exe, place.host.path(&format!("/proc/{pid}/exe"))).unwrap();
        }
        let found = replaced(&place.host, &place.settings());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].state, found[0].about.as_str()),
            (State::Warning, "agent (running)")
        );
    }

    #[test]
    fn each_program_on_the_disk_tells_its_version() {
        let place = Place::new();
        let program = place.file_of("/usr/bin/defenseclaw-hook", "", 0o755);
        let line = format!("{} --version", program.display());
        let done = |good, out: &str| Ran::Done {
            good,
            out: out.to_owned(),
        };
        for (answer, state) in [
            (done(true, &format!("defenseclaw-hook {OWN}\n")), State::Ok),
            (done(true, "defenseclaw-hook 0.0.9\n"), State::Problem),
            (done(false, ""), State::Problem),
            (Ran::Absent, State::Problem),
            (Ran::Late, State::Warning),
            (Ran::NotStarted("no".to_owned()), State::Ok),
        ] {
            place.answer(&line, answer.clone());
            let found = checks(
                &place.host,
                None,
                &place.settings(),
                std::slice::from_ref(&program),
            );
            assert_eq!(
                found.iter().map(|check| check.state).collect::<Vec<_>>(),
                [state],
                "{answer:?}"
            );
        }
    }

    #[test]
    fn root_starts_no_program_that_others_could_have_changed_and_others_start_their_own() {
        let mut place = Place::new();
        let program = place.file_of("/usr/bin/defenseclaw-hook", "", 0o777);
        let never = Ran::Done {
            good: true,
            out: "started".to_owned(),
        };
        place.answer(&format!("{} --version", program.display()), never);
        assert_eq!(on_disk(&place.host, &program).state, State::Note);
        place.host.uid = place.host.superuser + 1;
        assert!(on_disk(&place.host, &program).detail.starts_with("started"));
    }
}
