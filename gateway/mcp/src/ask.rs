//! One server asked: started or reached, listened to, ended.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Answers};
use crate::host::Host;
use crate::http::Reached;
use crate::problem::{Problem, Trouble};
use crate::settings::{Reach, Server};
use crate::start::{self, Start};
use crate::stdio::{Running, SCRIPT};

/// How long one server may take, start included. Package managers' start alone takes some seconds.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// What stands for a value of a setting. Servers that only look whether it is there start with it.
const PLACEHOLDER: &str = "placeholder";
/// The profile that is extended by what this server has to read.
const PROFILE: &str = "mcp";
/// The name of the extended one.
const OWN_PROFILE: &str = "mcp-asked";
/// Variables that decide what runs rather than what it is told: they stay as the sandbox has them.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "BASH_ENV",
    "ENV",
];

/// How servers are asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// The launcher of sandboxes: `defenseclaw-cli`.
    pub launcher: PathBuf,
    /// Whether servers get the network, and addresses elsewhere are asked.
    pub network: bool,
    /// How long one server may take.
    pub timeout: Duration,
}

/// What came of asking one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which.
    pub server: Server,
    /// What it is known by.
    pub launch: Value,
    /// What it said.
    pub answers: Answers,
    /// The end of what it wrote on standard error.
    pub stderr: String,
    /// How long that took.
    pub took: Duration,
}

/// Asks `server`. Whatever goes wrong is among the answers' problems; nothing of the server is left behind.
pub fn ask(server: &Server, host: &Host, options: &Options) -> Asked {
    let begun = Instant::now();
    let deadline = begun + options.timeout;
    let (mut answers, mut stderr) = (Answers::default(), String::new());
    let outcome = match &server.reach {
        Reach::Stdio { words, env, folder } => {
            match sandboxed(words, env, folder.as_deref(), host, options).and_then(|(command, scratch)| {
                let running = Running::start(command, deadline)?;
                Ok((running, scratch))
            }) {
                Ok((mut running, _scratch)) => {
                    answers = client::ask(&mut running, deadline);
                    stderr = running.stderr();
                    Ok(())
                }
                Err(problem) => Err(problem),
            }
        }
        Reach::Http { url, .. } => Reached::at(url, options.network).map(|mut reached| {
            answers = client::ask(&mut reached, deadline);
        }),
        Reach::Unclear(why) => Err(Problem::new(Trouble::Unclear, format!("It was not asked: {why}"))),
    };
    if let Err(problem) = outcome {
        answers.add(problem);
    }
    Asked {
        server: server.clone(),
        launch: start::identity(&server.reach, host),
        answers,
        stderr,
        took: begun.elapsed(),
    }
}

/// Servers that are asked at once: most of the time each waits for its own start.
const AT_ONCE: usize = 4;

/// Asks all of `servers`, some at a time; the answers come in their order.
pub fn ask_all(servers: &[Server], host: &Host, options: &Options) -> Vec<Asked> {
    let mut asked = Vec::with_capacity(servers.len());
    for some in servers.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|server| scope.spawn(move || ask(server, host, options)))
                .collect();
            for (thread, server) in threads.into_iter().zip(some) {
                // A panic of ours is no answer of the server's.
                asked.push(thread.join().unwrap_or_else(|_| failed_inside(server)));
            }
        });
    }
    asked
}

fn failed_inside(server: &Server) -> Asked {
    let mut answers = Answers::default();
    answers.add(Problem::new(
        Trouble::Protocol,
        "Asking it failed inside; please report this",
    ));
    Asked {
        server: server.clone(),
        launch: Value::Null,
        answers,
        stderr: String::new(),
        took: Duration::ZERO,
    }
}

/// The command that closes a sandbox and becomes the server; with the folder that has to be there until it has.
fn sandboxed(
    words: &[String],
    env: &[String],
    folder: Option<&Path>,
    host: &Host,
    options: &Options,
) -> Result<(Command, TempDir), Problem> {
    let folder = folder.filter(|folder| folder.is_dir());
    let Start { words, read } = start::start(words, folder, host, options.network)?;
    let failed = |error: std::io::Error| {
        Problem::new(Trouble::NoSandbox, "No folder could be made for its sandbox").seen(error.to_string())
    };
    let scratch = tempfile::Builder::new()
        .prefix("defenseclaw-mcp-")
        .tempdir()
        .map_err(failed)?;
    let [profiles, empty] = ["profiles", "empty"].map(|name| scratch.path().join(name));
    std::fs::create_dir(&profiles).map_err(failed)?;
    std::fs::create_dir(&empty).map_err(failed)?;
    let profile = profile(&read, options.network);
    std::fs::write(profiles.join(format!("{OWN_PROFILE}.yaml")), profile.to_string()).map_err(failed)?;
    // The home folder is no project: it would grant everything.
    let canonical = folder.and_then(|folder| folder.canonicalize().ok());
    let project = canonical.filter(|folder| !host.too_much(folder)).unwrap_or(empty);
    let mut command = Command::new(&options.launcher);
    command
        // What an MCP server in a sandbox says to the gateway would come from the operator's own user.
        .args(["run", "--without-gateway"])
        .args(["--profile", OWN_PROFILE, "--profiles"])
        .arg(&profiles)
        .arg("--project")
        .arg(&project)
        .args(["--", "/bin/sh", "-c", SCRIPT, "sh"])
        .args(environment(env, host))
        .args(&words)
        .current_dir(&project);
    Ok((command, scratch))
}

