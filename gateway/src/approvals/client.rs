//! Whether anybody still waits for the answer.
//!
//! A decision that has begun is finished, whoever hangs up; but a call whose hook client is gone must not stay in the queue,
//! where a person could approve what will never run. The server runs each decision [`on_behalf_of`] its client, and the
//! queue asks here whether that client is still there.

use tokio::sync::watch;

tokio::task_local! {
    static CLIENT: Client;
}

/// Seen from the decision: whether the client is still there.
#[derive(Debug, Clone)]
pub struct Client(watch::Receiver<()>);

/// Held by the connection; dropping it says that the client is gone.
#[derive(Debug)]
pub struct Presence(#[expect(dead_code, reason = "held for its drop")] watch::Sender<()>);

/// A client that is there until its presence is dropped.
pub fn arrive() -> (Presence, Client) {
    let (here, seen) = watch::channel(());
    (Presence(here), Client(seen))
}

/// Runs `work` for that client.
pub async fn on_behalf_of<T>(client: Client, work: impl Future<Output = T>) -> T {
    CLIENT.scope(client, work).await
}

/// Returns once the client of the present task is gone; never where it has none.
pub(super) async fn gone() {
    match CLIENT.try_with(Clone::clone) {
        // An error is what the receiver sees of a dropped sender; nothing is ever sent.
        Ok(Client(mut seen)) => while seen.changed().await.is_ok() {},
        Err(_) => std::future::pending().await,
    }
}
