//! The process outside: it owns what attacks aim at, and notices what comes to it.

use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::IntoRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use defenseclaw_testkit::escape::scene::{DEFACED, FLOOD, Noticed, Outside, SECRET, Scene};
use nix::libc;

use crate::ipc;
use crate::meanwhile;
use crate::sys::{Refused, word};

/// What happened, in words.
type Events = Arc<Mutex<Vec<String>>>;

static SIGNALS: AtomicU32 = AtomicU32::new(0);
/// What nobody else may change.
const WORD: u64 = 0x0123_4567_89ab_cdef;

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// From now on SIGUSR1 is counted.
pub(crate) fn count_signals() -> Result<(), Refused> {
    let handler: extern "C" fn(libc::c_int) = count;
    // SAFETY: the handler only adds to an atomic number.
    let old = unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    if old == libc::SIG_ERR {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// How many came.
pub(crate) fn signals() -> u32 {
    SIGNALS.load(Ordering::SeqCst)
}

/// Objects that outlive their maker unless they are removed.
#[derive(Default)]
struct Lasting {
    segment: Option<i32>,
    queue: Option<i32>,
    posix_queue: String,
    key: Option<i32>,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some(id) = self.segment {
            ipc::remove_segment(id);
        }
        if let Some(id) = self.queue {
            ipc::remove_queue(id);
        }
        if let Ok(name) = word(&self.posix_queue)
            && !self.posix_queue.is_empty()
        {
            ipc::remove_posix_queue(&name);
        }
        if let Some(key) = self.key {
            ipc::remove_key(key);
        }
    }
}

/// Offers everything, says what, and answers each line of standard input with what was noticed, until it ends.
pub(crate) fn watch(scene: Scene) -> Result<ExitCode> {
    count_signals().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    // Where Yama is on, a process outside may still be traced: the sandbox is under test, not Yama. It may be off, too.
    let _ = crate::sys::call(
        "PR_SET_PTRACER",
        libc::SYS_prctl,
        &[
            libc::PR_SET_PTRACER.into(),
            (-1_i64).into(),
            0.into(),
            0.into(),
            0.into(),
        ],
    );
    let events = Events::default();
    let mut lasting = Lasting::default();
    let mut offers = Outside {
        pid: std::process::id().try_into()?,
        ..Outside::default()
    };
    let secret = Box::leak(format!("{SECRET}memory").into_boxed_str());
    offers.secret_address = secret.as_ptr().expose_provenance() as u64;
    offers.secret_length = secret.len();
    let guarded: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(WORD)));
    offers.word_address = std::ptr::from_ref(guarded).expose_provenance() as u64;
    // Stays open as long as the process lives.
    offers.secret_descriptor = fs::File::open(&scene.secret)?.into_raw_fd();
    internet(&events, &mut offers)?;
    unix(&events, &scene, &mut offers)?;
    objects(&mut lasting, &mut offers);
    let flood = flood(&scene)?;
    keep_busy(&scene);
    keep_saving(&events, &scene);
    keep_listening(&events, &scene);
    keep_the_beat(&events, &scene)?;
    println!("{}", serde_json::to_string(&offers)?);
    for line in std::io::stdin().lock().lines() {
        line?;
        let mut noticed = Noticed {
            events: events.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        if signals() > 0 {
            noticed.events.push(format!("{} signals", signals()));
        }
        if guarded.load(Ordering::SeqCst) != WORD {
            noticed.events.push("its memory was changed".to_owned());
        }
        println!("{}", serde_json::to_string(&noticed)?);
    }
    drop(flood);
    Ok(ExitCode::SUCCESS)
}

/// Many sockets; nobody takes the connections, which can be made all the same.
fn flood(scene: &Scene) -> Result<Vec<UnixListener>> {
    let count = if scene.flood { FLOOD } else { 0 };
    let bind = |number| UnixListener::bind(scene.later_sockets().join(format!("flood-{number}")));
    Ok((0..count).map(bind).collect::<std::io::Result<_>>()?)
}

