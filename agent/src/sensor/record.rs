//! Kernel records as types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use defenseclaw_abi::{
    ConnectRecord, ExecRecord, ExitRecord, FLAG_ARGV_TRUNCATED, FLAG_CREATED, FLAG_PATH_TRUNCATED,
    FLAG_WATCHED_INODE, FLAG_WRITE, Header, IoUringRecord, Kind, OpenRecord,
};
use defenseclaw_model::activity::{ExitStatus, FileAccess, FileId, Protocol};
use defenseclaw_model::ids::{ImageId, ProcessId};

use crate::kernel::proc::split_arguments;

/// One record from a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number in its ring.
    pub seq: u64,
    /// When, ns since boot.
    pub boot_ns: u64,
    /// Session key of the label.
    pub session: u64,
    /// Call key of the label; 0 for none.
    pub call: u64,
    /// The process.
    pub process: ProcessId,
    /// Its image.
    pub image: ImageId,
    /// Real user id.
    pub uid: u32,
    /// Command name.
    pub comm: String,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// Whether it came through the security ring.
    pub fn is_security(&self) -> bool {
        !matches!(
            self.kind,
            EventKind::Open {
                access: FileAccess::Write | FileAccess::Create,
                ..
            }
        )
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Became another program.
    Exec(Box<Exec>),
    /// Ended.
    Exit(ExitStatus),
    /// Opened a file.
    Open {
        /// Absolute path.
        path: String,
        /// Whether the path was cut.
        path_truncated: bool,
        /// What for.
        access: FileAccess,
        /// The file.
        file: FileId,
        /// Whether the file is watched by identity, whatever its path.
        watched_file: bool,
    },
    /// Began a connection.
    Connect {
        /// Transport.
        protocol: Protocol,
        /// Destination.
        address: IpAddr,
        /// Destination port.
        port: u16,
    },
    /// Set up an io_uring.
    IoUring {
        /// Submission queue entries.
        entries: u32,
    },
    /// A child could not be labelled.
    LabelLost,
}

/// An exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The replaced image.
    pub parent: ImageId,
    /// Thread-group id of the real parent.
    pub ppid: u32,
    /// The name as the caller gave it (first 255 bytes).
    pub filename: String,
    /// Path of the executed file.
    pub path: String,
    /// Working directory.
    pub cwd: String,
    /// Arguments.
    pub argv: Vec<String>,
    /// Whether the arguments were cut.
    pub argv_truncated: bool,
    /// The executed file.
    pub file: FileId,
}

/// Why a record was not understood. Cannot happen while agent and kernel programs are of one build; counted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kernel record of {bytes} bytes and kind {kind} cannot be decoded")]
pub struct Undecodable {
    /// Its length.
    pub bytes: usize,
    /// Its kind number.
    pub kind: u16,
}

/// Types that may be read from any bytes.
///
/// # Safety
///
/// `#[repr(C)]`, integers and arrays of integers only.
unsafe trait Plain: Copy {}
// SAFETY: see the trait; all are defined so in defenseclaw-abi.
unsafe impl Plain for Header {}
// SAFETY: as above.
unsafe impl Plain for ExecRecord {}
// SAFETY: as above.
unsafe impl Plain for ExitRecord {}
// SAFETY: as above.
unsafe impl Plain for OpenRecord {}
// SAFETY: as above.
unsafe impl Plain for ConnectRecord {}
// SAFETY: as above.
unsafe impl Plain for IoUringRecord {}

fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, any bytes are a valid T, and the read does not need alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event, Undecodable> {
    let header: Header = read(bytes).ok_or(Undecodable {
        bytes: bytes.len(),
        kind: 0,
    })?;
    let kind = Kind::from_u16(header.kind)
        .and_then(|kind| decode_kind(kind, bytes))
        .ok_or(Undecodable {
            bytes: bytes.len(),
            kind: header.kind,
        })?;
    Ok(Event {
        seq: header.seq,
        boot_ns: header.time_ns,
        session: header.session,
        call: header.call,
        process: ProcessId {
            tgid: header.tgid,
            start_ns: header.start_ns,
        },
        image: ImageId {
            tgid: header.exec_tgid,
            exec_ns: header.exec_ns,
        },
        uid: header.uid,
        comm: text(header.comm.split(|&byte| byte == 0).next().unwrap_or_default()),
        kind,
    })
}

