//! The kernel is told which call each process works for, so that an agent that comes after this one knows it.
//!
//! An exec is read from the ring a little after it happened. What the process has forked by then was born without the call;
//! from its image this agent knows better, the next agent has nothing but the kernel's word.

use defenseclaw_model::ids::{ImageId, ProcessId, SessionKey};

use super::images::Role;
use super::{Attributor, Host};

/// How often the labels are searched for processes that were forked during the search before.
const MAX_ROUNDS: usize = 8;

impl Attributor {
    /// Notes the call of every process that runs an image of one and was born before that was known. To be called after a
    /// turn's events; it does nothing where none of them began a call.
    pub fn settle(&mut self, host: &mut dyn Host) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        for _ in 0..MAX_ROUNDS {
            let mut fresh = 0;
            for (tgid, label) in host.labels() {
                let image = ImageId {
                    tgid: label.exec_tgid,
                    exec_ns: label.exec_ns,
                };
                let Some(call) = self.key_of_image(SessionKey(label.session), image) else {
                    continue;
                };
                let process = ProcessId {
                    tgid,
                    start_ns: label.start_ns,
                };
                if host.call(process).unwrap_or(label.call) != call {
                    host.set_call(process, call);
                    fresh += 1;
                }
            }
            if fresh == 0 {
                return;
            }
        }
    }

    fn key_of_image(&self, session: SessionKey, image: ImageId) -> Option<u64> {
        let Some(Role::Call { call, .. }) = self.role(session, image) else {
            return None;
        };
        self.sessions.get(&session).map(|known| call.key(&known.id).0)
    }
}
