//! Hands out the files of a folder over HTTP on loopback: as much of it as `apt` asks for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// A server for as long as the process lives. Which folder it serves can change.
#[derive(Debug, Clone)]
pub struct FileServer {
    address: SocketAddr,
    folder: Arc<Mutex<PathBuf>>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Longest line of a request (bytes).
const MAX_LINE: u64 = 8 * 1024;

impl FileServer {
    /// Starts one in the network namespace of the calling thread.
    pub fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        let server = Self {
            address: listener.local_addr()?,
            folder: Arc::new(Mutex::new(folder.to_owned())),
            asked: Arc::default(),
        };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                // A client that goes away has nobody to tell.
                std::thread::spawn(move || own.talk(&stream).ok());
            }
        });
        Ok(server)
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves another folder from now on.
    pub fn serve(&self, folder: &Path) {
        folder.clone_into(&mut self.folder.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn talk(&self, stream: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let line = |reader: &mut BufReader<&TcpStream>| -> Result<String> {
            let mut line = String::new();
            reader.take(MAX_LINE).read_line(&mut line)?;
            Ok(line.trim_end().to_owned())
        };
        loop {
            let first = line(&mut reader)?;
            if first.is_empty() {
                return Ok(());
            }
            while !line(&mut reader)?.is_empty() {}
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = self.read(&path);
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(path);
            let mut stream = stream;
            match body {
                Some(body) => {
                    write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    )?;
                    stream.write_all(&body)?;
                }
                None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
            }
        }
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = Path::new(path.trim_start_matches('/'));
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        inside.then(|| std::fs::read(folder.join(path)).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_folder_are_handed_out_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("served")).unwrap();
        std::fs::write(folder.path().join("served/a"), "inside").unwrap();
        std::fs::write(folder.path().join("b"), "outside").unwrap();
        let server = FileServer::start(&folder.path().join("served")).unwrap();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /../b HTTP/1.1\r\n\r\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.contains("200 OK") && told.contains("inside"), "{told}");
        assert!(told.contains("404") && !told.contains("outside"), "{told}");
        assert_eq!(server.asked(), ["/a", "/../b"]);
    }
}
