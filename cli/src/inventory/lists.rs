//! Tables: `inventory list`, `search`, `diff`, `scans`.

use defenseclaw_inventory::diff::{self, Became, Change};
use defenseclaw_inventory::item::{Details, Package};
use defenseclaw_inventory::{Inventory, Item, Store};
use defenseclaw_model::admission::AdmissionAction;
use defenseclaw_model::decision::Severity;

use super::{kept, place};
use crate::args::inventory::{DiffOptions, ListInventoryOptions, ScansOptions, SearchOptions};
use crate::table::{Cell, left, right, whole};
use crate::text::{cut, safe};
use crate::view::{Ink, severity_ink};
use crate::{Answer, CliError, Context, json, time};

/// Widest name or version of a table (columns): more is for `show`.
const WIDEST: usize = 40;

/// Prints what a scan found.
pub(super) fn list(options: &ListInventoryOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let inventory = kept(options.scan, context)?;
    let wanted = |item: &&Item| options.kinds.is_empty() || options.kinds.contains(&item.kind);
    let items: Vec<&Item> = inventory.items.iter().filter(wanted).collect();
    print(&items, options.json, context)
}

/// Prints what has a text in it.
pub(super) fn search(options: &SearchOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let text = options.text.to_lowercase();
    let inventory = kept(None, context)?;
    let items: Vec<&Item> = inventory.items.iter().filter(|item| has(item, &text)).collect();
    print(&items, options.json, context)
}

/// Whether something's name, path, command, package, digest or findings have a text in lower case.
fn has(item: &Item, text: &str) -> bool {
    let mut texts = vec![
        item.id.clone(),
        item.name.clone(),
        item.path.clone(),
        item.kind.as_str().to_owned(),
    ];
    texts.extend(item.version.clone());
    texts.extend(item.link.clone());
    texts.extend(item.digest.clone());
    texts.extend(item.command());
    texts.extend(item.connectors.iter().cloned());
    let package = match &item.details {
        Details::Harness { package, product, .. } => {
            texts.push(product.clone());
            package.as_ref()
        }
        Details::Server(server) => {
            texts.extend(server.env.iter().cloned());
            server.package.as_ref()
        }
        Details::Extension { marketplace, .. } => {
            texts.extend(marketplace.clone());
            None
        }
        _ => None,
    };
    texts.extend(package.map(|Package { name, .. }| name.clone()));
    let findings = item.scan.iter().flat_map(|scan| &scan.findings);
    texts.extend(findings.map(|finding| finding.rule.clone()));
    texts.iter().any(|one| one.to_lowercase().contains(text))
}

fn print(items: &[&Item], as_json: bool, context: &mut Context<'_>) -> Result<Answer, CliError> {
    if as_json {
        for item in items {
            json::line(context.out, item)?;
        }
    } else if !items.is_empty() {
        table(items, context)?;
    }
    if items.is_empty() {
        writeln!(
            context.notes,
            "defenseclaw-cli: nothing of that is in the inventory"
        )?;
        return Ok(Answer::No);
    }
    Ok(Answer::Yes)
}

