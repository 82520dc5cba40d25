//! `train calls`: the model beside the rules about tool calls.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use defenseclaw_detect::linear::{self, Model};
use defenseclaw_testkit::evaluation::collection::{self, Case};
use defenseclaw_testkit::evaluation::score::Rate;
use defenseclaw_testkit::learning::calls::{
    COMPANY, Known, Outcome, cross, digest, in_company, known, material, outcome, scores_of,
};

use super::percent;

pub(super) fn train(folder: &Path, misses: bool) -> Result<Model> {
    let (cases, examination) = material(collection::read(folder)?);
    let (known, examined) = (known(&cases)?, known(&examination)?);
    let (outcomes, mut model) = cross(&known);
    model.trained = digest(&cases, linear::concepts());
    let mut rows: Vec<(&Known, Outcome)> = known.iter().zip(outcomes).collect();
    rows.extend(examined.iter().map(|one| {
        let scores = scores_of(&model, one);
        (one, outcome(&model, one, scores))
    }));
    println!(
        "{:22} {:>16} {:>16} {:>18}",
        "left out", "attacks stopped", "twins stopped", "everyday stopped"
    );
    let authors: BTreeSet<&str> = known
        .iter()
        .chain(&examined)
        .map(|one| one.lesson.set.as_str())
        .collect();
    for author in authors {
        line(author, &rows, |one| one.lesson.set == author);
    }
    line("strangers", &rows, |one| one.lesson.set != "own");
    println!(
        "told from {}, high from {}, doubt below {} (65536 is one)",
        model.medium, model.high, model.doubt
    );
    company(&examination, &model)?;
    if misses {
        for (one, outcome) in rows
            .iter()
            .filter(|(one, outcome)| one.lesson.attack != outcome.both)
        {
            let rules = if outcome.rules { "stopped" } else { "-" };
            println!(
                "{} {} rules {rules} score {} doubt {}",
                one.id, one.category, outcome.score, outcome.doubt
            );
        }
    }
    Ok(model)
}

/// What becomes of the examinations when everyday work stands beside each call.
fn company(examination: &[Case], model: &Model) -> Result<()> {
    println!(
        "\n{:58} {:>16} {:>16}",
        "examined in company", "attacks stopped", "twins stopped"
    );
    for form in std::iter::once("{}").chain(COMPANY) {
        let examined = known(&in_company(examination, form))?;
        let rate = |attack: bool| {
            let those = || examined.iter().filter(|one| one.lesson.attack == attack);
            let stopped = those().filter(|one| outcome(model, one, scores_of(model, one)).both);
            percent(&Rate::new(stopped.count(), those().count()))
        };
        println!("{form:58} {:>16} {:>16}", rate(true), rate(false));
    }
    Ok(())
}

fn line(name: &str, rows: &[(&Known, Outcome)], fits: impl Fn(&Known) -> bool) {
    type Which = fn(&Known) -> bool;
    type Of = fn(&Outcome) -> bool;
    let rate = |which: Which, of: Of| {
        let those = || rows.iter().filter(|(one, _)| fits(one) && which(one));
        percent(&Rate::new(
            those().filter(|(_, outcome)| of(outcome)).count(),
            those().count(),
        ))
    };
    for (what, of) in [
        ("rules", (|one: &Outcome| one.rules) as Of),
        ("and model", |one| one.both),
    ] {
        println!(
            "{name:12} {what:9} {:>16} {:>16} {:>18}",
            rate(|one| one.lesson.attack, of),
            rate(|one| !one.lesson.attack && !one.lesson.ordinary, of),
            rate(|one| one.lesson.ordinary, of),
        );
    }
}