fn profile(read: &[PathBuf], network: bool) -> Value {
    // JSON is YAML. A path that is no text cannot be granted, and is then out of reach.
    let read: Vec<&str> = read
        .iter()
        .filter_map(|path| path.to_str())
        .filter(|path| !path.contains(['*', '\n']))
        .collect();
    let mut profile = json!({
        "version": 1,
        "name": OWN_PROFILE,
        "extends": PROFILE,
        "summary": "An MCP server that is asked what it offers.",
        "files": {"read": read},
    });
    if network {
        profile["network"] = json!({"mode": "full"});
    }
    profile
}

/// The server's whole environment: what every program needs, and a placeholder for each variable that its settings name.
fn environment(names: &[String], host: &Host) -> Vec<OsString> {
    let mut path = OsString::from("PATH=");
    path.push(&host.path);
    let mut variables = vec![path];
    let fixed = [
        "HOME=/tmp",
        "TMPDIR=/tmp",
        "LANG=C.UTF-8",
        "NO_COLOR=1",
        "CI=1",
        // What is not here is not fetched unless the sandbox has the network; nothing is sent home.
        "npm_config_update_notifier=false",
        "npm_config_audit=false",
        "npm_config_fund=false",
        "DO_NOT_TRACK=1",
        "PYTHONDONTWRITEBYTECODE=1",
    ];
    variables.extend(fixed.map(OsString::from));
    let plain = |name: &&String| {
        let good = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        good && !name.is_empty() && !name.starts_with("LD_") && !KEPT.contains(&name.as_str())
    };
    variables.extend(
        names
            .iter()
            .filter(plain)
            .map(|name| format!("{name}={PLACEHOLDER}").into()),
    );
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_names_and_no_values() {
        let host = Host {
            home: None,
            path: "/bin".into(),
        };
        let names = ["TOKEN", "LD_PRELOAD", "PATH", "a b", "X;Y", ""].map(str::to_owned);
        let variables = environment(&names, &host);
        let own: Vec<_> = variables
            .iter()
            .filter_map(|variable| variable.to_str()?.strip_suffix("=placeholder"))
            .collect();
        assert_eq!(own, ["TOKEN"]);
        assert!(variables.contains(&"HOME=/tmp".into()) && variables.contains(&"PATH=/bin".into()));
    }

    #[test]
    fn the_profile_grants_what_is_read_and_no_network_unless_told() {
        let read = [PathBuf::from("/srv/server"), PathBuf::from("/srv/*")];
        let without = profile(&read, false);
        assert_eq!(without["files"]["read"], json!(["/srv/server"]));
        assert_eq!(without.get("network"), None, "the one that it extends has none");
        assert_eq!(profile(&read, true)["network"]["mode"], "full");
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let server = |reach| Server {
            name: "s".into(),
            file: "/x.json".into(),
            scope: None,
            reach,
        };
        let options = Options {
            launcher: "/nowhere/defenseclaw-cli".into(),
            network: false,
            timeout: Duration::from_secs(5),
        };
        let words = |line: &str| Reach::Stdio {
            words: line.split(' ').map(str::to_owned).collect(),
            env: Vec::new(),
            folder: None,
        };
        for (reach, trouble) in [
            (Reach::Unclear("x".into()), Trouble::Unclear),
            (words("no-such-program-here"), Trouble::NotHere),
            (words("sh -c true"), Trouble::NoSandbox),
            (
                Reach::Http {
                    url: "https://example.org/mcp".into(),
                    headers: Vec::new(),
                },
                Trouble::NeedsNetwork,
            ),
            (
                Reach::Http {
                    url: "http://192.0.2.1/mcp".into(),
                    headers: Vec::new(),
                },
                Trouble::NeedsNetwork,
            ),
        ] {
            let asked = ask(&server(reach), &Host::here(), &options);
            assert_eq!(asked.answers.problems.len(), 1);
            assert_eq!(asked.answers.problems[0].trouble, trouble);
            assert!(!asked.answers.complete());
        }
    }
}
