//! What kind of action a tool is: by its name, and where the name is unknown by the fields of its input.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Selector`] | where in a JSON value something stands |
//! | [`ToolTable`] | names of tools with where their command, paths or addresses stand; in a harness's contract, and for all of them together in `policies/tools.yaml` |
//! | [`Place`] | working and home folder, against which relative paths are read |
//! | [`kind_of`], [`folder_of`] | the answer for a tool of no particular harness, and where it works |
//!
//! Time is linear in the input. Paths come out absolute and without `.` and `..`, by their text alone: links are the
//! kernel view's business.

mod argv;
mod patch;
mod place;
mod select;
mod table;

pub use argv::command_line;
pub use patch::paths_of_patch;
pub use place::Place;
pub use select::{Selector, SelectorError};
pub use table::{ToolFault, ToolKind, ToolRule, ToolTable, ToolTableError, folder_of, kind_of};
pub(crate) use table::{is_plain, named_programs, of_server};

#[cfg(test)]
mod tests;
