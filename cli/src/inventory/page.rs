//! `inventory show`: everything about one thing.

use defenseclaw_inventory::item::{AdmissionSource, Details, Package, ServerDetails};
use defenseclaw_inventory::{Inventory, Item};

use super::{kept, lists::action_ink};
use crate::args::inventory::ShowItemOptions;
use crate::text::{counted, safe};
use crate::view::{Ink, severity_ink};
use crate::{Answer, CliError, Context, json, time};

/// Shortest beginning of an id that is taken for one.
const SHORTEST: usize = 4;

/// Prints what has that id or name: of several things with one name, all.
pub(super) fn run(options: &ShowItemOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let inventory = kept(None, context)?;
    let items = named(&inventory, &options.item);
    if items.is_empty() {
        let what = &options.item;
        return Err(CliError::NotFound(format!(
            "nothing in the inventory has the id or name {what:?}; `inventory search` looks for parts of names"
        )));
    }
    for (place, item) in items.iter().enumerate() {
        if options.json {
            json::line(context.out, item)?;
            continue;
        }
        if place > 0 {
            writeln!(context.out)?;
        }
        show(item, &inventory, context)?;
    }
    Ok(Answer::Yes)
}

fn named<'i>(inventory: &'i Inventory, text: &str) -> Vec<&'i Item> {
    let by = |fits: &dyn Fn(&Item) -> bool| {
        inventory
            .items
            .iter()
            .filter(|item| fits(item))
            .collect::<Vec<_>>()
    };
    let by_name = by(&|item| item.name == text || item.id == text);
    if by_name.is_empty() && text.len() >= SHORTEST {
        return by(&|item| item.id.starts_with(text));
    }
    by_name
}

fn show(item: &Item, inventory: &Inventory, context: &mut Context<'_>) -> Result<(), CliError> {
    let version = item
        .version
        .as_deref()
        .map(|version| format!(" {}", safe(version)));
    let name = context.view.paint(Ink::Strong, &safe(&item.name));
    writeln!(
        context.out,
        "{} {name}{}",
        item.kind.as_str(),
        version.unwrap_or_default()
    )?;
    let zone = context.view.zone.clone();
    let whole = item.part_of.as_ref().map(|id| {
        let whole = inventory.items.iter().find(|other| other.id == *id);
        whole.map_or_else(
            || id.clone(),
            |whole| format!("{} {} ({id})", whole.kind.as_str(), whole.name),
        )
    });
    let facts = [
        ("id", Some(item.id.clone())),
        ("path", Some(item.path.clone())),
        ("leads to", item.link.clone()),
        ("level", Some(item.level.as_str().to_owned())),
        ("read by", Some(item.connectors.join(", "))),
        ("part of", whole),
        ("owner", item.owner_uid.map(|uid| format!("uid {uid}"))),
        ("digest", item.digest.clone()),
        ("size", item.size.map(|size| counted(size, "byte", "bytes"))),
        ("files", item.files.map(|files| files.to_string())),
        ("written", item.modified_ns.map(|at| time::local(at, &zone))),
    ];
    let facts = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
    for (name, fact) in facts.chain(details(&item.details)) {
        writeln!(context.out, "  {name:<12}{}", safe(&fact))?;
    }
    admission(item, context)?;
    findings(item, context)?;
    let parts: Vec<&Item> = inventory
        .items
        .iter()
        .filter(|other| other.part_of.as_ref() == Some(&item.id))
        .collect();
    if !parts.is_empty() {
        writeln!(context.out, "  parts")?;
    }
    for part in parts {
        writeln!(
            context.out,
            "    {} {} {}",
            part.id,
            part.kind.as_str(),
            safe(&part.name)
        )?;
    }
    Ok(())
}

fn package(package: &Package) -> String {
    match &package.version {
        Some(version) => format!("{} {} {version}", package.registry, package.name),
        None => format!(
            "{} {}, whichever version is newest",
            package.registry, package.name
        ),
    }
}

