//! Who may ask what, and how often.
//!
//! | Who | May |
//! |---|---|
//! | anyone on the socket | hooks, inspect, status, health, metrics, this document |
//! | an operator's user, or the token | also read decisions, records, approvals, events |
//! | an operator's process | also answer approvals, take grants back, reload the policy |
//!
//! Operators are root, the gateway's own user and those that the configuration names. An operator's *process* is one of them
//! that provably belongs to no agent's session ([`super::governed`]). Over TCP there is no process, so nothing is changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::StatusCode;

use super::caller::{Caller, Via};
use super::governed::Standing;
use super::{Api, Problem};

/// Requests at once after a quiet time, of one user; hooks are not counted.
const BURST: f64 = 200.0;
/// Requests each second after that.
const RATE: f64 = 100.0;
/// Users whose requests are counted; those that have not asked for longest are forgotten.
const MAX_USERS: usize = 1_024;

/// Who may ask what.
#[derive(Debug)]
pub struct Access {
    own_uid: u32,
    operators: Vec<u32>,
    by_owner: bool,
    rates: Mutex<HashMap<u32, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Access {
    /// As configured: operators besides root and this user, and whether a session's owner may answer.
    pub fn new(operators: &[u32], by_owner: bool) -> Self {
        Self {
            own_uid: nix::unistd::geteuid().as_raw(),
            operators: operators.to_vec(),
            by_owner,
            rates: Mutex::default(),
        }
    }

    /// Whether that user is an operator.
    pub fn is_operator(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid || self.operators.contains(&uid)
    }

    /// Whether that user may answer for the sessions of `owner`.
    pub fn may_answer(&self, uid: u32, owner: u32) -> bool {
        self.is_operator(uid) || (self.by_owner && uid == owner)
    }

    /// Counts a request; refuses it where this user sends too many.
    pub fn count(&self, uid: u32, now: Instant) -> Result<(), Problem> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= MAX_USERS && !rates.contains_key(&uid) {
            let oldest = rates
                .iter()
                .min_by_key(|(_, bucket)| bucket.filled)
                .map(|(uid, _)| *uid);
            oldest.and_then(|uid| rates.remove(&uid));
        }
        let bucket = rates.entry(uid).or_insert(Bucket {
            tokens: BURST,
            filled: now,
        });
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * RATE;
        bucket.tokens = (bucket.tokens + gained).min(BURST);
        bucket.filled = bucket.filled.max(now);
        if bucket.tokens < 1.0 {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("this user sends more than {RATE} requests a second; try again later"),
            ));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Refuses a caller who may not read what is recorded.
    pub fn reader(&self, caller: &Caller) -> Result<(), Problem> {
        match caller.via() {
            Via::Token { .. } => Ok(()),
            Via::Socket { peer, .. } if self.is_operator(peer.uid) => Ok(()),
            Via::Socket { peer, .. } => Err(Problem::forbidden(format!(
                "user {} may not read what is recorded here. Ask as root, or add the user to `operators` in the configuration",
                peer.uid
            ))),
        }
    }
}

impl Api {
    /// The user of an operator's process; refuses every other caller. `owner` is whose sessions it is about, where that
    /// matters.
    pub(super) async fn operator(&self, caller: &Caller, owner: Option<u32>) -> Result<u32, Problem> {
        let Via::Socket { peer, .. } = caller.via() else {
            return Err(Problem::forbidden(
                "over TCP nothing can be changed, because the system does not tell which process asks. Use the Unix socket, or \
                 defenseclaw-cli",
            ));
        };
        let may = match owner {
            Some(owner) => self.access.may_answer(peer.uid, owner),
            None => self.access.is_operator(peer.uid),
        };
        if !may {
            return Err(Problem::forbidden(format!(
                "user {} is no operator. Ask as root, or add the user to `operators` in the configuration",
                peer.uid
            )));
        }
        match self.standing(caller).await {
            Standing::Free => Ok(peer.uid),
            Standing::Governed(why) => {
                tracing::warn!(uid = peer.uid, "an operator's verb was refused: {why}");
                Err(Problem::forbidden(format!(
                    "{why}: what an agent started may not do this, whoever its user is. Use a terminal of your own"
                )))
            }
            Standing::Unknown(why) => Err(Problem::forbidden(format!(
                "it cannot be told whether this comes from an agent: {why}. Start the agent (defenseclaw-agent), or use an \
                 operator's user who runs no coding agents, in a login of its own"
            ))),
        }
    }

    /// What is known of the caller's process.
    pub(super) async fn standing(&self, caller: &Caller) -> Standing {
        let calls_hooks = self.engine.sessions().knows(caller.peer().uid);
        self.governed
            .standing(caller.process(), self.engine.agent(), calls_hooks)
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn operators_are_root_the_own_user_and_the_configured_ones() {
        let access = Access::new(&[77], false);
        let own = nix::unistd::geteuid().as_raw();
        assert!([0, own, 77].into_iter().all(|uid| access.is_operator(uid)));
        assert!(!access.is_operator(78) && !access.may_answer(78, 78));
        assert!(access.may_answer(77, 78));
        let by_owner = Access::new(&[], true);
        assert!(by_owner.may_answer(78, 78) && !by_owner.may_answer(78, 79));
        assert!(!by_owner.is_operator(78));
    }

    #[test]
    fn a_flood_of_one_user_is_refused_and_harms_no_other() {
        let access = Access::new(&[], false);
        let start = Instant::now();
        let taken = (0..1_000).filter(|_| access.count(7, start).is_ok()).count();
        assert_eq!(taken, 200);
        let refused = access.count(7, start).unwrap_err();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(access.count(8, start).is_ok());
        assert!(access.count(7, start + Duration::from_millis(20)).is_ok());
        (0..5_000).for_each(|uid| drop(access.count(uid, start + Duration::from_secs(1))));
        assert!(access.rates.lock().unwrap().len() <= MAX_USERS);
    }
}
