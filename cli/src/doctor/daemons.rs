//! The daemons: whether they answer, what they have proven, what they lost, what holds opens.

use std::path::Path;

use defenseclaw_model::api::Status;
use defenseclaw_model::wire::Tier;
use defenseclaw_run::settings::Settings;

use super::Check;
use super::host::{Host, Ran};
use crate::CliError;

/// The services, as packages install them.
pub(super) const UNITS: [&str; 2] = ["defenseclaw-gateway.service", "defenseclaw-agent.service"];
/// Restarts from which on a service is said to fall again and again.
const RESTARTS: u64 = 5;
/// Records that wait in the agent from which on the way to the gateway is said to be slow.
const BACKLOG: u64 = 10_000;

/// What a gateway that answers tells, and the agent through it.
pub(super) fn answered(status: &Status, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![gateway(status, settings), ledger(status), agent(status)];
    checks.extend(tiers(status));
    checks.extend(losses(status));
    checks.extend(backlog(status));
    checks.extend(gate(status, settings));
    checks
}

fn gateway(status: &Status, settings: &Settings) -> Check {
    let detail = format!(
        "version {}, mode {}, policy {}",
        status.version,
        status.mode.as_str(),
        status.policy
    );
    let check = Check::ok("gateway", "", detail);
    if status.mode == settings.config.mode {
        return check;
    }
    let remedy = format!(
        "{} says mode {}: sudo systemctl restart defenseclaw-gateway",
        settings.file.display(),
        settings.config.mode.as_str()
    );
    check.warn(remedy)
}

fn ledger(status: &Status) -> Check {
    match &status.ledger.error {
        None => Check::ok("ledger", "", format!("{}, {} records", status.ledger.path, status.ledger.records)),
        Some(error) => Check::ok("ledger", "", format!("{} cannot be written: {error}", status.ledger.path))
            .fail("Free space, or let the gateway's user write that folder; until then calls are answered by fail mode"),
    }
}

/// Without the agent only what harnesses tell is known.
fn agent(status: &Status) -> Check {
    match &status.agent {
        Some(agent) => Check::ok("agent", "", format!("connected, kernel {}", agent.kernel)),
        None => Check::ok("agent", "", "none is connected: only hooks are in force")
            .warn("sudo systemctl start defenseclaw-agent (from a build: sudo defenseclaw-agent); then what calls really do is seen"),
    }
}

/// What is in force for each family of actions, as the agent has proven it.
fn tiers(status: &Status) -> Vec<Check> {
    let families = status.agent.iter().flat_map(|agent| &agent.families);
    families
        .map(|family| {
            let check = |word: &str| Check::ok("tier", family.family.clone(), format!("{word}: {}", family.detail));
            match family.tier {
                Tier::None => check("none").warn(
                    "Actions of this kind are not seen: what the kernel lacks is said above; sudo journalctl -u defenseclaw-agent -n 50",
                ),
                Tier::Lsm => check("lsm"),
                Tier::Cgroup => check("cgroup"),
                Tier::Fanotify => check("fanotify"),
                Tier::Landlock => check("landlock"),
                Tier::Kill => check("kill").note("Stopped only after the fact: nothing on this kernel refuses it before"),
                Tier::Observe => check("observe"),
            }
        })
        .collect()
}

fn losses(status: &Status) -> Option<Check> {
    let counters = &status.agent.as_ref()?.counters;
    let lost = [
        ("security_ring_full", counters.security_ring_full),
        ("telemetry_ring_full", counters.telemetry_ring_full),
        ("label_map_full", counters.label_map_full),
        ("program_misses", counters.program_misses),
        ("agent_overflow", counters.agent_overflow),
        ("undecodable", counters.undecodable),
    ];
    let lost: Vec<String> = lost
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(cause, number)| format!("{number} by {cause}"))
        .collect();
    Some(if lost.is_empty() {
        Check::ok("losses", "", "nothing that the sensor saw was lost")
    } else {
        Check::ok(
            "losses",
            "",
            format!(
                "records were lost since the sensor was loaded: {}",
                lost.join(", ")
            ),
        )
        .warn("`defenseclaw-cli status` says what each cause means; the trail has gaps there")
    })
}

