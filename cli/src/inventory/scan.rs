//! `inventory scan`: looking, telling, keeping.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use defenseclaw_inventory::store::{ScanInfo, Store};
use defenseclaw_inventory::survey::all_homes;
use defenseclaw_inventory::{Base, Inventory, Item, ItemKind, Judge, Progress, Survey, Trouble};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::decision::Severity;
use serde_json::json;

use super::gateway::Answers;
use super::{home, place};
use crate::args::inventory::{ScanInventoryOptions, Where};
use crate::inspect::load;
use crate::table::{Cell, left, right, whole};
use crate::text::{counted, safe};
use crate::view::{Ink, severity_ink};
use crate::{Answer, CliError, Context, json, time};

/// Most things that are named below the table, for each reason; `--json` and `inventory list` have all.
const MAX_NAMED: usize = 20;

/// Looks, keeps the answer, and tells it.
pub(super) fn run(options: &ScanInventoryOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let (inventory, kept) = scan(&options.at, context)?;
    if options.json {
        for item in &inventory.items {
            json::line(context.out, item)?;
        }
        for trouble in &inventory.troubles {
            json::line(context.out, &json!({ "trouble": trouble }))?;
        }
        json::line(context.out, &json!({ "scan": kept }))?;
    } else {
        tell(&inventory, &kept, context)?;
    }
    Ok(Answer::Yes)
}

/// Looks at what the options name, and keeps it.
pub(super) fn scan(at: &Where, context: &mut Context<'_>) -> Result<(Inventory, ScanInfo), CliError> {
    // Opened first: nobody waits for a scan that cannot be kept.
    let mut store = Store::open(&place(context))?;
    let judge = judge(at, context)?;
    let (bases, troubles) = bases(at)?;
    let answers = Answers::ask(&context.settings.socket);
    let mut survey = Survey::new(&at.root, bases, judge.as_ref(), time::now_ns());
    survey.admissions = &answers;
    let shows = context.notes_are_terminal;
    let mut drawn = None;
    let mut inventory = survey.run(&mut |progress| {
        if shows {
            draw(progress, &mut drawn, context.notes);
        }
    })?;
    if drawn.is_some() {
        write!(context.notes, "\r\x1b[K")?;
    }
    inventory.troubles.extend(troubles);
    let kept = store.add(&inventory)?;
    Ok((inventory, kept))
}

/// Draws how far it is over what was drawn before, at most once for each hundredth.
fn draw(progress: Progress, drawn: &mut Option<usize>, notes: &mut dyn Write) {
    let hundredth = progress.done * 100 / progress.of.max(1);
    if *drawn == Some(hundredth) {
        return;
    }
    *drawn = Some(hundredth);
    // What cannot be drawn is no reason to stop looking.
    let _ = write!(notes, "\rlooking: {} of {}\x1b[K", progress.done, progress.of);
    let _ = notes.flush();
}

fn judge(at: &Where, context: &Context<'_>) -> Result<Option<Judge>, CliError> {
    if at.no_scan {
        return Ok(None);
    }
    let rules = load(&at.rules, &context.settings)?;
    let scanner = crate::scan::with_code(rules.detector)?;
    Ok(Some(Judge::new(scanner, rules.policy)))
}

/// The homes and projects that the options name; without any, one's own home and the folder one stands in.
fn bases(at: &Where) -> Result<(Vec<Base>, Vec<Trouble>), CliError> {
    let (mut bases, mut troubles) = (Vec::new(), Vec::new());
    if at.all_users {
        (bases, troubles) = all_homes(&at.root)?;
    }
    for home in &at.homes {
        bases.push(Base::home(home)?);
    }
    if !at.all_users && at.homes.is_empty() {
        let home = home()
            .ok_or_else(|| CliError::Usage("your home is not known: name it with --home".to_owned()))?;
        bases.push(Base::home(&home)?);
    }
    for project in &at.projects {
        bases.push(Base::project(project)?);
    }
    if at.projects.is_empty()
        && let Ok(here) = std::env::current_dir()
        && here != Path::new("/")
        && !bases.iter().any(|base| base.path() == here)
    {
        bases.push(Base::project(&here)?);
    }
    Ok((bases, troubles))
}

fn tell(inventory: &Inventory, kept: &ScanInfo, context: &mut Context<'_>) -> Result<(), CliError> {
    let view = context.view.clone();
    let columns = [
        left("KIND", 11),
        right("FOUND", 5),
        right("WARN", 4),
        right("BLOCK", 5),
        left("WORST", 8),
    ];
    let mut kinds: BTreeMap<ItemKind, Vec<&Item>> = BTreeMap::new();
    for item in &inventory.items {
        kinds.entry(item.kind).or_default().push(item);
    }
    let rows: Vec<Vec<Cell>> = kinds.iter().map(|(kind, items)| row(*kind, items)).collect();
    for line in whole(&columns, &rows, &view) {
        writeln!(context.out, "{line}")?;
    }
    let blocked = inventory
        .items
        .iter()
        .filter(|item| is(item, AdmissionAction::Block))
        .map(|item| {
            let reason = item
                .admission
                .as_ref()
                .map(|state| state.reason.as_str())
                .unwrap_or_default();
            format!("{} {}: {reason} ({})", item.kind.as_str(), item.name, item.path)
        });
    named("The policy would block", blocked.collect(), Ink::Bad, context)?;
    let troubles = inventory
        .troubles
        .iter()
        .map(|trouble| format!("{}: {}", trouble.path, trouble.message));
    named(
        "Not looked at, or not whole",
        troubles.collect(),
        Ink::Warn,
        context,
    )?;
    let found = counted(kept.items, "thing", "things");
    writeln!(
        context.out,
        "\nscan {} at {}: {found}. `inventory list` names them, `inventory diff` what changed.",
        kept.scan,
        time::local(kept.time_ns, &view.zone)
    )?;
    Ok(())
}

fn is(item: &Item, action: AdmissionAction) -> bool {
    item.admission
        .as_ref()
        .is_some_and(|state| state.action == action)
}

fn row(kind: ItemKind, items: &[&Item]) -> Vec<Cell> {
    let count = |action| {
        let count = items.iter().filter(|item| is(item, action)).count();
        if count == 0 {
            "-".to_owned()
        } else {
            count.to_string()
        }
    };
    let worst = match items.iter().filter_map(|item| item.severity()).max() {
        None => Cell("?".to_owned(), Ink::Faint),
        Some(Severity::None) => Cell("-".to_owned(), Ink::Faint),
        Some(severity) => Cell(severity.as_str().to_owned(), severity_ink(severity)),
    };
    vec![
        Cell::from(kind.as_str().to_owned()),
        Cell::from(items.len().to_string()),
        Cell(count(AdmissionAction::Warn), Ink::Plain),
        Cell(count(AdmissionAction::Block), Ink::Plain),
        worst,
    ]
}

/// A heading and lines of foreign text below it, of which the first are shown.
fn named(heading: &str, lines: Vec<String>, ink: Ink, context: &mut Context<'_>) -> Result<(), CliError> {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(context.out, "\n{}:", context.view.paint(ink, heading))?;
    for line in lines.iter().take(MAX_NAMED) {
        writeln!(context.out, "  {}", safe(line))?;
    }
    if lines.len() > MAX_NAMED {
        writeln!(
            context.out,
            "  … and {} more (--json has all)",
            lines.len() - MAX_NAMED
        )?;
    }
    Ok(())
}
