//! Home folders of users, for harnesses whose payload does not tell theirs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Uid, User};

/// Users that are remembered; a host with more looks them up again.
const MAX_USERS: usize = 256;

/// Looks each user up once: the user database may be a slow network service.
#[derive(Debug, Default)]
pub(super) struct Homes(Mutex<HashMap<u32, Option<String>>>);

impl Homes {
    /// The user's home folder, if the system knows one.
    pub(super) async fn of(&self, uid: u32) -> Option<String> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&uid) {
            return known.clone();
        }
        let found = tokio::task::spawn_blocking(move || look_up(uid))
            .await
            .unwrap_or_default();
        let mut homes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= MAX_USERS {
            homes.clear();
        }
        homes.insert(uid, found.clone());
        found
    }
}

fn look_up(uid: u32) -> Option<String> {
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    user.dir
        .to_str()
        .filter(|home| home.starts_with('/'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_home_and_nobody_knows_user_4000000000() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let homes = Homes::default();
        for _ in 0..2 {
            assert_eq!(runtime.block_on(homes.of(0)).as_deref(), Some("/root"));
            assert_eq!(runtime.block_on(homes.of(4_000_000_000)), None);
        }
    }
}
