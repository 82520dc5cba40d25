//! One agent's connection from its first frame to its end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use defenseclaw_model::activity::{Action, ExitStatus};
use defenseclaw_model::ids::{CallId, SessionId};
use defenseclaw_model::record::{Draft, RecordBody};
use defenseclaw_model::sandbox::{RUN, RUN_CALL};
use defenseclaw_model::wire::{
    AgentStatus, Cursor, MAX_BATCH, MAX_UNACKNOWLEDGED, ToAgent, ToGateway, WIRE_VERSION,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};

use super::frame::{Decoder, FrameError, encode};
use super::link::{AgentLink, QUEUE};
use crate::admission::Admissions;
use crate::clock;
use crate::judge::Judge;
use crate::ledger_writer::{AppendError, Bundle, LedgerWriter, SensorBatch};
use crate::sessions::Sessions;

/// How long a new connection may take to introduce itself.
const HELLO: Duration = Duration::from_secs(5);
/// An agent sends its status every few seconds; one that is silent for so long is stopped or stuck, and every tool call
/// would wait for it.
const SILENCE: Duration = Duration::from_secs(30);
/// Batches that wait to be judged: as many as an agent sends without an acknowledgement. Beyond it nothing more is read.
const BATCHES: usize = MAX_UNACKNOWLEDGED;
/// Pause before a batch is tried again that the ledger did not take.
const RETRY: Duration = Duration::from_millis(500);
/// Questions of the install gate at once, each of at most a frame. Beyond it nothing more is read until one is answered.
const QUESTIONS: usize = 16;
/// Connections at once, waiting ones included. There is one agent; a few more are its successors.
const CONNECTIONS: usize = 4;