fn decode_kind(kind: Kind, bytes: &[u8]) -> Option<EventKind> {
    Some(match kind {
        Kind::Exec => EventKind::Exec(Box::new(decode_exec(bytes)?)),
        Kind::Exit => EventKind::Exit(exit_status(read::<ExitRecord>(bytes)?.status)),
        Kind::Open => {
            let record: OpenRecord = read(bytes)?;
            let path = bytes
                .get(size_of::<OpenRecord>()..)?
                .get(..record.path_len.into())?;
            let flags = record.header.flags;
            EventKind::Open {
                path: path_text(path, flags & FLAG_PATH_TRUNCATED != 0),
                path_truncated: flags & FLAG_PATH_TRUNCATED != 0,
                access: match (flags & FLAG_WRITE != 0, flags & FLAG_CREATED != 0) {
                    (true, true) => FileAccess::Create,
                    (true, false) => FileAccess::Write,
                    (false, _) => FileAccess::Read,
                },
                file: FileId {
                    dev: record.file.dev,
                    ino: record.file.ino,
                },
                watched_file: flags & FLAG_WATCHED_INODE != 0,
            }
        }
        Kind::Connect => {
            let record: ConnectRecord = read(bytes)?;
            EventKind::Connect {
                protocol: if record.protocol == 17 {
                    Protocol::Udp
                } else {
                    Protocol::Tcp
                },
                address: address(record.family, record.address)?,
                port: record.port,
            }
        }
        Kind::IoUring => EventKind::IoUring {
            entries: read::<IoUringRecord>(bytes)?.entries,
        },
        Kind::LabelLost => EventKind::LabelLost,
    })
}

fn decode_exec(bytes: &[u8]) -> Option<Exec> {
    let record: ExecRecord = read(bytes)?;
    let mut rest = bytes.get(size_of::<ExecRecord>()..)?;
    let mut part = |length: u16| {
        let (head, tail) = rest.split_at_checked(length.into())?;
        rest = tail;
        Some(head)
    };
    let filename = part(record.filename_len)?;
    let path = part(record.path_len)?;
    let cwd = part(record.cwd_len)?;
    let argv = part(record.argv_len)?;
    Some(Exec {
        parent: ImageId {
            tgid: record.parent_exec_tgid,
            exec_ns: record.parent_exec_ns,
        },
        ppid: record.ppid,
        filename: text(filename.strip_suffix(b"\0").unwrap_or(filename)),
        path: path_text(path, record.header.flags & FLAG_PATH_TRUNCATED != 0),
        cwd: path_text(
            cwd,
            record.header.flags & defenseclaw_abi::FLAG_CWD_TRUNCATED != 0,
        ),
        argv: split_arguments(argv),
        argv_truncated: record.header.flags & FLAG_ARGV_TRUNCATED != 0,
        file: FileId {
            dev: record.file.dev,
            ino: record.file.ino,
        },
    })
}

/// Turns components, last first and each with its NUL, into a path. A cut path begins with `…`.
fn path_text(components: &[u8], truncated: bool) -> String {
    let mut path = String::with_capacity(components.len() + 3);
    if truncated {
        path.push('…');
    }
    let names = components.strip_suffix(b"\0").unwrap_or(components);
    if names.is_empty() {
        path.push('/');
        return path;
    }
    for name in names.split(|&byte| byte == 0).rev() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `wait(2)` encoding.
fn exit_status(status: u32) -> ExitStatus {
    match status & 0x7f {
        0 => ExitStatus::Code((status >> 8) as u8),
        signal => ExitStatus::Signal(signal as u8),
    }
}

fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        2 => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        10 => Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
        // SAFETY: T is plain data without padding; its bytes may be read.
        unsafe { std::slice::from_raw_parts((value as *const T).cast::<u8>(), size_of::<T>()) }.to_vec()
    }

    #[test]
    fn an_open_reads_back() {
        let mut record = OpenRecord {
            path_len: 8,
            ..OpenRecord::default()
        };
        record.header.kind = Kind::Open as u16;
        record.header.flags = FLAG_WRITE | FLAG_CREATED;
        let mut bytes = bytes_of(&record);
        bytes.extend_from_slice(b"b.txt\0a\0");
        let event = decode(&bytes).unwrap();
        assert!(
            matches!(event.kind, EventKind::Open { ref path, access: FileAccess::Create, .. } if path == "/a/b.txt")
        );
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mut mapped = [0u8; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(address(10, mapped), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(address(1, mapped), None);
    }

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(exit_status(3 << 8), ExitStatus::Code(3));
        assert_eq!(exit_status(9 | 0x80), ExitStatus::Signal(9));
    }

    #[test]
    fn a_length_beyond_the_record_is_refused() {
        let mut record = ExecRecord {
            argv_len: 1,
            ..ExecRecord::default()
        };
        record.header.kind = Kind::Exec as u16;
        let bytes = bytes_of(&record);
        assert_eq!(
            decode(&bytes),
            Err(Undecodable {
                bytes: bytes.len(),
                kind: 1
            })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u16..9) {
            if bytes.len() > 2 {
                bytes[..2].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = decode(&bytes);
        }
    }
}
