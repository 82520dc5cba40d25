//! Asking a person about what lies outside of a profile, by way of the gateway's approvals.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defenseclaw_model::api::{SandboxAnswer, SandboxAsk, SandboxAsked, Scope};
use defenseclaw_sandbox::supervise::{Answer, People, Question};

use crate::gateway;

/// How often the gateway is asked what became of a question.
const PAUSE: Duration = Duration::from_millis(300);

/// People who answer `approvals`.
pub(super) struct ByApproval {
    socket: PathBuf,
    profile: String,
    project: String,
}

impl ByApproval {
    pub(super) fn new(socket: &Path, profile: &str, project: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            profile: profile.to_owned(),
            project: project.display().to_string(),
        }
    }
}

impl People for ByApproval {
    fn ask(&self, question: &Question, deadline: Instant) -> Answer {
        let ask = SandboxAsk {
            program: question
                .program
                .as_ref()
                .map_or_else(|| "a program".to_owned(), |program| program.display().to_string()),
            action: question.action.to_string(),
            reason: question.reason.clone(),
            profile: self.profile.clone(),
            project: self.project.clone(),
            wait_s: deadline.saturating_duration_since(Instant::now()).as_secs(),
        };
        // Without a gateway nobody can be asked: refused, and asked again the next time.
        let Ok(SandboxAsked { id }) = gateway::post(&self.socket, "/v1/sandbox/questions", &ask) else {
            return Answer::Nobody;
        };
        let path = format!("/v1/sandbox/questions/{}", gateway::part(&id));
        while Instant::now() < deadline && !question.withdrawn() {
            match gateway::get(&self.socket, &path, gateway::QUICK) {
                Ok(SandboxAnswer::Waiting) => std::thread::sleep(PAUSE),
                Ok(SandboxAnswer::Approved { scope: Scope::Once }) => return Answer::Once,
                Ok(SandboxAnswer::Approved { .. }) => return Answer::ForRun,
                Ok(SandboxAnswer::Denied) => return Answer::Deny,
                Ok(SandboxAnswer::Unanswered) | Err(_) => return Answer::Nobody,
            }
        }
        Answer::Nobody
    }
}
