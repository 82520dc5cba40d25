//! Bundles from a server on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// Answers of a server on loopback, one for each connection; what was asked comes back.
fn server(answers: Vec<Vec<u8>>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{{group}}/policy", listener.local_addr().unwrap());
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let _ = asked.send(String::from_utf8(head).unwrap());
            if answer.is_empty() {
                // It never answers. The thread waits for the other side to give up.
                let _ = stream.read(&mut byte);
            }
            let _ = stream.write_all(&answer);
        }
    });
    (url, questions)
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn from_server(signer: &Signer, url: &str) -> Host {
    Host::new(signer, |bundle| {
        bundle.path = None;
        bundle.url = Some(url.to_owned());
        bundle.plain_loopback = true;
    })
}

#[test]
fn a_server_is_asked_for_what_is_newer() {
    let signer = Signer::new();
    let (url, asked) = server(vec![
        http("200 OK", "etag: \"seven\"\r\n", &signer.good(7)),
        http("304 Not Modified", "", b""),
        http("304 Not Modified", "", b""),
        http("200 OK", "etag: \"six\"\r\n", &signer.good(6)),
        http("304 Not Modified", "", b""),
        http("200 OK", "", &signer.good(8)),
    ]);
    let mut host = from_server(&signer, &url);
    let named = |question: String| {
        assert!(question.starts_with("GET /hosts/policy "), "{question}");
        let line = question
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("if-none-match"));
        line.map(|line| line.split_once(':').unwrap().1.trim().to_owned())
    };
    assert_eq!(host.look().0, "accepted");
    assert_eq!(named(asked.recv().unwrap()), None);
    assert_eq!(host.look().0, "unchanged");
    assert_eq!(named(asked.recv().unwrap()).unwrap(), "\"seven\"");
    host.restart();
    assert_eq!(host.look().0, "unchanged");
    assert_eq!(
        named(asked.recv().unwrap()).unwrap(),
        "\"seven\"",
        "a restart does not forget"
    );
    assert_eq!(host.look().0, "refused");
    asked.recv().unwrap();
    assert_eq!(host.look().0, "unchanged");
    assert_eq!(
        named(asked.recv().unwrap()).unwrap(),
        "\"seven\"",
        "what was refused is not what is there"
    );
    assert_eq!((host.look().0.as_str(), host.revision()), ("accepted", Some(8)));
}

#[test]
fn a_server_in_trouble_changes_nothing() {
    let signer = Signer::new();
    let good = signer.good(8);
    let longer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", good.len() + 1);
    let (url, _asked) = server(vec![
        http("200 OK", "", &signer.good(7)),
        http("500 Internal Server Error", "", b""),
        http("304 Not Modified", "", b""),
        http("302 Found", "location: http://127.0.0.1.evil.example/\r\n", b""),
        http("200 OK", "", &vec![b' '; MAX_BUNDLE as usize + 1]),
        [longer.as_bytes(), &good].concat(),
        http("200 OK", "", &good[..good.len() / 2]),
        Vec::new(),
        http("200 OK", "", &good),
    ]);
    let mut host = from_server(&signer, &url);
    assert_eq!(host.look().0, "accepted");
    for (what, state) in [
        ("status 500", "unavailable"),
        ("304 without a question", "unavailable"),
        ("a redirect to elsewhere", "unavailable"),
        ("too large", "unavailable"),
        ("ends before its length", "unavailable"),
        ("half of it", "refused"),
        ("no answer", "unavailable"),
    ] {
        // Half a minute is long for a test; the others get all of it.
        let deadline = if what == "no answer" { 1 } else { 30 };
        host.parts().keeper.wait_for(Duration::from_secs(deadline));
        let (found, detail) = host.look();
        assert_eq!(found, state, "{what}: {detail}");
        assert_eq!(host.revision(), Some(7), "{what}");
    }
    host.parts().keeper.wait_for(Duration::from_secs(30));
    assert_eq!((host.look().0.as_str(), host.revision()), ("accepted", Some(8)));
    // And now it is gone.
    assert_eq!(host.look().0, "unavailable");
    assert_eq!((host.revision(), host.status().failed), (Some(8), 7));
    let unavailable = host
        .states()
        .iter()
        .filter(|state| *state == "unavailable")
        .count();
    assert_eq!(
        unavailable, 3,
        "a record at the begin of each trouble, not for each look"
    );
}
