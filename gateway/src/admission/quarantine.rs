//! What operators do with what was taken away. The agent holds it; the gateway says who asks, and writes the ledger.

use defenseclaw_model::gate::{
    ListName, ListVerb, QuarantineEntry, QuarantineOutcome, QuarantineVerb, Release,
};

use super::{Admissions, ListsError};
use crate::agent::NoAnswer;
use crate::ledger_writer::AppendError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// Nobody holds a quarantine.
    #[error("no agent is connected, and the quarantine is in its hands: start defenseclaw-agent")]
    NoAgent,
    /// The agent did not answer.
    #[error("{0}")]
    NoAnswer(String),
    /// The agent does not do it.
    #[error("{0}")]
    Refused(String),
    /// There is no such entry.
    #[error("there is nothing in quarantine as {0:?}; `defenseclaw-cli gate list` prints what there is")]
    Unknown(String),
    /// The allow list.
    #[error("it was not released: {0}")]
    Lists(#[from] ListsError),
    /// It happened and could not be recorded.
    #[error("it was done, and could not be recorded: {0}")]
    Unrecorded(AppendError),
}

/// What an operator wants done with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Put it back; it is scanned again when it is opened.
    Restore,
    /// Allow its content, and put it back.
    Release(Release),
    /// Delete it for good.
    Delete,
}

impl Admissions {
    /// Everything in quarantine.
    pub async fn quarantine(&self) -> Result<Vec<QuarantineEntry>, QuarantineError> {
        self.ask(QuarantineVerb::List).await
    }

    /// Does it; gives the entry.
    pub async fn deal_with(
        &self,
        id: &str,
        wish: Wish,
        by_uid: u32,
    ) -> Result<QuarantineEntry, QuarantineError> {
        let entries = self.quarantine().await?;
        let entry = entries.into_iter().find(|entry| entry.id == id);
        let entry = entry.ok_or_else(|| QuarantineError::Unknown(id.to_owned()))?;
        let id = id.to_owned();
        let (verb, state) = match wish {
            Wish::Restore => (QuarantineVerb::Restore { id }, "restored"),
            Wish::Delete => (QuarantineVerb::Delete { id }, "deleted"),
            Wish::Release(release) => {
                // First, so that it is admitted when it is opened again.
                let verb = ListVerb::Add {
                    list: ListName::Allow,
                    kind: Some(entry.artifact.kind),
                    name: None,
                    digest: Some(entry.artifact.digest.clone()),
                    reason: release.reason,
                    for_s: release.for_s,
                };
                self.change_lists(verb, by_uid).await?;
                (QuarantineVerb::Restore { id }, "released")
            }
        };
        let _turn = self.moving.lock().await;
        self.ask(verb).await?;
        self.record_move(entry.clone(), state, Some(by_uid))
            .await
            .map_err(QuarantineError::Unrecorded)?;
        Ok(entry)
    }

    async fn ask(&self, verb: QuarantineVerb) -> Result<Vec<QuarantineEntry>, QuarantineError> {
        match self.link.quarantine(verb).await {
            Ok(QuarantineOutcome::Done { entries }) => Ok(entries),
            Ok(QuarantineOutcome::Refused { reason }) => Err(QuarantineError::Refused(reason)),
            Err(NoAnswer::NoAgent) => Err(QuarantineError::NoAgent),
            Err(NoAnswer::Failed(why)) => Err(QuarantineError::NoAnswer(why)),
        }
    }
}
