//! A registry on loopback: paths and what they answer.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Found(Vec<u8>),
    Moved(String),
    /// It takes the request and says nothing.
    Silent,
}

type Routes = Arc<Mutex<HashMap<String, Reply>>>;

/// The server, for as long as the test runs.
pub(crate) struct Server {
    pub(crate) base: String,
    routes: Routes,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let routes = Routes::default();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (known, seen) = (Arc::clone(&routes), Arc::clone(&heads));
        std::thread::spawn(move || {
            // Connections on which nothing is said stay open.
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own business.
                held.extend(answer(stream, &known, &seen).ok().flatten());
            }
        });
        Self { base, routes, heads }
    }

    pub(crate) fn serve(&self, path: &str, reply: Reply) {
        self.routes.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub(crate) fn found(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.serve(path, Reply::Found(body.into()));
    }

    /// The heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    routes: &Routes,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<Option<TcpStream>> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(head.to_lowercase());
    let reply = routes.lock().unwrap().get(&path).cloned();
    let stream = reader.get_mut();
    match reply {
        Some(Reply::Found(body)) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )?;
            stream.write_all(&body)?;
        }
        Some(Reply::Moved(to)) => {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )?;
        }
        Some(Reply::Silent) => return stream.try_clone().map(Some),
        None => write!(
            stream,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )?,
    }
    Ok(None)
}
