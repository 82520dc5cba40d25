//! Whose process is that? The gateway asks before it takes an operator's word.

use defenseclaw_model::ids::SessionKey;
use defenseclaw_model::wire::Whose;

use super::{Attributor, Host};

impl Attributor {
    /// By the label that the process itself carries. A label left behind by an earlier process of that pid is not its own.
    pub fn whose(&self, host: &mut dyn Host, pid: u32) -> Whose {
        let processes = host.processes();
        let Some(process) = processes.iter().find(|process| process.id.tgid == pid) else {
            return Whose::Unknown {
                reason: format!("there is no process {pid}, or it cannot be seen"),
            };
        };
        match host.label(pid) {
            Some(label) if label.start_ns == process.id.start_ns => Whose::Session {
                session: self
                    .sessions
                    .get(&SessionKey(label.session))
                    .map(|session| session.id.clone()),
            },
            _ => Whose::Nobody,
        }
    }
}
