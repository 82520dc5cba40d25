//! The same attacks through other sandboxes, side by side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use defenseclaw_testkit::escape::cage::Cage;
use defenseclaw_testkit::escape::trial::{Outcome, Role, Trials, Verdict};
use defenseclaw_testkit::escape::{CaseInfo, UNPRIVILEGED};
use serde_json::json;

/// Runs every attack and twin in every peer that is here, and without any sandbox; prints a table, or one object per line.
pub(crate) fn compare(json: bool) -> Result<ExitCode> {
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
        UNPRIVILEGED
    } else {
        nix::unistd::geteuid().as_raw()
    };
    let mut sums: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for case in crate::infos() {
        let mut control = None;
        let mut row = Vec::new();
        for cage in &cages {
            let attack = trials.run(&case, Role::Attack, cage, user)?;
            let control = &*control.get_or_insert_with(|| attack.clone());
            let twin = trials.run(&case, Role::Twin, cage, user)?;
            let result = word(attack.verdict_beside(control), &twin);
            *sums
                .entry(cage.name().to_owned())
                .or_default()
                .entry(result)
                .or_default() += 1;
            if json {
                println!("{}", line(&case, cage, user, &attack, control, &twin));
            } else {
                row.push(format!("{}: {result}", cage.name()));
            }
        }
        if !json {
            println!("{:32} {}", case.name, row.join(", "));
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
        "peer": cage.name(),
        "uid": user,
        "result": attack.verdict_beside(control),
        "detail": attack.detail,
        "twin": twin.verdict,
        "twin_detail": twin.detail,
    })
    .to_string()
}
