//! A reply that waits for a person: its headers go out at once, so that the hook client knows that the gateway lives and
//! for how long to wait; what it says follows when it is known.
//!
//! Without this the client could not tell a gateway that asks a person from one that hangs, and would have to wait for the
//! harness's whole limit in both cases.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};

use crate::connector::{Contract, Reply};

/// After this time an answer is late. Every decision that no person takes part in is made long before.
pub const LATE: Duration = Duration::from_millis(1_500);
/// Says for how many milliseconds the client is to wait. The body then comes in chunks, and its first line says what the
/// headers of a prompt answer say: exit status, and how many of the last bytes are for standard error.
pub const HEADER: &str = "x-defenseclaw-late";
/// Before the harness's limit: for the client's own margin of 5 s, and a second for the way there and back.
const MARGIN: Duration = Duration::from_secs(6);

/// How long a harness's hook may wait for a person.
pub fn wait(contract: &Contract) -> Duration {
    contract.limit().saturating_sub(MARGIN)
}

/// The body of a late answer.
#[derive(Debug)]
pub struct LateBody<F> {
    reply: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = Reply>> LateBody<F> {
    /// Says what `reply` comes to. Dropped, when the client hangs up, it drops that too.
    pub fn new(reply: F) -> Self {
        Self {
            reply: Some(Box::pin(reply)),
        }
    }
}

impl<F: Future<Output = Reply>> Body for LateBody<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(reply) = &mut self.reply else {
            return Poll::Ready(None);
        };
        match reply.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reply) => {
                self.reply = None;
                Poll::Ready(Some(Ok(Frame::data(written(&reply)))))
            }
        }
    }
}

fn written(reply: &Reply) -> Bytes {
    let line = format!("{} {}\n", reply.exit, reply.stderr.len());
    let mut bytes = BytesMut::with_capacity(line.len() + reply.body.len() + reply.stderr.len());
    bytes.put_slice(line.as_bytes());
    bytes.put_slice(&reply.body);
    bytes.put_slice(&reply.stderr);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_reply_comes_to_and_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let reply = async {
                tokio::time::sleep(Duration::from_secs(40)).await;
                Reply {
                    exit: 2,
                    body: b"{}".to_vec(),
                    stderr: b"why".to_vec(),
                }
            };
            let body = axum::body::Body::new(LateBody::new(reply));
            let body = axum::body::to_bytes(body, 1_000).await.unwrap();
            assert_eq!(body, "2 3\n{}why");
        });
    }

    #[test]
    fn no_harness_is_waited_for_beyond_its_limit() {
        for name in crate::connector::names() {
            let contract = crate::connector::find(name).unwrap();
            assert!(wait(contract) > 2 * LATE, "{name}: no time for a person");
            assert!(wait(contract) < contract.limit(), "{name}");
        }
    }
}
