//! Log lines as the journal takes them: `<N>` in front says the priority (`sd-daemon(3)`), and one event is one line.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::AsFd;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `LOG_ERR`.
const ERROR: u8 = 3;

/// Whether standard error leads to the journal: `JOURNAL_STREAM` names its device and inode.
pub fn is_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    nix::sys::stat::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| names(&stream, stat.st_dev, stat.st_ino))
}

fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
    stream == OsStr::new(&format!("{device}:{inode}"))
}

/// The last words of a daemon that does not run: an error for the journal, a plain line for a person.
pub fn complain(program: &str, error: &dyn fmt::Display) {
    if is_stderr() {
        eprintln!("<{ERROR}>{}", one_line(&error.to_string()));
    } else {
        eprintln!("{program}: {error}");
    }
}

/// One event as one line, with its priority. The journal adds time, program and process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = String::new();
        context
            .field_format()
            .format_fields(Writer::new(&mut fields), event)?;
        let priority = priority(*event.metadata().level());
        writeln!(writer, "<{priority}>{}", one_line(&fields))
    }
}

/// `syslog(3)`'s priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// A text without line ends and escape sequences: what an agent sent may be in it, and must not become a line of its own.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.trim_end().chars() {
        match letter {
            '\n' => line.push_str("\\n"),
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_event_is_one_line_with_its_priority() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .event_format(Lines)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("gone");
            tracing::warn!(uid = 7, "hostile: {}", "a\n<0>panic\u{1b}[2J");
            tracing::info!("as it is");
            tracing::debug!("small");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "<3>gone");
        assert!(
            lines[1].starts_with("<4>hostile: a\\n<0>panic")
                && !lines[1].contains('\u{1b}')
                && lines[1].ends_with("uid=7"),
            "{}",
            lines[1]
        );
        assert_eq!((lines[2], lines[3]), ("<6>as it is", "<7>small"));
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names(OsStr::new("9:20"), 9, 20));
        assert!(!names(OsStr::new("9:20"), 9, 21));
        assert!(!names(OsStr::new(""), 9, 21));
    }
}