/// What the agent still has to hand over.
fn backlog(status: &Status) -> Option<Check> {
    let waiting = status.agent.as_ref()?.backlog;
    let check = Check::ok(
        "backlog",
        "",
        format!("{waiting} records wait in the agent for the gateway"),
    );
    Some(if waiting > BACKLOG {
        check.warn("The gateway takes records too slowly: sudo journalctl -u defenseclaw-gateway -n 50, and see to the disk's load")
    } else {
        check
    })
}

/// Whether anything is held until it was scanned.
fn gate(status: &Status, settings: &Settings) -> Option<Check> {
    let gate = status.gate.as_ref()?;
    let check = Check::ok(
        "gate",
        "",
        format!("{} in quarantine; {}", gate.quarantined, gate.detail),
    );
    Some(match gate.tier {
        Tier::None if !settings.config.gate.enabled => {
            check.note("It is switched off (gate.enabled in the configuration): nothing is scanned before it is used")
        }
        Tier::None => check.warn(
            "Start defenseclaw-agent, as root: without it skills, plugins and servers are used before anybody has scanned them",
        ),
        _ if gate.unscanned > 0 => check.warn(format!(
            "{} artifacts were answered by fail mode without a scan: `defenseclaw-cli gate status` names them",
            gate.unscanned
        )),
        _ => check,
    })
}

/// A gateway that does not answer.
pub(super) fn unreachable(error: &CliError, settings: &Settings) -> Check {
    let text = error.to_string();
    let (what, remedy) = text.split_once('\n').unwrap_or((&text, ""));
    let check = Check::ok("gateway", "", what);
    if matches!(error, CliError::NotPermitted { .. }) {
        return check.warn(remedy);
    }
    let start = "sudo systemctl start defenseclaw-gateway (from a build: defenseclaw-gateway &)";
    check.fail(if remedy.is_empty() {
        format!(
            "Start defenseclaw-gateway, and see that it listens on {}: {start}",
            settings.socket.display()
        )
    } else {
        format!("{remedy} {start}")
    })
}