/// The items as a table.
pub(super) fn table(items: &[&Item], context: &mut Context<'_>) -> Result<(), CliError> {
    let columns = [
        left("ID", 12),
        left("KIND", 8),
        left("NAME", 8),
        left("VERSION", 7),
        left("LEVEL", 7),
        left("WORST", 5),
        left("ADMITTED", 8),
        left("PATH", 8),
    ];
    let rows: Vec<Vec<Cell>> = items.iter().map(|item| row(item)).collect();
    for line in whole(&columns, &rows, &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(())
}

fn short(text: &str) -> String {
    cut(&safe(text), WIDEST).into_owned()
}

fn row(item: &Item) -> Vec<Cell> {
    let severity = item.severity();
    let worst = match severity {
        None => Cell("?".to_owned(), Ink::Faint),
        Some(Severity::None) => Cell("-".to_owned(), Ink::Faint),
        Some(severity) => Cell(severity.as_str().to_owned(), severity_ink(severity)),
    };
    let action = item.admission.as_ref().map(|state| state.action);
    let admitted = action.map_or("-", AdmissionAction::as_str).to_owned();
    vec![
        Cell(item.id.clone(), Ink::Faint),
        Cell::from(item.kind.as_str().to_owned()),
        Cell(short(&item.name), Ink::Strong),
        Cell::from(item.version.as_deref().map_or_else(|| "-".to_owned(), short)),
        Cell::from(item.level.as_str().to_owned()),
        worst,
        Cell(admitted, action_ink(action)),
        Cell::from(safe(&item.path).into_owned()),
    ]
}

/// The ink for what becomes of something.
pub(super) fn action_ink(action: Option<AdmissionAction>) -> Ink {
    match action {
        None => Ink::Faint,
        Some(AdmissionAction::Allow) => Ink::Good,
        Some(AdmissionAction::Warn) => Ink::Warn,
        Some(AdmissionAction::Block) => Ink::Bad,
    }
}

/// Prints what changed.
pub(super) fn diff(options: &DiffOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let store = Store::read(&place(context))?;
    let after = store.last()?;
    let before = earlier(options.since.as_deref(), &store, context)?;
    if before.roots != after.roots {
        writeln!(
            context.notes,
            "defenseclaw-cli: the two scans looked at different homes or projects ({}; {}): what lies only in one is told, too",
            safe(&before.roots.join(", ")),
            safe(&after.roots.join(", "))
        )?;
    }
    let diff = diff::between(&before, &after);
    if options.json {
        for change in &diff.changes {
            json::line(context.out, change)?;
        }
        return Ok(Answer::Yes);
    }
    let zone = context.view.zone.clone();
    let (from, to) = (
        time::local(diff.before_ns, &zone),
        time::local(diff.after_ns, &zone),
    );
    if diff.changes.is_empty() {
        writeln!(context.out, "Nothing changed between {from} and {to}.")?;
        return Ok(Answer::Yes);
    }
    writeln!(context.out, "From {from} to {to}:")?;
    for change in &diff.changes {
        tell(change, context)?;
    }
    Ok(Answer::Yes)
}

fn earlier(since: Option<&str>, store: &Store, context: &Context<'_>) -> Result<Inventory, CliError> {
    let Some(since) = since else {
        let scans = store.scans()?;
        let before = scans.len().checked_sub(2).and_then(|place| scans.get(place));
        let before = before.ok_or_else(|| {
            CliError::NotFound("there is one scan only: scan again later, then ask what changed".to_owned())
        })?;
        return Ok(store.scan(before.scan)?);
    };
    if let Ok(scan) = since.parse() {
        return Ok(store.scan(scan)?);
    }
    let time_ns = time::parse_instant(since, time::now_ns(), &context.view.zone)
        .map_err(|error| CliError::Usage(format!("--since: {error}, or a scan's number")))?;
    Ok(store.as_of(time_ns)?)
}

fn tell(change: &Change, context: &mut Context<'_>) -> Result<(), CliError> {
    let (sign, ink) = match change.became {
        Became::Added => ("+", Ink::Good),
        Became::Removed => ("-", Ink::Bad),
        Became::Changed => ("~", Ink::Warn),
    };
    writeln!(
        context.out,
        "{} {} {}  {}",
        context.view.paint(ink, sign),
        change.kind.as_str(),
        context.view.paint(Ink::Strong, &safe(&change.name)),
        context.view.paint(Ink::Faint, &safe(&change.path))
    )?;
    for field in &change.fields {
        let text = |text: &str| {
            if text.is_empty() {
                "nothing".to_owned()
            } else {
                safe(text).into_owned()
            }
        };
        writeln!(
            context.out,
            "    {}: {} → {}",
            field.field,
            text(&field.before),
            text(&field.after)
        )?;
    }
    Ok(())
}

/// Prints the scans that are kept.
pub(super) fn scans(options: &ScansOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let scans = Store::read(&place(context))?.scans()?;
    if options.json {
        for scan in &scans {
            json::line(context.out, scan)?;
        }
        return Ok(Answer::Yes);
    }
    let columns = [
        right("SCAN", 4),
        left("TIME", 23),
        right("THINGS", 6),
        right("NOT LOOKED AT", 13),
        left("WHERE", 8),
    ];
    let zone = context.view.zone.clone();
    let rows = scans.iter().map(|scan| {
        vec![
            Cell::from(scan.scan.to_string()),
            Cell::from(time::local(scan.time_ns, &zone)),
            Cell::from(scan.items.to_string()),
            Cell::from(scan.troubles.to_string()),
            Cell::from(safe(&scan.roots.join(", ")).into_owned()),
        ]
    });
    for line in whole(&columns, &rows.collect::<Vec<_>>(), &context.view) {
        writeln!(context.out, "{line}")?;
    }
    Ok(Answer::Yes)
}
