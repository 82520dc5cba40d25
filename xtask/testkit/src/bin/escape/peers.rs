//! The same attacks through other sandboxes, side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use defenseclaw_testkit::escape::cage::Cage;
use defenseclaw_testkit::escape::trial::{Outcome, Role, Trials, Verdict};
use defenseclaw_testkit::escape::{CaseInfo, UNPRIVILEGED};
use serde_json::json;

/// An ordinary user that the database knows, which firejail asks for; else a made-up one.
fn ordinary_user() -> u32 {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users
        .lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
        .find(|user| (1000..60_000).contains(user))
        .unwrap_or(UNPRIVILEGED)
}

/// Runs every attack and twin in every peer that is here, and without any sandbox; prints a table, or one object per line.
pub(crate) fn compare(options: &[&str]) -> Result<ExitCode> {
    let json = options.contains(&"--json");
    let part = options
        .iter()
        .find(|word| !word.starts_with("--"))
        .copied()
        .unwrap_or_default();
    let escape = std::env::current_exe().context("cannot tell which program is running")?;
    let cli =
        std::env::var_os("DEFENSECLAW_BIN_DIR").map(|folder| PathBuf::from(folder).join("defenseclaw-cli"));
    let launcher = cli.clone().unwrap_or_else(|| PathBuf::from("/nonexistent"));
    let trials = Trials::new(&escape, &launcher)?;
    let mut cages = vec![Cage::None];
    if let Some(cli) = cli {
        cages.push(Cage::Ours {
            cli,
            profile: "network-none".to_owned(),
            watch: true,
        });
    }
    for (cage, missing) in Cage::peers() {
        match missing {
            None => cages.push(cage),
            Some(why) if json => println!("{}", json!({"peer": cage.name(), "not_run": why})),
            Some(why) => println!("not run: {}: {why}", cage.name()),
        }
    }
    // Most people start agents as themselves; root only serves to become somebody.
    let root = nix::unistd::geteuid().is_root();
    let user = if root {
        ordinary_user()
    } else {
        nix::unistd::geteuid().as_raw()
    };
    let mut cases = crate::infos();
    cases.retain(|case| case.name.contains(part));
    let rows = rows(&cases, &|case| {
        cages
            .iter()
            .map(|cage| {
                let attack = trials.run(case, Role::Attack, cage, user)?;
                Ok((attack, trials.run(case, Role::Twin, cage, user)?))
            })
            .collect()
    });
    let mut sums: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (case, row) in cases.iter().zip(rows) {
        let row = row?;
        let Some((control, _)) = row.first() else { continue };
        let mut words = Vec::new();
        for (cage, (attack, twin)) in cages.iter().zip(&row) {
            let result = word(attack.verdict_beside(control), twin);
            *sums.entry(cage.name()).or_default().entry(result).or_default() += 1;
            words.push(format!("{}: {result}", cage.name()));
            if json {
                println!("{}", line(case, cage, user, attack, control, twin));
            }
        }
        if !json {
            println!("{:32} {}", case.name, words.join(", "));
        }
    }
    for (name, sums) in &sums {
        if json {
            println!("{}", json!({"peer": name, "sum": sums}));
        } else {
            println!("{name}: {sums:?}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Attack and twin in each cage.
type Row = Result<Vec<(Outcome, Outcome)>>;

/// One row for each case, in their order, made side by side: a trial waits more than it works.
fn rows(cases: &[CaseInfo], make: &(dyn Fn(&CaseInfo) -> Row + Sync)) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Row)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let row = make(case);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, row));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, row)| row).collect()
}

/// One word for an attack and its twin: a sandbox in which nothing works holds everything.
fn word(attack: Verdict, twin: &Outcome) -> &'static str {
    match (attack, twin.verdict) {
        (Verdict::Escaped, _) => "escaped",
        (Verdict::Absent, _) => "not applicable",
        (Verdict::Broken, _) => "did not run",
        (Verdict::Held, Verdict::Escaped) => "held",
        (Verdict::Held, _) => "held, twin refused",
    }
}

fn line(
    case: &CaseInfo,
    cage: &Cage,
    user: u32,
    attack: &Outcome,
    control: &Outcome,
    twin: &Outcome,
) -> String {
    json!({
        "attack": case.name,
        "theme": case.theme,
        "judge": case.judge,
        "peer": cage.name(),
        "uid": user,
        "result": attack.verdict_beside(control),
        "detail": attack.detail,
        "twin": twin.verdict,
        "twin_detail": twin.detail,
    })
    .to_string()
}
