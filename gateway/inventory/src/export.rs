//! Inventories for spreadsheets. As JSON an [`Inventory`] is what `serde_json` makes of it, and reads back.

use std::io::{self, Write};

use defenseclaw_model::terminal::safe;

use crate::item::{Inventory, Item};

/// The columns of the CSV.
const COLUMNS: [&str; 18] = [
    "id",
    "kind",
    "name",
    "version",
    "level",
    "path",
    "link",
    "harnesses",
    "owner_uid",
    "digest",
    "size",
    "files",
    "modified_ns",
    "severity",
    "findings",
    "admission",
    "command",
    "part_of",
];

/// Writes one line for each item below a line of headings (RFC 4180). Characters that act on a terminal are written out, and a
/// cell that a spreadsheet would take for a formula begins with an apostrophe.
pub fn csv(inventory: &Inventory, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}\r\n", COLUMNS.join(","))?;
    for item in &inventory.items {
        let cells = cells(item).map(|cell| quoted(&cell));
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

fn cells(item: &Item) -> [String; 18] {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let scan = item.scan.as_ref();
    [
        item.id.clone(),
        item.kind.as_str().to_owned(),
        item.name.clone(),
        item.version.clone().unwrap_or_default(),
        item.level.as_str().to_owned(),
        item.path.clone(),
        item.link.clone().unwrap_or_default(),
        item.connectors.join(" "),
        number(item.owner_uid.map(u64::from)),
        item.digest.clone().unwrap_or_default(),
        number(item.size),
        number(item.files),
        number(item.modified_ns),
        item.severity()
            .map(|severity| severity.as_str().to_owned())
            .unwrap_or_default(),
        number(scan.map(crate::item::ScanSummary::total)),
        item.admission
            .as_ref()
            .map(|state| state.action.as_str().to_owned())
            .unwrap_or_default(),
        item.command().unwrap_or_default(),
        item.part_of.clone().unwrap_or_default(),
    ]
}

fn quoted(cell: &str) -> String {
    let cell = safe(cell);
    let formula = cell.starts_with(['=', '+', '-', '@']);
    let mark = if formula { "'" } else { "" };
    if formula || cell.contains([',', '"']) {
        return format!("\"{mark}{}\"", cell.replace('"', "\"\""));
    }
    cell.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells_whatever_is_in_them() {
        for (cell, written) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("@sum", "\"'@sum\""),
            ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }
}