/// What only things of its kind have.
fn details(details: &Details) -> Vec<(&'static str, String)> {
    let all = match details {
        Details::None => Vec::new(),
        Details::Harness {
            product,
            supplier,
            how,
            package: found,
        } => vec![
            ("product", Some(format!("{product}, by {supplier}"))),
            ("installed by", Some(how.clone())),
            ("package", found.as_ref().map(package)),
        ],
        Details::Extension {
            license,
            author,
            marketplace,
            ours,
        } => vec![
            ("licence", license.clone()),
            ("author", author.clone()),
            ("marketplace", marketplace.clone()),
            ("whose", ours.then(|| "DefenseClaw's own".to_owned())),
        ],
        Details::Server(server) => of_server(server),
        Details::Hook {
            event,
            matcher,
            command,
            ours,
        } => vec![
            ("event", Some(event.clone())),
            ("matches", matcher.clone()),
            ("runs", Some(command.clone())),
            ("whose", ours.then(|| "DefenseClaw's own".to_owned())),
        ],
        Details::Model { provider, setting } => {
            vec![("setting", Some(setting.clone())), ("provider", provider.clone())]
        }
        Details::Tool { source } => vec![("told by", Some(source.clone()))],
    };
    all.into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)))
        .collect()
}

fn of_server(server: &ServerDetails) -> Vec<(&'static str, Option<String>)> {
    let joined = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    let words = server.command.iter().chain(&server.args).map(String::as_str);
    let words = server
        .command
        .is_some()
        .then(|| words.collect::<Vec<_>>().join(" "));
    vec![
        ("transport", Some(server.transport.clone())),
        ("command", words),
        ("address", server.url.clone()),
        ("package", server.package.as_ref().map(package)),
        ("variables", joined(&server.env)),
        ("headers", joined(&server.headers)),
        ("project", server.project.clone()),
        ("state", server.disabled.then(|| "switched off".to_owned())),
    ]
}

fn admission(item: &Item, context: &mut Context<'_>) -> Result<(), CliError> {
    let Some(state) = &item.admission else {
        return Ok(());
    };
    let action = context
        .view
        .paint(action_ink(Some(state.action)), state.action.as_str());
    let source = match state.source {
        AdmissionSource::Policy => "by the policy, asked by this scan",
        AdmissionSource::Gateway => "by the gateway, when the gate asked",
    };
    writeln!(
        context.out,
        "  {:<12}{action}: {} ({source})",
        "admission",
        safe(&state.reason)
    )?;
    if let Some(signer) = &state.signed_by {
        writeln!(context.out, "  {:<12}{}", "signed by", safe(signer))?;
    }
    Ok(())
}

fn findings(item: &Item, context: &mut Context<'_>) -> Result<(), CliError> {
    let Some(scan) = &item.scan else { return Ok(()) };
    if scan.findings.is_empty() {
        writeln!(
            context.out,
            "  {:<12}{}",
            "findings",
            context.view.paint(Ink::Good, "none")
        )?;
        return Ok(());
    }
    writeln!(
        context.out,
        "  {:<12}{}",
        "findings",
        counted(scan.total(), "finding", "findings")
    )?;
    for finding in &scan.findings {
        let severity = context
            .view
            .paint(severity_ink(finding.severity), finding.severity.as_str());
        let place = match (finding.file.as_str(), finding.line) {
            ("", _) => String::new(),
            (file, 0) => format!(" {}", safe(file)),
            (file, line) => format!(" {}:{line}", safe(file)),
        };
        writeln!(
            context.out,
            "    {severity} {}{place}: {}",
            safe(&finding.rule),
            safe(&finding.message)
        )?;
    }
    let more = scan.total().saturating_sub(scan.findings.len() as u64);
    if more > 0 {
        writeln!(context.out, "    … and {more} more: `scan` of its path has all")?;
    }
    Ok(())
}
