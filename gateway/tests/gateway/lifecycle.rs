//! Starting and stopping.

use std::fs;
use std::process::Output;
use std::time::Duration;

use defenseclaw_model::record::Binding;
use defenseclaw_testkit::{Need, require};
use nix::sys::signal::Signal;

use crate::world::World;

fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn told_to_stop_it_finishes_what_it_began_and_leaves_nothing_behind() {
    let mut world = World::start("mode: action");
    let mut agent = world.agent();
    std::thread::scope(|scope| {
        let hook = scope.spawn({
            let world = &world;
            move || world.bash("t1", "deny-me")
        });
        let frame = agent.receive().unwrap();
        let defenseclaw_model::wire::ToAgent::Register { request, .. } = frame else {
            panic!("{frame:?}")
        };
        let pid = nix::unistd::Pid::from_raw(world.pid() as i32);
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        agent.send(&defenseclaw_model::wire::ToGateway::Registered {
            request,
            binding: Binding::Bound,
        });
        assert!(hook.join().unwrap().is_denied());
    });
    assert!(world.end(Signal::SIGTERM).success());
    assert!(!world.socket().exists() && !world.agent_socket().exists());
    assert!(
        !world.path("state/ledger.db-wal").exists(),
        "the ledger was closed in order"
    );
    let states: Vec<_> = world
        .daemons()
        .into_iter()
        .map(|(daemon, state, _)| format!("{daemon} {state}"))
        .collect();
    assert_eq!(states.first().unwrap(), "gateway started");
    assert!(states.contains(&"gateway stopped".to_owned()), "{states:?}");
    world.verify();
}

#[test]
fn a_second_gateway_for_the_same_socket_or_ledger_is_refused() {
    let mut world = World::start("");
    let message = refused(world.command().output().unwrap());
    assert!(message.contains("already"), "{message}");
    let elsewhere = world.path("other/gateway.sock");
    let message = refused(
        world
            .command()
            .env("DEFENSECLAW_SOCKET", elsewhere)
            .output()
            .unwrap(),
    );
    assert!(
        message.contains("ledger.db is already being written"),
        "{message}"
    );
    assert!(world.bash("t", "ls").is_silence(), "the first goes on");
    // One that was killed is no obstacle.
    world.end(Signal::SIGKILL);
    assert!(world.socket().exists());
    world.start_gateway();
    assert!(world.bash("t", "ls").is_silence());
}

#[test]
fn what_it_cannot_start_with_is_named() {
    let world = World::prepare("");
    let run = |config: &str, variable: (&str, &str)| {
        fs::write(world.path("config.yaml"), config).unwrap();
        refused(world.command().env(variable.0, variable.1).output().unwrap())
    };
    let none = ("X", "y");
    let message = run("mod: action", none);
    assert!(
        message.contains("config.yaml") && message.contains("did you mean `mode`"),
        "{message}"
    );
    let message = run("", ("DEFENSECLAW_STATE", "/proc/defenseclaw"));
    assert!(
        message.contains("cannot create the folder /proc/defenseclaw"),
        "{message}"
    );
    let message = run("", ("DEFENSECLAW_SOCKET", &format!("/tmp/{}", "x".repeat(120))));
    assert!(message.contains("at most 107"), "{message}");
    let message = run("policies: /nowhere", none);
    assert!(
        message.contains("policy") && message.contains("/nowhere"),
        "{message}"
    );
    assert!(!world.path("state").exists(), "nothing of it left a trace");
    fs::create_dir(world.path("state")).unwrap();
    fs::write(
        world.path("state/ledger.db"),
        "not a database, but long enough to be mistaken for one".repeat(10),
    )
    .unwrap();
    let message = run("", none);
    assert!(message.contains("ledger.db"), "{message}");
}

#[test]
fn it_runs_as_root_only_if_told() {
    if !require(&[Need::Root]) {
        return;
    }
    let world = World::prepare("");
    let program = env!("CARGO_BIN_EXE_defenseclaw-gateway");
    let output = std::process::Command::new(program)
        .env("DEFENSECLAW_CONFIG", world.path("config.yaml"))
        .env("DEFENSECLAW_SOCKET", world.socket())
        .env("DEFENSECLAW_STATE", world.path("state"))
        .output()
        .unwrap();
    assert!(refused(output).contains("--allow-root"));
    assert!(!world.path("state").exists());
}

#[test]
fn a_wrong_command_line_is_a_matter_of_usage() {
    let world = World::prepare("");
    let output = world.command().arg("--listen").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("unknown argument \"--listen\"")
    );
    let output = world.command().arg("--version").output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .starts_with("defenseclaw-gateway ")
    );
}

#[test]
fn at_rest_it_is_small() {
    let world = World::start("");
    // What it takes for itself: rules, policy and contracts. The rest is the program's own text, which the system shares and
    // takes back at will, and of which an unoptimised build has more.
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let own: u64 = own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!((1..24 * 1024).contains(&own), "{own} KiB");
    assert!(world.status().rss_kib > own);
}
