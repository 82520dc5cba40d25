//! What time brings: the clock, the room on the disk, and who else gets the records.

use defenseclaw_audit::Query;
use defenseclaw_run::settings::Settings;

use super::Check;
use super::host::{Clock, Host};
use crate::ledger::Ledger;
use crate::{CliError, time};

/// No host that has this program has a clock before this (2026-01-01T00:00:00Z).
const FIRST_DAY: u64 = 1_767_225_600_000_000_000;
/// How far in the future a record may lie: clocks are set by moments (ns).
const SLACK: u64 = 60_000_000_000;
/// Below this the gateway may soon not be able to write (bytes): some minutes of a busy agent.
const LEAST: u64 = 64 << 20;
/// Below this somebody should see to it (bytes): some days.
const LITTLE: u64 = 1 << 30;
/// Files that should still fit.
const LITTLE_FILES: u64 = 1_000;

/// All of them.
pub(super) fn checks(host: &Host, settings: &Settings) -> Vec<Check> {
    let newest = newest(settings);
    vec![
        clock(host),
        ledger_time(host, &newest),
        disk(host, settings),
        sinks(),
    ]
}

fn clock(host: &Host) -> Check {
    if host.now_ns < FIRST_DAY {
        let detail = format!(
            "it says {}, before this program was made",
            time::rfc3339(host.now_ns)
        );
        return Check::ok("clock", "", detail).fail(
            "sudo timedatectl set-ntp true, or sudo date -s TIME: records, approvals and exceptions go by it",
        );
    }
    match host.facts.clock {
        Clock::Synchronised => Check::ok("clock", "", "is kept right by a time server"),
        Clock::Free => Check::ok("clock", "", "nothing keeps it right: records of this host may not fit those of others")
            .warn("sudo timedatectl set-ntp true (needs systemd-timesyncd or chrony); in a virtual machine its host may do that"),
        Clock::Unknown => Check::ok("clock", "", "the kernel does not tell whether it is kept right").note("timedatectl status"),
    }
}

/// The newest record's time, if there is one.
fn newest(settings: &Settings) -> Result<Option<u64>, CliError> {
    let ledger = Ledger::open(&settings.ledger)?;
    let query = Query {
        newest: Some(1),
        ..Query::default()
    };
    let mut newest = None;
    ledger.each(&query, |record| {
        newest = Some(record.draft.time_ns);
        Ok(())
    })?;
    Ok(newest)
}

fn ledger_time(host: &Host, newest: &Result<Option<u64>, CliError>) -> Check {
    let said = |detail: String| Check::ok("ledger-time", "", detail);
    match newest {
        Ok(None) => said("the ledger holds no record yet".to_owned()),
        Ok(Some(newest)) if *newest > host.now_ns.saturating_add(SLACK) => {
            let ahead = time::duration(newest - host.now_ns);
            said(format!("the newest record lies {ahead} in the future: the clock was set back since")).warn(
                "timedatectl status: set the clock right; until it has caught up, `--since` and `--until` sort records wrongly, their \
                 numbers do not",
            )
        }
        Ok(Some(newest)) => said(format!("the newest record is of {}", time::rfc3339(*newest))),
        Err(CliError::NoLedger(path)) => said(format!("there is no ledger at {} yet", path.display()))
            .note("It is made when the gateway first starts: sudo systemctl start defenseclaw-gateway"),
        Err(CliError::NotPermitted { what, .. }) => said(what.clone()).note(host.as_root()),
        Err(error) => {
            let text = error.to_string();
            said(text.lines().next().unwrap_or_default().to_owned()).fail(
                "defenseclaw-cli audit verify says more; a copy from before lies beside it where it was upgraded",
            )
        }
    }
}

fn disk(host: &Host, settings: &Settings) -> Check {
    let folder = &settings.config.state;
    // A state folder that is not there yet will lie where the folder above it lies.
    let there = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(folder);
    let about = folder.display().to_string();
    let space = match host.probes.space(there) {
        Ok(space) => space,
        Err(error) => {
            return Check::ok("disk", about, format!("the room there is not told: {error}"))
                .note(host.as_root());
        }
    };
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 10) >> 30);
    let check = Check::ok(
        "disk",
        about,
        format!("{} of {} are free", gib(space.free), gib(space.total)),
    );
    let more = format!(
        "Free space on that file system (df -h {0}; sudo du -xsh {0}), or name another folder with `state:` in the configuration",
        there.display()
    );
    match space.files {
        _ if space.read_only => check.fail(format!(
            "Nothing can be written there: sudo mount -o remount,rw $(findmnt -no TARGET -T {})",
            there.display()
        )),
        _ if space.free < LEAST => check.fail(format!(
            "{more}. Once it is full, calls are answered by fail mode"
        )),
        Some(files) if files < LITTLE_FILES => check.fail(format!(
            "Only {files} files can still be made there (df -i {})",
            there.display()
        )),
        _ if space.free < LITTLE => check.warn(more),
        _ => check,
    }
}