fn note(events: &Events, who: &str, bytes: &[u8]) {
    let wanted = DEFACED.as_bytes();
    // A person's own services may try a port; only what an attack sends counts.
    if bytes.windows(wanted.len()).any(|window| window == wanted) {
        let text = format!("{who} got {} bytes", bytes.len());
        events.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// Reads what comes over a connection as it comes: an attack's process may keep it open.
fn drain(events: &Events, who: &str, mut stream: impl std::io::Read) {
    let mut bytes = [0; 1024];
    while let Ok(length) = stream.read(&mut bytes) {
        if length == 0 {
            return;
        }
        note(events, who, &bytes[..length]);
    }
}

fn serve<S: std::io::Read + Send + 'static>(
    events: &Events,
    who: &'static str,
    accept: impl Fn() -> std::io::Result<S> + Send + 'static,
) {
    let events = events.clone();
    std::thread::spawn(move || {
        while let Ok(stream) = accept() {
            let events = events.clone();
            std::thread::spawn(move || drain(&events, who, stream));
        }
    });
}

fn internet(events: &Events, offers: &mut Outside) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no TCP port to listen on")?;
    offers.tcp = listener.local_addr()?.port();
    fast_open(&listener);
    serve(events, "TCP", move || listener.accept().map(|(stream, _)| stream));
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        offers.tcp6 = listener.local_addr()?.port();
        serve(events, "TCP over IPv6", move || {
            listener.accept().map(|(stream, _)| stream)
        });
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP port")?;
    offers.udp = socket.local_addr()?.port();
    let events = events.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length) = socket.recv(&mut bytes) {
            note(&events, "UDP", &bytes[..length]);
        }
    });
    Ok(())
}

/// Takes data with the first packet, as a server does that an attack would choose.
fn fast_open(listener: &TcpListener) {
    let length = 16_i32;
    // Without it a client's data comes with its third packet.
    let _ = crate::sys::call(
        "setsockopt",
        libc::SYS_setsockopt,
        &[
            crate::sys::Arg::fd(listener),
            libc::IPPROTO_TCP.into(),
            libc::TCP_FASTOPEN.into(),
            crate::sys::Arg::read(&length),
            4.into(),
        ],
    );
}

fn unix(events: &Events, scene: &Scene, offers: &mut Outside) -> Result<()> {
    for (who, path) in scene.stream_sockets() {
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        serve(events, who, move || listener.accept().map(|(stream, _)| stream));
    }
    offers.abstract_stream = format!("escape-stream-{}", offers.pid);
    let name = SocketAddr::from_abstract_name(&offers.abstract_stream)?;
    let listener = UnixListener::bind_addr(&name)?;
    serve(events, "abstract socket", move || {
        listener.accept().map(|(stream, _)| stream)
    });
    offers.abstract_datagram = format!("escape-datagram-{}", offers.pid);
    let name = SocketAddr::from_abstract_name(&offers.abstract_datagram)?;
    let sockets = [
        ("abstract datagram socket", UnixDatagram::bind_addr(&name)?),
        ("datagram socket", UnixDatagram::bind(scene.datagram_socket())?),
    ];
    for (who, socket) in sockets {
        let events = events.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length) = socket.recv(&mut bytes) {
                note(&events, who, &bytes[..length]);
            }
        });
    }
    let accomplice = UnixListener::bind(scene.passing_socket())?;
    let secret = scene.secret.clone();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = accomplice.accept() {
            // Whoever has gone away needs nothing.
            let _ = fs::File::open(&secret)
                .map_err(Refused::from)
                .and_then(|file| crate::descriptors::send(&stream, &file));
        }
    });
    let fifo = scene.fifo();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    let mut fifo = fs::OpenOptions::new().read(true).write(true).open(fifo)?;
    let events = events.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length) = fifo.read(&mut bytes) {
            note(&events, "FIFO", &bytes[..length]);
        }
    });
    Ok(())
}

/// What a host does not have is not offered.
fn objects(lasting: &mut Lasting, offers: &mut Outside) {
    let key = 0x0e5c_0000 ^ offers.pid;
    if let Ok(id) = ipc::segment(key, true) {
        lasting.segment = Some(id);
        if let Ok(address) = ipc::attach(id) {
            // SAFETY: a segment of a page was attached there, nobody else knows of it yet, and the secret is shorter.
            unsafe { std::ptr::copy_nonoverlapping(SECRET.as_ptr(), address, SECRET.len()) };
            offers.shared_memory_key = key;
        }
    }
    if let Ok(id) = ipc::queue(key, true) {
        lasting.queue = Some(id);
        if ipc::send_message(id).is_ok() {
            offers.message_queue_key = key;
        }
    }
    let name = format!("escape-{}", offers.pid);
    if ipc::posix_queue(&name, true).is_ok() {
        offers.posix_queue.clone_from(&name);
        lasting.posix_queue.clone_from(&name);
    }
    if let Ok(key) = ipc::add_key(&name) {
        lasting.key = Some(key);
        offers.key = name;
    }
}

