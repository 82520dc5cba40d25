//! `inventory scan`, `list`, `show`, `diff`, `search`, `export`, `scans`; `aibom`.

mod export;
mod gateway;
mod lists;
mod page;
mod scan;

use std::path::PathBuf;

use defenseclaw_inventory::store::{self, Store, StoreError};
use defenseclaw_inventory::{Inventory, SurveyError};

use crate::args::inventory::InventoryCommand;
use crate::{Answer, CliError, Context};

pub use export::aibom;

/// Runs one of them.
pub fn run(command: &InventoryCommand, context: &mut Context<'_>) -> Result<Answer, CliError> {
    match command {
        InventoryCommand::Scan(options) => scan::run(options, context),
        InventoryCommand::List(options) => lists::list(options, context),
        InventoryCommand::Show(options) => page::run(options, context),
        InventoryCommand::Diff(options) => lists::diff(options, context),
        InventoryCommand::Search(options) => lists::search(options, context),
        InventoryCommand::Export(options) => export::run(options, context),
        InventoryCommand::Scans(options) => lists::scans(options, context),
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::None(_) | StoreError::NoScan { .. } => Self::NotFound(error.to_string()),
            StoreError::Open { path, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::NotPermitted {
                    what: format!("{} cannot be opened: {source}", path.display()),
                    remedy: "Run as a user that may, or name another state folder in DEFENSECLAW_STATE."
                        .to_owned(),
                }
            }
            _ => Self::Usage(error.to_string()),
        }
    }
}

impl From<SurveyError> for CliError {
    fn from(error: SurveyError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The home of whoever runs this: the environment's, else that of the list of users.
fn home() -> Option<PathBuf> {
    let named = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    named.or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok()??;
        Some(user.dir)
    })
}

/// Where snapshots lie for this user.
fn place(context: &Context<'_>) -> PathBuf {
    store::place(&context.settings.config.state, home().as_deref())
}

/// The last scan, or the one of that number.
fn kept(scan: Option<u64>, context: &Context<'_>) -> Result<Inventory, CliError> {
    let store = Store::read(&place(context))?;
    Ok(match scan {
        Some(scan) => store.scan(scan)?,
        None => store.last()?,
    })
}
