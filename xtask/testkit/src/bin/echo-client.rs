//! The yardstick for the hook client: standard input to a Unix socket, the answer to standard output. Nothing else.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

fn main() -> std::io::Result<()> {
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload)?;
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&payload)?;
    stream.shutdown(Shutdown::Write)?;
    payload.clear();
    stream.read_to_end(&mut payload)?;
    std::io::stdout().write_all(&payload)
}