/// Reads and writes in the secret folder, as somebody does who works there: what spies there has something to see.
fn keep_busy(scene: &Scene) {
    let (busy, secret) = (scene.busy_file(), scene.secret.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(40));
            // An attack may have removed them; then there is nothing to do.
            let _ = fs::OpenOptions::new()
                .append(true)
                .open(&busy)
                .and_then(|mut file| file.write_all(b"# busy\n"));
            let _ = fs::read(&secret);
        }
    });
}

/// Makes a new socket every few milliseconds, as a tool does that is started while a sandbox runs.
fn keep_listening(events: &Events, scene: &Scene) {
    let (events, folder) = (events.clone(), scene.later_sockets());
    std::thread::spawn(move || {
        for number in 0..1000 {
            // The folder goes when the trial is over.
            let Ok(listener) = UnixListener::bind(folder.join(number.to_string())) else {
                return;
            };
            serve(&events, "a later socket", move || {
                listener.accept().map(|(stream, _)| stream)
            });
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// Replaces files by rename, as an editor saves them: what covers the old file in a sandbox does not cover the new one.
fn keep_saving(events: &Events, scene: &Scene) {
    let (events, scene) = (events.clone(), scene.clone());
    std::thread::spawn(move || {
        let new = scene.base.join("later/saving");
        let save =
            |file: &std::path::Path, text: &str| fs::write(&new, text).and_then(|()| fs::rename(&new, file));
        loop {
            std::thread::sleep(Duration::from_millis(40));
            // The folder goes when the trial is over.
            let _ = save(&scene.saved_secret(), &format!("{SECRET}saved\n"));
            note(
                &events,
                "a sealed file",
                &fs::read(scene.saved_settings()).unwrap_or_default(),
            );
            let _ = save(&scene.saved_settings(), "{}\n");
        }
    });
}

/// Does at every beat what editors, `git config` and restarted services do now and then.
fn keep_the_beat(events: &Events, scene: &Scene) -> Result<()> {
    let (events, scene) = (events.clone(), scene.clone());
    let listen = move |events: &Events, path: &std::path::Path| -> std::io::Result<()> {
        let listener = UnixListener::bind(path)?;
        serve(events, "a socket that came meanwhile", move || {
            listener.accept().map(|(stream, _)| stream)
        });
        Ok(())
    };
    listen(&events, &scene.beaten_socket())?;
    std::thread::spawn(move || {
        for number in 0.. {
            meanwhile::beat();
            // The folder goes when the trial is over.
            if replace_all(&scene, number).is_err() {
                return;
            }
            let _ = fs::remove_file(scene.beaten_socket());
            let _ = listen(&events, &scene.beaten_socket());
            let _ = listen(
                &events,
                &scene.later_sockets().join(format!("beat-{number}.sock")),
            );
        }
    });
    Ok(())
}

fn replace_all(scene: &Scene, number: u32) -> std::io::Result<()> {
    let new = scene.base.join("later/beaten");
    let save =
        |file: &std::path::Path, text: &str| fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    let secret = format!("{SECRET}beaten\n");
    save(&scene.beaten_secret(), &secret)?;
    fs::write(scene.project.join(format!(".env.beat-{number}")), &secret)?;
    save(&scene.beaten_settings(), "[core]\n")?;
    // Exchanged: there is no moment without it, in which a sandbox that starts would find nothing to seal.
    let hooks = scene.base.join("later/hooks");
    fs::create_dir(&hooks)?;
    fs::write(hooks.join("pre-commit"), "exit 0\n")?;
    let (here, flags) = (nix::fcntl::AT_FDCWD, nix::fcntl::RenameFlags::RENAME_EXCHANGE);
    nix::fcntl::renameat2(here, &hooks, here, &scene.beaten_hooks(), flags)?;
    fs::remove_dir_all(hooks)
}