/// Everything that a connection needs.
pub struct Agents {
    /// The place that it takes.
    pub link: Arc<AgentLink>,
    /// What it is told first.
    pub sessions: Arc<Mutex<Sessions>>,
    /// Where its records go.
    pub ledger: LedgerWriter,
    /// What is made of them.
    pub judge: Judge,
    /// What the install gate asks.
    pub admissions: Arc<Admissions>,
    /// Held by the connection whose batches are being appended. The next one must not be told where the ledger stands before
    /// everything that the one before sent is in.
    pub appending: tokio::sync::Mutex<()>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it closed the connection")]
    Closed,
    #[error("it closed the connection within a frame")]
    Cut,
    #[error("it sent {0}")]
    Frame(#[from] FrameError),
    #[error("it did not introduce itself within {} s", HELLO.as_secs())]
    NoHello,
    #[error("it was silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("it sent {0} out of turn")]
    OutOfTurn(&'static str),
    #[error(
        "it speaks version {0} of the protocol and this gateway version {WIRE_VERSION}: install the same release of both"
    )]
    Wire(u32),
    #[error("another agent is connected, and there can be one: stop one of them")]
    Second,
    #[error("it sent a batch of {0} records; at most {MAX_BATCH} are taken")]
    Batch(usize),
    #[error("{0}")]
    Record(#[from] crate::judge::NotAnAgentsRecord),
    #[error("{0}")]
    Gateway(&'static str),
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("ledger: {0}")]
    Ledger(#[from] AppendError),
}

struct Hello {
    version: String,
    sensor: String,
    status: AgentStatus,
}

struct Batch {
    number: u64,
    records: Vec<Draft>,
    cursor: Cursor,
}

impl Agents {
    /// Takes connections for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener, own_uid: u32) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!("cannot accept an agent's connection: {error}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == own_uid => {}
                Ok(peer) => {
                    tracing::warn!(
                        uid = peer.uid(),
                        "refused an agent that is neither root nor the gateway's user"
                    );
                    continue;
                }
                Err(error) => {
                    tracing::warn!("refused an agent whose user the system does not tell: {error}");
                    continue;
                }
            }
            let agents = Arc::clone(&self);
            tokio::spawn(async move {
                agents.connection(stream).await;
                drop(place);
            });
        }
    }

    async fn connection(&self, stream: UnixStream) {
        let (mut read, write) = tokio::io::split(stream);
        let mut decoder = Decoder::default();
        let hello = match tokio::time::timeout(HELLO, hello(&mut read, &mut decoder)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(end)) => return tracing::warn!("refused an agent: {end}"),
            Err(_) => return tracing::warn!("refused an agent: {}", End::NoHello),
        };
        let version = hello.version.clone();
        match self.attached(hello, read, write, decoder).await {
            // Never attached: the ledger tells only of the agent that was.
            Err(end) => tracing::warn!("refused an agent of version {version}: {end}"),
            Ok(end) => {
                tracing::warn!("the agent is gone: {end}");
                self.record("disconnected", end.to_string()).await;
            }
        }
    }

    /// Runs an introduced connection. `Ok`: it was taken and has ended.
    async fn attached(
        &self,
        hello: Hello,
        read: ReadHalf<UnixStream>,
        write: WriteHalf<UnixStream>,
        decoder: Decoder,
    ) -> Result<End, End> {
        if self.link.connected() {
            return Err(End::Second);
        }
        let _appending = self.appending.lock().await;
        let (last_batch, cursor) = self.ledger.sensor_position(&hello.sensor).await?;
        let (out, frames) = mpsc::channel(QUEUE);
        let attached = {
            // One lock over both: a call that is noted from now on is registered, one before is in the welcome.
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let welcome = ToAgent::Welcome {
                wire: WIRE_VERSION,
                last_batch,
                cursor,
                sessions: sessions.for_agent(),
            };
            // The channel is new, so there is room.
            let _ = out.try_send(encode(&welcome)?);
            self.link.attach(out.clone(), hello.status).ok_or(End::Second)?
        };
        self.admissions.welcome();
        let detail = format!("version {}, sensor {}", hello.version, hello.sensor);
        tracing::info!("an agent is connected: {detail}");
        self.record("connected", detail).await;
        let (batches, waiting) = mpsc::channel(BATCHES);
        let answers = Answers {
            out: out.clone(),
            turns: Arc::new(Semaphore::new(QUESTIONS)),
        };
        let connection = attached.connection;
        let reading = async {
            let end = self.read(connection, read, decoder, batches, &answers).await;
            // At once, so that nobody waits for an answer that cannot come; what was read is still appended.
            self.link.detach(connection);
            end
        };
        let appending = self.append(&hello.sensor, last_batch, waiting, out);
        let both = async {
            let (end, appended) = tokio::join!(reading, appending);
            appended.err().unwrap_or(end)
        };
        let mut close = attached.close;
        tokio::pin!(both);
        let end = tokio::select! {
            end = &mut both => end,
            never = self.write(connection, frames, write) => match never {},
            Ok(reason) = &mut close => End::Gateway(reason),
        };
        self.link.detach(connection);
        Ok(end)
    }

    /// Sends what is in the queue; returns never. Once that fails nothing more is asked of the agent, but what it sent
    /// is still read to its end.
    async fn write(
        &self,
        connection: u64,
        mut frames: mpsc::Receiver<Vec<u8>>,
        mut write: WriteHalf<UnixStream>,
    ) -> Infallible {
        while let Some(frame) = frames.recv().await {
            if let Err(error) = write.write_all(&frame).await {
                tracing::debug!("nothing more can be sent to the agent: {error}");
                self.link.detach(connection);
                break;
            }
        }
        drop(frames);
        std::future::pending().await
    }

    async fn read(
        &self,
        connection: u64,
        mut read: ReadHalf<UnixStream>,
        mut decoder: Decoder,
        batches: mpsc::Sender<Batch>,
        answers: &Answers,
    ) -> End {
        loop {
            let frame = match tokio::time::timeout(SILENCE, next_frame(&mut read, &mut decoder)).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(end)) => return end,
                Err(_) => return End::Silent,
            };
            match frame {
                ToGateway::Registered { request, binding } => {
                    self.link.registered(connection, request, binding)
                }
                ToGateway::Whose { request, whose } => self.link.told_whose(connection, request, whose),
                ToGateway::Status { status } => self.link.set_status(connection, status),
                ToGateway::Batch { records, .. } if records.len() > MAX_BATCH => {
                    return End::Batch(records.len());
                }
                ToGateway::Batch {
                    batch,
                    records,
                    cursor,
                } => {
                    if batches
                        .send(Batch {
                            number: batch,
                            records,
                            cursor,
                        })
                        .await
                        .is_err()
                    {
                        return End::Gateway("its batches are no longer taken");
                    }
                }
                ToGateway::Admit { request, question } => {
                    let admissions = Arc::clone(&self.admissions);
                    let answer = async move {
                        let answer = admissions.admit(*question).await;
                        Some(ToAgent::Admitted { request, answer })
                    };
                    answers.give(answer).await;
                }
                ToGateway::Quarantined { entry } => {
                    let admissions = Arc::clone(&self.admissions);
                    let id = entry.id.clone();
                    let answer = async move {
                        let noted = admissions.quarantined(*entry).await;
                        noted.then_some(ToAgent::QuarantineNoted { id })
                    };
                    answers.give(answer).await;
                }
                ToGateway::QuarantineDone { request, outcome } => {
                    self.link.dealt_with(connection, request, outcome);
                }
                ToGateway::Hello { .. } => return End::OutOfTurn("a second introduction"),
            }
        }
    }

    /// Judges and appends batches in order, and acknowledges each once it is in the ledger.
    async fn append(
        &self,
        sensor: &str,
        mut last: u64,
        mut batches: mpsc::Receiver<Batch>,
        out: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), End> {
        while let Some(Batch {
            number,
            records,
            cursor,
        }) = batches.recv().await
        {
            // What is in already is not judged again: it would count twice in what its call did.
            if number > last {
                let ends = ends(&records);
                let mut bundle = self.judged(records).await?;
                for draft in ends.iter().flat_map(end_records) {
                    bundle.push(draft);
                }
                let batch = SensorBatch {
                    sensor: sensor.to_owned(),
                    number,
                    cursor,
                    bundle,
                };
                while let Err(error) = self.ledger.append_batch(batch.clone()).await {
                    if batches.is_closed() || matches!(error, AppendError::Stopped) {
                        return Err(error.into());
                    }
                    tokio::time::sleep(RETRY).await;
                }
                last = number;
                for end in ends {
                    self.sessions
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .end(&end.session);
                    let frame = ToAgent::SessionEnd { session: end.session };
                    let _ = out.send(encode(&frame)?).await;
                }
            }
            // Where it cannot be sent any more, the agent sends the batch again, and it is known.
            let _ = out.send(encode(&ToAgent::Ack { batch: number })?).await;
        }
        Ok(())
    }

    async fn judged(&self, records: Vec<Draft>) -> Result<Bundle, End> {
        let missing = records.len() as u64;
        let judge = self.judge.clone();
        // A full batch takes milliseconds, during which hooks must be answered.
        match tokio::task::spawn_blocking(move || judge.judge(records)).await {
            Ok(judged) => Ok(judged?),
            // It would fail again: better a gap that is seen than a stream that stands still.
            Err(error) => {
                tracing::error!("judging a batch failed inside; please report this: {error}");
                let detail =
                    "a batch of what the kernel saw could not be judged; see the gateway's log".into();
                let body = RecordBody::Gap {
                    cause: "judge_failed".into(),
                    missing: Some(missing),
                    detail,
                };
                Ok(Bundle::one(Draft {
                    time_ns: clock::now_ns(),
                    session: None,
                    call: None,
                    body,
                }))
            }
        }
    }

    async fn record(&self, state: &str, detail: String) {
        if let Err(error) = self.ledger.note("agent", state, detail).await {
            tracing::error!("that the agent is {state} could not be recorded: {error}");
        }
    }
}

