//! Policy bundles from a real https server: only from the one that it should be, and only what has changed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use defenseclaw_artifact::SignerKey;
use defenseclaw_model::wire::Whose;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::{Value, json};

use crate::api::{answering, json_of, post};
use crate::bundle::{PULL, blocking, revision};
use crate::world::World;

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut terms = CertificateParams::default();
        terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(terms, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// What a server needs to be `name` to everybody who trusts this authority.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let terms = CertificateParams::new([name.to_owned()]).unwrap();
        let signed = terms.signed_by(&key, &self.0).unwrap();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certificate: CertificateDer<'static> = signed.into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], secret)
            .unwrap();
        Arc::new(config)
    }
}

/// What the server says.
struct Says {
    identity: Arc<ServerConfig>,
    bundle: Vec<u8>,
    etag: &'static str,
    /// How many of the bundle's last bytes never come.
    cut: usize,
    /// Statuses that were answered.
    answered: Vec<u16>,
    over: bool,
}

struct Server {
    port: u16,
    says: Arc<Mutex<Says>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(identity: Arc<ServerConfig>, bundle: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new(Says {
            identity,
            bundle,
            etag: "first",
            cut: 0,
            answered: Vec::new(),
            over: false,
        }));
        let shared = Arc::clone(&says);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut says = shared.lock().unwrap();
                if says.over {
                    return;
                }
                // Whoever does not trust the certificate leaves.
                let _ = answer(&mut connection.unwrap(), &mut says);
            }
        });
        Self {
            port,
            says,
            thread: Some(thread),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    fn answered(&self, status: u16) -> usize {
        let says = self.says.lock().unwrap();
        says.answered.iter().filter(|&&one| one == status).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.change(|says| says.over = true);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(socket: &mut TcpStream, says: &mut Says) -> std::io::Result<()> {
    let mut connection = ServerConnection::new(Arc::clone(&says.identity)).map_err(std::io::Error::other)?;
    let mut stream = Stream::new(&mut connection, socket);
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        asked.extend(byte);
    }
    let asked = String::from_utf8_lossy(&asked).to_ascii_lowercase();
    let etag = format!("\"{}\"", says.etag);
    let (status, body): (u16, &[u8]) = if !asked.starts_with("get /hosts.bundle ") {
        (404, b"")
    } else if asked.contains(&format!("if-none-match: {etag}")) {
        (304, b"")
    } else {
        (200, &says.bundle)
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\netag: {etag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..body.len() - says.cut.min(body.len())])?;
    stream.conn.send_close_notify();
    stream.flush()?;
    says.answered.push(status);
    Ok(())
}

#[test]
fn a_bundle_comes_from_the_https_server_that_it_should_be_and_from_no_other() {
    let key = SignerKey::generate("acme").unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Server::start(ours.server("localhost"), blocking(&key, 7, "frobnicate"));
    let mut world = World::prepare("");
    let config = format!(
        "mode: action\nbundle: {{ url: \"https://localhost:{}/{{group}}.bundle\", group: hosts, interval_s: 5, keys: {{ acme: \"{}\" }} }}\n",
        server.port,
        key.public_key()
    );
    fs::write(world.path("config.yaml"), config).unwrap();
    fs::write(world.path("authority.pem"), ours.pem()).unwrap();
    let trusts = format!("SSL_CERT_FILE={}", world.path("authority.pem").display());
    world.start_wrapped(&["/usr/bin/env", &trusts]);
    world.until("the bundle is in force", |world| revision(world) == Some(7));
    assert!(world.bash("t1", "frobnicate now").is_denied());
    world.until("it is asked only for what has changed", |_| {
        server.answered(304) > 0
    });

    let thread = answering(world.agent(), Whose::Nobody);
    let pull = || -> Value { json_of(&post(&world, PULL, &json!({}))) };
    server.change(|says| (says.bundle, says.etag) = (blocking(&key, 8, "defenestrate"), "second"));
    assert_eq!(pull()["state"], "accepted");

    // Somebody else answers, with a bundle that would be taken.
    let next = blocking(&key, 9, "obfuscate");
    for (identity, words) in [
        (theirs.server("localhost"), "certificate"),
        (ours.server("policies.example"), "certificate"),
    ] {
        let before = server.answered(200);
        server.change(|says| (says.identity, says.bundle, says.etag) = (identity, next.clone(), "third"));
        let refused = pull();
        let told = refused["detail"].as_str().unwrap().to_ascii_lowercase();
        assert_eq!(refused["state"], "unavailable", "{refused}");
        assert!(told.contains(words), "{refused}");
        assert_eq!(server.answered(200), before, "nothing was asked of it");
        assert_eq!(refused["status"]["in_force"]["revision"], 8);
    }
    // The right one, whose connection breaks.
    server.change(|says| (says.identity, says.cut) = (ours.server("localhost"), 100));
    assert_eq!(pull()["state"], "unavailable");
    assert!(world.bash("t2", "defenestrate now").is_denied());
    assert!(world.bash("t3", "obfuscate now").is_silence());
    // The right one.
    server.change(|says| says.cut = 0);
    assert_eq!(pull()["state"], "accepted");
    assert!(world.bash("t4", "obfuscate now").is_denied());
    world.until_agent_leaves(thread);
    world.verify();
}
