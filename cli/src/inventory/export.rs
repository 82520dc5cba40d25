//! `inventory export` and `aibom`.

use std::path::Path;

use defenseclaw_inventory::Inventory;
use defenseclaw_inventory::cyclonedx::{Stamp, bom};
use defenseclaw_inventory::export::csv;

use super::{kept, scan};
use crate::args::inventory::{AibomOptions, ExportFormat, ExportInventoryOptions};
use crate::{Answer, CliError, Context, json, time};

/// Writes a scan for other programs.
pub(super) fn run(options: &ExportInventoryOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let inventory = kept(options.scan, context)?;
    let mut text = Vec::new();
    match options.format {
        ExportFormat::Json => json::line(&mut text, &inventory)?,
        ExportFormat::Csv => csv(&inventory, &mut text)?,
        ExportFormat::Cyclonedx => text = cyclonedx(&inventory)?,
    }
    write(&text, options.output.as_deref(), context)
}

/// Writes the bill of materials.
pub fn aibom(options: &AibomOptions, context: &mut Context<'_>) -> Result<Answer, CliError> {
    let at = &options.at;
    let asked = at.all_users || at.no_scan || !at.homes.is_empty() || !at.projects.is_empty();
    if asked && !options.fresh {
        return Err(CliError::Usage(
            "--home, --project, --all-users and --no-scan say where to scan: add --fresh".to_owned(),
        ));
    }
    let inventory = if options.fresh {
        scan::scan(at, context)?.0
    } else {
        kept(None, context)?
    };
    let text = cyclonedx(&inventory)?;
    write(&text, options.output.as_deref(), context)
}

fn cyclonedx(inventory: &Inventory) -> Result<Vec<u8>, CliError> {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
    let stamp = Stamp::new(epoch.as_deref(), time::now_ns()).map_err(CliError::Usage)?;
    let mut text = Vec::new();
    json::line(&mut text, &bom(inventory, &stamp))?;
    Ok(text)
}

fn write(text: &[u8], output: Option<&Path>, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match output {
        Some(path) => std::fs::write(path, text).map_err(|error| {
            CliError::Usage(format!(
                "the answer cannot be written to {}: {error}",
                path.display()
            ))
        })?,
        None => context.out.write_all(text)?,
    }
    Ok(Answer::Yes)
}
