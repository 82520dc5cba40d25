//! `GET /v1/events`: every new record as a server-sent event.
//!
//! Records are read from the ledger at the client's own pace, a page at a time, so that a client costs one page of memory
//! however slow it is. One that falls too far behind, or takes nothing for too long, is told and dropped; it may come again
//! with `Last-Event-ID` and goes on where it was.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use defenseclaw_audit::{LedgerError, Query, Reader};
use defenseclaw_model::record::Record;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::records::weight;
use super::{Api, Caller, Problem};

/// Streams at once, and of one user. Each holds a connection and reads the ledger.
const MAX_STREAMS: usize = 32;
const MAX_STREAMS_OF_USER: usize = 8;
/// Records that are read at once, and their bytes.
const PAGE: usize = 256;
const PAGE_BYTES: usize = 4 << 20;
/// How far a client may fall behind before it is dropped (records).
const MAX_BEHIND: u64 = 50_000;
/// How long a client may take nothing.
const STALLED: Duration = Duration::from_secs(20);
/// How often a quiet stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long records are collected before they are sent: it bounds reads of the ledger under load.
const GATHER: Duration = Duration::from_millis(50);

/// The streams that are open, by user.
#[derive(Debug, Default)]
pub struct Streams(Arc<Mutex<HashMap<u32, usize>>>);

/// An open stream's place.
struct Place {
    streams: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.lock().values().sum()
    }

    fn enter(&self, uid: u32) -> Result<Place, Problem> {
        let mut open = self.lock();
        let (all, own) = (open.values().sum::<usize>(), open.get(&uid).copied().unwrap_or(0));
        if all >= MAX_STREAMS || own >= MAX_STREAMS_OF_USER {
            return Err(Problem::busy("too many event streams are open"));
        }
        *open.entry(uid).or_default() += 1;
        Ok(Place {
            streams: Arc::clone(&self.0),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = api.streams.enter(caller.peer().uid)?;
    let mut heads = api.engine.ledger().heads();
    let head = *heads.borrow_and_update();
    let after = match headers.get("last-event-id") {
        None => head,
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.trim().parse().ok())
            .ok_or_else(|| {
                Problem::bad("Last-Event-ID is the number of the last record that was received")
            })?,
    };
    let (out, body) = mpsc::channel(1);
    let stream = Stream {
        out,
        heads,
        after,
        path: api.engine.ledger().path().to_owned(),
        stopping: api.stopping.clone(),
    };
    caller.last(None);
    tokio::spawn(async move {
        stream.run(&api).await;
        caller.last(Some(Instant::now() + LAST_WORDS));
        drop(place);
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    let body = Body::new(Pages(body));
    Ok((StatusCode::OK, headers, body).into_response())
}

/// One client's stream.
struct Stream {
    out: mpsc::Sender<Bytes>,
    heads: watch::Receiver<u64>,
    after: u64,
    path: PathBuf,
    stopping: watch::Receiver<bool>,
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody reads any more.
    Gone,
    /// The client is too slow.
    Slow,
    /// The gateway stops.
    Stopping,
    /// The ledger cannot be read.
    Ledger,
}

impl Stream {
    async fn run(mut self, api: &Api) {
        let end = match self.send(Bytes::from_static(b": records follow\n\n")).await {
            Ok(()) => self.follow(api).await,
            Err(end) => end,
        };
        let reason = match end {
            End::Gone => return,
            End::Slow => "the client is too slow; go on with Last-Event-ID, or read the ledger",
            End::Stopping => "the gateway stops",
            End::Ledger => "the ledger cannot be read; see the gateway's log",
        };
        let data = serde_json::json!({"reason": reason, "last": self.after});
        let words = format!("event: dropped\ndata: {data}\n\n").into();
        let _ = self.out.send_timeout(words, LAST_WORDS).await;
    }

    async fn follow(&mut self, api: &Api) -> End {
        loop {
            let head = *self.heads.borrow_and_update();
            if head.saturating_sub(self.after) > MAX_BEHIND {
                return End::Slow;
            }
            while self.after < head {
                let (path, after) = (self.path.clone(), self.after);
                let Ok(page) = api.helped(move || Ok(page(&path, after)?)).await else {
                    return End::Ledger;
                };
                let Some((last, text)) = page else { break };
                self.after = last;
                if let Err(end) = self.send(text.into()).await {
                    return end;
                }
            }
            match self.wait().await {
                Ok(()) => tokio::time::sleep(GATHER).await,
                Err(end) => return end,
            }
        }
    }

    /// Until there are new records.
    async fn wait(&mut self) -> Result<(), End> {
        loop {
            tokio::select! {
                changed = self.heads.changed() => return changed.map_err(|_| End::Stopping),
                _ = self.stopping.wait_for(|stop| *stop) => return Err(End::Stopping),
                () = self.out.closed() => return Err(End::Gone),
                () = tokio::time::sleep(KEEP_ALIVE) => {}
            }
            self.send(Bytes::from_static(b": still here\n\n")).await?;
        }
    }

    async fn send(&self, text: Bytes) -> Result<(), End> {
        match self.out.send_timeout(text, STALLED).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(End::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(End::Slow),
        }
    }
}

/// The next records as events, and the number of the last.
fn page(path: &std::path::Path, after: u64) -> Result<Option<(u64, String)>, LedgerError> {
    let query = Query {
        after_seq: Some(after),
        limit: Some(PAGE),
        ..Query::default()
    };
    let (mut text, mut last) = (String::new(), None);
    Reader::open(path)?.visit(&query, |record| {
        if last.is_some() && text.len() + weight(&record) > PAGE_BYTES {
            return std::ops::ControlFlow::Break(());
        }
        last = Some(record.seq);
        event(&mut text, &record);
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(last.map(|last| (last, text)))
}

/// JSON has no line breaks of its own, so that one `data` line holds it.
fn event(text: &mut String, record: &Record) {
    if let Ok(json) = serde_json::to_string(record) {
        let kind = record.draft.body.kind();
        let _ = write!(text, "id: {}\nevent: {kind}\ndata: {json}\n\n", record.seq);
    }
}

/// The pages as a response's body.
struct Pages(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|page| page.map(|page| Ok(hyper::body::Frame::data(page))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_for_each_user_and_for_all() {
        let streams = Streams::default();
        let mine: Vec<_> = std::iter::from_fn(|| streams.enter(1).ok()).collect();
        assert_eq!(mine.len(), MAX_STREAMS_OF_USER);
        let others: Vec<_> = (2..100).filter_map(|uid| streams.enter(uid).ok()).collect();
        assert_eq!(
            (others.len() + mine.len(), streams.open()),
            (MAX_STREAMS, MAX_STREAMS)
        );
        drop((mine, others));
        assert_eq!(streams.open(), 0);
    }
}