/// The services, where systemd runs this host and knows them.
pub(super) fn units(host: &Host) -> Vec<Check> {
    if !host.path("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    UNITS
        .into_iter()
        .filter_map(|unit| self::unit(host, unit))
        .collect()
}

fn unit(host: &Host, unit: &'static str) -> Option<Check> {
    let show = "--property=LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts";
    let said = |detail: String| Some(Check::ok("service", unit, detail));
    let out = match host
        .probes
        .run(Path::new("systemctl"), &["show", unit, show, "--no-pager"])
    {
        Ran::Done { good: true, out } => out,
        Ran::Late => {
            return said("systemctl does not answer".to_owned())
                .map(|check| check.warn("systemctl is-system-running"));
        }
        _ => return None,
    };
    let value = |name: &str| {
        let mut lines = out.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    if value("LoadState") != "loaded" {
        return None;
    }
    let (active, sub, file) = (value("ActiveState"), value("SubState"), value("UnitFileState"));
    let restarts: u64 = value("NRestarts").parse().unwrap_or(0);
    let found = said(format!("{active} ({sub}), {file}, {restarts} restarts"))?;
    let log = format!("sudo journalctl -u {unit} -n 50 --no-pager");
    Some(match active {
        "active" | "activating" | "reloading" if restarts >= RESTARTS => {
            found.warn(format!("It falls again and again: {log}"))
        }
        "active" | "reloading" => found,
        "activating" => found.note("It is just starting: try again"),
        "failed" => {
            let result = value("Result");
            Check::ok("service", unit, format!("failed ({result}), {restarts} restarts"))
                .fail(format!("{log}; then sudo systemctl restart {unit}"))
        }
        _ if matches!(file, "disabled" | "masked") => found.warn(format!(
            "Somebody switched it off. To have it: sudo systemctl enable --now {unit}"
        )),
        _ => found.fail(format!("sudo systemctl start {unit}")),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::State;
    use super::super::testing::{self, Place};
    use super::*;

    fn states(checks: &[Check]) -> Vec<(&'static str, State)> {
        checks.iter().map(|check| (check.check, check.state)).collect()
    }

    #[test]
    fn a_whole_host_has_nothing_to_object_to() {
        let status = testing::status(Some(Tier::Fanotify));
        let checks = answered(&status, &testing::settings());
        let names = [
            "gateway", "ledger", "agent", "tier", "tier", "losses", "backlog", "gate",
        ];
        assert_eq!(states(&checks), names.map(|name| (name, State::Ok)));
    }

    #[test]
    fn each_thing_that_does_not_hold_is_told_by_itself() {
        let settings = testing::settings();
        let whole = testing::status(Some(Tier::Fanotify));
        let with = |change: &dyn Fn(&mut Status)| {
            let mut status = whole.clone();
            change(&mut status);
            let checks = answered(&status, &settings);
            let odd = checks.into_iter().filter(|check| check.state != State::Ok);
            odd.map(|check| (check.check, check.state)).collect::<Vec<_>>()
        };
        let warned = |name| vec![(name, State::Warning)];
        assert_eq!(
            with(&|status| status.mode = defenseclaw_model::decision::Mode::Hitl),
            warned("gateway")
        );
        assert_eq!(
            with(&|status| status.ledger.error = Some("disk full".to_owned())),
            [("ledger", State::Problem)]
        );
        assert_eq!(with(&|status| status.agent = None), warned("agent"));
        let agent = |change: fn(&mut defenseclaw_model::wire::AgentStatus)| {
            with(&|status| change(status.agent.as_mut().unwrap()))
        };
        assert_eq!(agent(|agent| agent.families[1].tier = Tier::None), warned("tier"));
        assert_eq!(
            agent(|agent| agent.families[1].tier = Tier::Kill),
            [("tier", State::Note)]
        );
        assert_eq!(
            agent(|agent| agent.counters.security_ring_full = 3),
            warned("losses")
        );
        assert_eq!(agent(|agent| agent.backlog = BACKLOG), []);
        assert_eq!(agent(|agent| agent.backlog = BACKLOG + 1), warned("backlog"));
        let gate = |change: fn(&mut defenseclaw_model::api::GateStatus)| {
            with(&|status| change(status.gate.as_mut().unwrap()))
        };
        assert_eq!(gate(|gate| gate.tier = Tier::None), warned("gate"));
        assert_eq!(gate(|gate| gate.unscanned = 1), warned("gate"));
    }

    #[test]
    fn a_gate_that_is_switched_off_is_a_note() {
        let mut settings = testing::settings();
        settings.config.gate.enabled = false;
        let check = gate(&testing::status(None), &settings).unwrap();
        assert_eq!(check.state, State::Note);
    }

    #[test]
    fn a_gateway_that_is_away_is_a_problem_and_one_out_of_reach_is_not_known_to_be() {
        let settings = testing::settings();
        let away = CliError::Unreachable {
            socket: PathBuf::from("/s"),
            why: "there is no such socket".to_owned(),
            remedy: "Start defenseclaw-gateway.".to_owned(),
        };
        let check = unreachable(&away, &settings);
        assert_eq!(check.state, State::Problem);
        assert!(check.remedy.contains("systemctl start"), "{check:?}");
        let forbidden = CliError::NotPermitted {
            what: "the socket cannot be opened".to_owned(),
            remedy: "Run as another user.".to_owned(),
        };
        assert_eq!(unreachable(&forbidden, &settings).state, State::Warning);
    }

    #[test]
    fn services_by_what_systemd_says_of_them() {
        let place = Place::new();
        assert!(units(&place.host).is_empty(), "no systemd runs there");
        place.file("/run/systemd/system/x", "");
        assert!(units(&place.host).is_empty(), "systemctl is not there");
        for (text, state) in [
            ("LoadState=not-found\nActiveState=inactive\n", None),
            (
                "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0\n",
                Some(State::Ok),
            ),
            (
                "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=5\n",
                Some(State::Warning),
            ),
            (
                "LoadState=loaded\nActiveState=activating\nSubState=start\nUnitFileState=enabled\nNRestarts=0\n",
                Some(State::Note),
            ),
            (
                "LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nResult=exit-code\n",
                Some(State::Problem),
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=enabled\n",
                Some(State::Problem),
            ),
            (
                "LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled\n",
                Some(State::Warning),
            ),
        ] {
            place.answer(
                "systemctl show defenseclaw-agent.service",
                Ran::Done {
                    good: true,
                    out: text.to_owned(),
                },
            );
            let found = unit(&place.host, UNITS[1]).map(|check| check.state);
            assert_eq!(found, state, "{text}");
        }
        place.answer("systemctl show defenseclaw-agent.service", Ran::Late);
        assert_eq!(
            unit(&place.host, UNITS[1]).map(|check| check.state),
            Some(State::Warning)
        );
    }
}