/// Who else gets the records. Nothing of this version sends them anywhere by itself.
fn sinks() -> Check {
    Check::ok(
        "sinks",
        "",
        "none: records stay in this host's ledger; no delivery can fail and none can wait",
    )
    .note("To hand them on: `defenseclaw-cli audit tail -f --json | YOUR-SHIPPER`")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::host::Space;
    use super::super::testing::{NOW, Place};
    use super::*;

    #[test]
    fn a_clock_that_is_kept_one_that_is_not_and_one_that_is_wrong() {
        let mut place = Place::new();
        for (kept, state) in [
            (Clock::Synchronised, State::Ok),
            (Clock::Free, State::Warning),
            (Clock::Unknown, State::Note),
        ] {
            place.host.facts.clock = kept;
            assert_eq!(clock(&place.host).state, state, "{kept:?}");
        }
        place.host.now_ns = FIRST_DAY - 1;
        assert_eq!(clock(&place.host).state, State::Problem);
    }

    #[test]
    fn records_of_the_future_are_told_from_those_of_a_clock_a_moment_ahead() {
        let place = Place::new();
        let state = |newest| ledger_time(&place.host, &newest).state;
        assert_eq!(state(Ok(None)), State::Ok);
        assert_eq!(state(Ok(Some(NOW + SLACK))), State::Ok);
        assert_eq!(state(Ok(Some(NOW + SLACK + 1))), State::Warning);
        assert_eq!(state(Err(CliError::NoLedger("/l".into()))), State::Note);
        let forbidden = CliError::NotPermitted {
            what: "it cannot be read".to_owned(),
            remedy: String::new(),
        };
        assert_eq!(state(Err(forbidden)), State::Note);
        assert_eq!(
            state(Err(CliError::Usage("no database".to_owned()))),
            State::Problem
        );
    }

    #[test]
    fn the_newest_record_is_found_in_a_real_ledger() {
        use defenseclaw_model::config::Durability;
        use defenseclaw_model::record::{Draft, RecordBody};
        let place = Place::new();
        let settings = place.settings();
        std::fs::create_dir_all(&settings.config.state).unwrap();
        let mut ledger = defenseclaw_audit::Ledger::open(&settings.ledger, Durability::Process).unwrap();
        assert!(matches!(newest(&settings), Ok(None)));
        for time_ns in [NOW - 5, NOW + 2 * SLACK] {
            let body = RecordBody::Prompt {
                text: "hello".to_owned(),
            };
            ledger
                .append(&[Draft {
                    time_ns,
                    session: None,
                    call: None,
                    body,
                }])
                .unwrap();
        }
        assert_eq!(newest(&settings).unwrap(), Some(NOW + 2 * SLACK));
        assert_eq!(ledger_time(&place.host, &newest(&settings)).state, State::Warning);
    }

    #[test]
    fn each_way_in_which_a_disk_runs_out() {
        let place = Place::new();
        let settings = place.settings();
        assert_eq!(disk(&place.host, &settings).state, State::Note, "nobody tells");
        let roomy = Space {
            free: 50 << 30,
            total: 100 << 30,
            files: Some(1 << 20),
            read_only: false,
        };
        for (space, state) in [
            (roomy, State::Ok),
            (Space { files: None, ..roomy }, State::Ok),
            (
                Space {
                    free: LITTLE,
                    ..roomy
                },
                State::Ok,
            ),
            (
                Space {
                    free: LITTLE - 1,
                    ..roomy
                },
                State::Warning,
            ),
            (
                Space {
                    free: LEAST - 1,
                    ..roomy
                },
                State::Problem,
            ),
            (
                Space {
                    files: Some(LITTLE_FILES - 1),
                    ..roomy
                },
                State::Problem,
            ),
            (
                Space {
                    read_only: true,
                    ..roomy
                },
                State::Problem,
            ),
        ] {
            place.space(space);
            assert_eq!(disk(&place.host, &settings).state, state, "{space:?}");
        }
        place.space(Space {
            free: 3 << 29,
            ..roomy
        });
        assert!(
            disk(&place.host, &settings)
                .detail
                .starts_with("1.5 GiB of 100.0 GiB")
        );
    }
}
