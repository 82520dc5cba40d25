//! The entry of the programs that start once for every tool call.
//!
//! Before the standard library calls a program's `main`, it reads and parses this process's map of memory and sets up a signal stack, so that
//! a stack that overflows is told from other faults. These programs live for milliseconds and recurse nowhere that a caller decides, and
//! that takes a quarter of a millisecond. So they are entered by the C library itself. What else is done there, and matters, is done here:
//! the standard streams are open, and a reader who is gone is an error instead of a signal. A stack that overflows ends the program all
//! the same, without a word.
//!
//! ```ignore
//! #![no_main]
//!
//! defenseclaw_entry::entry!(run);
//!
//! fn run() -> u8 {
//!     0
//! }
//! ```

#[cfg(not(target_env = "gnu"))]
compile_error!("only the GNU C library hands a program's arguments to the standard library before `main`");

use std::io::Write as _;

/// Makes `$run`, a function that gives an exit status, the program's entry. The program needs `#![no_main]`.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        // The one function of this name in the program: `no_main` keeps the compiler from making another.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _count: ::std::ffi::c_int,
            _arguments: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            $crate::enter($run)
        }
    };
}

/// Does `run` with the streams open, and gives its exit status.
pub fn enter(run: fn() -> u8) -> libc::c_int {
    open_streams();
    // SAFETY: no code of ours runs on the signal. What this program becomes gets the default action again: `Command` sees to that.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let status = run();
    // Nothing can be done where standard output is gone.
    let _ = std::io::stdout().flush();
    status.into()
}

/// The first files that are opened would be taken for the standard streams that a caller has closed.
fn open_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: as many entries as are told, writable, during the call.
    let polled = unsafe { libc::poll(streams.as_mut_ptr(), streams.len() as libc::nfds_t, 0) };
    for stream in streams {
        let closed = match polled {
            // Not told: asked of each.
            // SAFETY: takes numbers alone.
            -1 => unsafe { libc::fcntl(stream.fd, libc::F_GETFD) == -1 },
            _ => stream.revents & libc::POLLNVAL != 0,
        };
        // Those below are open, so that this is the one which is opened.
        // SAFETY: the path ends in a zero byte.
        if closed && unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } != stream.fd {
            std::process::abort();
        }
    }
}