/// How what the install gate asks is answered: beside what else is read.
struct Answers {
    out: mpsc::Sender<Vec<u8>>,
    turns: Arc<Semaphore>,
}

impl Answers {
    /// Sends what comes of `answer` when it is there; waits while too many are under way.
    async fn give(&self, answer: impl Future<Output = Option<ToAgent>> + Send + 'static) {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return;
        };
        let out = self.out.clone();
        tokio::spawn(async move {
            let frame = answer.await.map(|frame| encode(&frame));
            match frame {
                // Where it cannot be sent any more, the agent asks again.
                Some(Ok(frame)) => drop(out.send(frame).await),
                Some(Err(error)) => tracing::error!("an answer for the agent was not sent: {error}"),
                None => {}
            }
            drop(turn);
        });
    }
}

/// A session of a command in a sandbox, whose command has ended.
struct CommandEnd {
    session: SessionId,
    time_ns: u64,
    status: ExitStatus,
}

/// Sessions that no harness has end with their command: nobody else would say so. Their names begin with its process id.
fn ends(records: &[Draft]) -> Vec<CommandEnd> {
    let end = |draft: &Draft| {
        let session = draft
            .session
            .clone()
            .filter(|session| session.connector() == RUN)?;
        let RecordBody::Activity { activity } = &draft.body else {
            return None;
        };
        let Action::Exit { status, .. } = activity.action else {
            return None;
        };
        let pid: u32 = session.harness_session().split('-').next()?.parse().ok()?;
        (activity.process.tgid == pid).then_some(CommandEnd {
            session,
            time_ns: draft.time_ns,
            status,
        })
    };
    records.iter().filter_map(end).collect()
}

fn end_records(end: &CommandEnd) -> [Draft; 2] {
    let words = match end.status {
        ExitStatus::Code(code) => format!("exit {code}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
    };
    let draft = |call: Option<CallId>, body| Draft {
        time_ns: end.time_ns,
        session: Some(end.session.clone()),
        call,
        body,
    };
    [
        draft(
            CallId::new(RUN_CALL).ok(),
            RecordBody::CallEnd {
                tool: RUN.into(),
                failed: end.status != ExitStatus::Code(0),
            },
        ),
        draft(
            None,
            RecordBody::SessionEnd {
                reason: Some(format!("the command ended: {words}")),
            },
        ),
    ]
}

async fn hello(read: &mut ReadHalf<UnixStream>, decoder: &mut Decoder) -> Result<Hello, End> {
    match next_frame(read, decoder).await? {
        ToGateway::Hello {
            wire: WIRE_VERSION,
            version,
            sensor,
            status,
        } => Ok(Hello {
            version,
            sensor,
            status,
        }),
        ToGateway::Hello { wire, .. } => Err(End::Wire(wire)),
        _ => Err(End::OutOfTurn("something before its introduction")),
    }
}

/// Safe to drop half-way: what arrived stays in the decoder.
async fn next_frame(read: &mut ReadHalf<UnixStream>, decoder: &mut Decoder) -> Result<ToGateway, End> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        if read.read_buf(decoder.buffer()).await? == 0 {
            return Err(if decoder.is_mid_frame() {
                End::Cut
            } else {
                End::Closed
            });
        }
    }
}
