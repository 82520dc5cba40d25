//! What the recorder program `actor` did, in its own words.
//!
//! `actor TAG OPERATION…` does each operation and appends a line to the file that `DEFENSECLAW_TRUTH` names. A test
//! gives every call its own tag and so knows, without any help of the sensor, which call did what.
//!
//! | Operation | Does |
//! |---|---|
//! | `create=PATH` | creates and writes a file that was not there |
//! | `write=PATH` | opens a file that is there for writing |
//! | `read=PATH` | opens a file for reading |
//! | `connect=ADDRESS:PORT` | connects over TCP |
//! | `exec=WORD` | runs itself as a child with that word among its arguments |
//! | `thread-exec=WORD` | the same from a thread that is not the main one |
//! | `daemon=PATH` | forks twice with `setsid` between, and lets the orphan create the file 200 ms later |
//! | `sleep=MS` | waits |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Names the file that the recorder appends to.
pub const TRUTH: &str = "DEFENSECLAW_TRUTH";

/// One action that was really taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The call's tag.
    pub tag: String,
    /// What.
    pub kind: ActKind,
    /// The acting process.
    pub pid: u32,
    /// Path, `address:port`, or argument: unique over a test.
    pub object: String,
}

/// Kinds of action that the sensor must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// A file was created.
    Create,
    /// A file was opened for writing.
    Write,
    /// A file was opened for reading.
    Read,
    /// A program was executed.
    Exec,
    /// A connection was begun.
    Connect,
}

impl Act {
    /// Appends the act to the file that `DEFENSECLAW_TRUTH` names, in one write, so that lines of parallel programs do
    /// not mix. The file must exist: creating it is not one of the acts.
    pub fn record(&self) -> Result<()> {
        let path = std::env::var_os(TRUTH).with_context(|| format!("{TRUTH} is not set"))?;
        let mut file = File::options().append(true).open(&path)?;
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Reads the recorded acts.
pub fn read(path: &Path) -> Result<Vec<Act>> {
    let text = fs::read_to_string(path).with_context(|| format!("no record at {}", path.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("a damaged line in the record"))
        .collect()
}

/// How well a ledger explains what was really done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// Acts that were recorded.
    pub acts: usize,
    /// Acts that the ledger holds under the right call.
    pub right: usize,
    /// Acts that the ledger holds under another call or none.
    pub wrong: Vec<String>,
    /// Acts that the ledger does not hold.
    pub unseen: Vec<String>,
}

impl Score {
    /// Compares. `seen` gives the ledger's call for each (kind, object).
    pub fn of(acts: &[Act], seen: &BTreeMap<(ActKind, String), Option<String>>) -> Self {
        let mut score = Self {
            acts: acts.len(),
            ..Self::default()
        };
        for act in acts {
            match seen.get(&(act.kind, act.object.clone())) {
                Some(Some(call)) if *call == act.tag => score.right += 1,
                Some(call) => score.wrong.push(format!(
                    "{:?} {} by pid {} belongs to {}, the ledger says {}",
                    act.kind,
                    act.object,
                    act.pid,
                    act.tag,
                    call.as_deref().unwrap_or("no call")
                )),
                None => score.unseen.push(format!(
                    "{:?} {} by pid {} of {} is not in the ledger",
                    act.kind, act.object, act.pid, act.tag
                )),
            }
        }
        score
    }

    /// Of the acts that the ledger attributes, the share that it attributes rightly (per cent).
    pub fn precision(&self) -> f64 {
        share(self.right, self.right + self.wrong.len())
    }

    /// Of all acts, the share that the ledger attributes rightly (per cent).
    pub fn recall(&self) -> f64 {
        share(self.right, self.acts)
    }

    /// Both, and every miss.
    pub fn report(&self) -> String {
        let mut text = format!(
            "{} acts: precision {:.1} %, recall {:.1} %\n",
            self.acts,
            self.precision(),
            self.recall()
        );
        for miss in self.wrong.iter().chain(&self.unseen) {
            text.push_str(&format!("  {miss}\n"));
        }
        text
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    let share = part as f64 * 100.0 / whole as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_names_every_miss() {
        let act = |tag: &str, object: &str| Act {
            tag: tag.into(),
            kind: ActKind::Create,
            pid: 1,
            object: object.into(),
        };
        let acts = [act("a", "/1"), act("a", "/2"), act("b", "/3"), act("b", "/4")];
        let seen = [("/1", Some("a")), ("/2", Some("b")), ("/3", None)];
        let seen = seen
            .map(|(o, c)| ((ActKind::Create, o.to_owned()), c.map(str::to_owned)))
            .into_iter()
            .collect();
        let score = Score::of(&acts, &seen);
        assert_eq!((score.right, score.wrong.len(), score.unseen.len()), (1, 2, 1));
        assert!((score.precision() - 100.0 / 3.0).abs() < 1e-9);
        assert!((score.recall() - 25.0).abs() < 1e-9);
        let report = score.report();
        assert!(
            report.contains("/2") && report.contains("/3") && report.contains("/4"),
            "{report}"
        );
    }
}
