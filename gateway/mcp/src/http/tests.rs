use std::io::Read as _;
use std::net::TcpListener;

use serde_json::json;

use super::*;
use crate::client::{Answers, ask};

/// How an answer is written.
type Shaped = Box<dyn Fn(&Value) -> String + Send>;

/// A server on loopback: `play` turns a request (head and message) into a whole answer.
fn asked(play: impl Fn(&str, &Value) -> String + Send + 'static) -> Answers {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            // A client that has heard enough hangs up.
            let _ = stream.write_all(play(&head, &message).as_bytes());
        }
    });
    let mut reached = Reached::at(&url, false).unwrap();
    ask(&mut reached, Instant::now() + Duration::from_secs(10))
}

fn result_of(message: &Value) -> Value {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "web"}})
        }
        _ => json!({"tools": [{"name": "look", "description": "Looks.\nTwice."}]}),
    };
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result})
}

fn plain(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn accepted(message: &Value) -> Option<String> {
    message
        .get("id")
        .is_none()
        .then(|| "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned())
}

fn troubles(answers: &Answers) -> Vec<Trouble> {
    answers.problems.iter().map(|problem| problem.trouble).collect()
}

#[test]
fn json_and_streams_of_events_in_every_shape_are_read() {
    let events = |message: &Value| {
        // An event before the answer, a comment, and an answer over two lines of data.
        let text = result_of(message).to_string().replacen(',', ",\ndata: ", 1);
        format!(
            ": hello\r\n\r\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}}\n\ndata: {text}\n\n"
        )
    };
    let chunked = |text: &str| {
        let chunks: String = text
            .as_bytes()
            .chunks(7)
            .map(|chunk| format!("{:x};x\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    let shapes: [Shaped; 3] = [
        Box::new(|message| plain(&result_of(message).to_string())),
        Box::new(move |message| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n{}",
                events(message)
            )
        }),
        Box::new(move |message| chunked(&events(message))),
    ];
    for shape in shapes {
        let answers = asked(move |_, message| accepted(message).unwrap_or_else(|| shape(message)));
        assert_eq!((troubles(&answers), answers.tools.len()), (vec![], 1));
        assert_eq!(answers.tools[0]["description"], "Looks.\nTwice.");
    }
}

#[test]
fn session_and_version_are_sent_back() {
    let answers = asked(|head, message| {
        if let Some(accepted) = accepted(message) {
            return accepted;
        }
        let first = message["method"] == "initialize";
        let known =
            head.contains("Mcp-Session-Id: s-1\r\n") && head.contains("MCP-Protocol-Version: 2025-11-25\r\n");
        if first == known {
            return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        plain(&result_of(message).to_string()).replacen("\r\n", "\r\nMcp-Session-Id: s-1\r\n", 1)
    });
    assert_eq!((troubles(&answers), answers.tools.len()), (vec![], 1));
}

#[test]
fn refusals_are_told_for_what_they_are() {
    for (status, trouble) in [
        ("401 Unauthorized", Trouble::NeedsLogin),
        ("403 Forbidden", Trouble::NeedsLogin),
        ("302 Found\r\nLocation: http://169.254.169.254/", Trouble::Unclear),
        ("404 Not Found", Trouble::Protocol),
        ("500 Oops", Trouble::Protocol),
    ] {
        let answers = asked(move |_, _| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(troubles(&answers), [trouble], "{status}");
        assert!(!answers.complete());
    }
    let mut reached = Reached::at("http://127.0.0.1:1/", false).unwrap();
    let answers = ask(&mut reached, Instant::now() + Duration::from_secs(5));
    assert_eq!(troubles(&answers), [Trouble::NotHere], "nobody listens");
}

#[test]
fn what_is_too_large_or_breaks_off_is_told() {
    for (answer, trouble) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
                .to_owned(),
            Trouble::TooLarge,
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}",
                "x".repeat(MAX_MESSAGE + 100)
            ),
            Trouble::TooLarge,
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(MAX_HEAD)),
            Trouble::Protocol,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{".to_owned(),
            Trouble::Ended,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
                .to_owned(),
            Trouble::Protocol,
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), Trouble::Protocol),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Trouble::Protocol,
        ),
    ] {
        let shown: String = answer.chars().take(90).collect();
        let answers = asked(move |_, _| answer.clone());
        assert_eq!(troubles(&answers), [trouble], "{shown}");
    }
}

#[test]
fn what_is_asked_within_a_stream_is_refused_and_told() {
    let answers = asked(|_, message| {
        if message.get("method").is_none() {
            return "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        if let Some(accepted) = accepted(message) {
            return accepted;
        }
        let asks = json!({"jsonrpc": "2.0", "id": "s1", "method": "sampling/createMessage", "params": {}});
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {asks}\n\ndata: {}\n\n",
            result_of(message)
        )
    });
    assert_eq!(
        (troubles(&answers), answers.tools.len()),
        (vec![Trouble::Asks], 1)
    );
}
