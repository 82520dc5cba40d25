//! Archives, unpacked in memory and within bounds.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::walk::leads_out;
use super::{
    Collector, Entry, Format, Known, MAX_FILE, MAX_NESTING, MAX_PATH, MAX_RATIO, MAX_UNPACKED, RATIO_FROM,
    misread, name_of,
};

/// Takes the files in the archive that the collector's file `at` is.
pub(super) fn expand(collector: &mut Collector, at: usize, format: Format, path: &str, nesting: u32) {
    if nesting >= MAX_NESTING {
        let message = format!("Archives lie in archives deeper than {MAX_NESTING}: it was not opened");
        return collector.tell(path, Known::Limit, message);
    }
    if let Format::OtherArchive(name) = format {
        let message = format!("An archive of the kind {name}, which cannot be looked into");
        return collector.tell(path, Known::Unsupported, message);
    }
    // Taken out for as long as its files are added, so that it is not there twice.
    let Some(bytes) = collector
        .files
        .get_mut(at)
        .map(|file| std::mem::take(&mut file.bytes))
    else {
        return;
    };
    match format {
        Format::Zip => zip(collector, &bytes, path, nesting + 1),
        Format::Tar => tar(collector, &bytes, path, nesting + 1),
        Format::Gzip => gzip(collector, &bytes, path, nesting),
        _ => {}
    }
    if let Some(file) = collector.files.get_mut(at) {
        file.bytes = bytes;
    }
}

/// How far something of `packed` bytes may grow.
fn allowed(packed: u64) -> u64 {
    packed.saturating_mul(MAX_RATIO).max(RATIO_FROM)
}

/// What was read of a packed file.
enum Unpacked {
    Whole(Vec<u8>),
    /// More than is kept, though not suspicious in itself.
    Cut(Vec<u8>),
    Bomb,
    Damaged(String),
}

/// Reads up to `keep` bytes, and sees whether there would be more than `packed` bytes may become.
fn unpack(mut from: impl Read, packed: u64, keep: u64) -> Unpacked {
    let most = allowed(packed);
    let mut bytes = Vec::new();
    match from.by_ref().take(keep.min(most)).read_to_end(&mut bytes) {
        Err(error) => return Unpacked::Damaged(error.to_string()),
        Ok(_) if (bytes.len() as u64) < keep.min(most) => return Unpacked::Whole(bytes),
        Ok(_) => {}
    }
    // What is not kept is still measured, as far as a bomb would reach.
    let more = most.saturating_add(1).min(MAX_UNPACKED.max(keep + 1)) - bytes.len() as u64;
    match std::io::copy(&mut from.take(more), &mut std::io::sink()) {
        Ok(0) => Unpacked::Whole(bytes),
        Ok(read) if bytes.len() as u64 + read > most => Unpacked::Bomb,
        Ok(_) => Unpacked::Cut(bytes),
        Err(error) => Unpacked::Damaged(error.to_string()),
    }
}

/// Adds a file of an archive.
fn add(collector: &mut Collector, entry: Entry, unpacked: Unpacked) {
    match unpacked {
        Unpacked::Whole(bytes) => {
            let size = bytes.len() as u64;
            collector.add(Entry { size, ..entry }, bytes);
        }
        Unpacked::Cut(bytes) => {
            let size = entry.size.max(bytes.len() as u64 + 1);
            collector.add(Entry { size, ..entry }, bytes);
        }
        Unpacked::Bomb => {
            let message = format!("It unpacks to more than {MAX_RATIO} times its size");
            collector.tell(&entry.path, Known::Bomb, message);
        }
        Unpacked::Damaged(why) => {
            collector.tell(
                &entry.path,
                Known::Damaged,
                format!("It cannot be unpacked: {why}"),
            );
        }
    }
}

/// The path under which a file of an archive is shown; tells where its name leads out of the folder that it is unpacked in.
fn inside(collector: &mut Collector, archive: &str, raw: &[u8]) -> Option<String> {
    let name = name_of(raw);
    let shown = format!("{archive}!/{}", name.trim_start_matches('/'));
    if shown.len() > MAX_PATH {
        collector.tell(
            archive,
            Known::Limit,
            "A path in it is too long to be read".to_owned(),
        );
        return None;
    }
    let plain = name.replace('\\', "/");
    let drive = plain.as_bytes().get(1) == Some(&b':');
    if leads_out("", &plain) || drive {
        let message = format!("It holds a file whose name leads out of its folder: {name}");
        collector.tell(archive, Known::Traversal, message);
    }
    if misread(&shown) {
        let message = "A name in it holds characters that are not seen or turn its direction".to_owned();
        collector.tell(&shown, Known::Name, message);
    }
    Some(shown)
}

fn zip(collector: &mut Collector, bytes: &[u8], path: &str, nesting: u32) {
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => {
            return collector.tell(
                path,
                Known::Damaged,
                format!("The archive cannot be read: {error}"),
            );
        }
    };
    for number in 0..archive.len() {
        if !collector.takes_more(path) {
            return;
        }
        let (entry, packed, link, encrypted) = match archive.by_index_raw(number) {
            Ok(file) => {
                let Some(shown) = inside(collector, path, file.name_raw()) else {
                    continue;
                };
                if file.is_dir() {
                    continue;
                }
                let entry = Entry {
                    path: shown,
                    size: file.size(),
                    executable: file.unix_mode().is_some_and(|mode| mode & 0o111 != 0),
                    nesting,
                };
                (entry, file.compressed_size(), file.is_symlink(), file.encrypted())
            }
            Err(error) => {
                collector.tell(path, Known::Damaged, format!("An entry cannot be read: {error}"));
                continue;
            }
        };
        if encrypted {
            let message = "It is locked by a password, so nobody looked at it".to_owned();
            collector.tell(&entry.path, Known::Encrypted, message);
            continue;
        }
        let keep = MAX_FILE.min(collector.room());
        let unpacked = match archive.by_index(number) {
            Ok(file) => unpack(file, packed, keep),
            Err(error) => Unpacked::Damaged(error.to_string()),
        };
        match (link, unpacked) {
            (true, Unpacked::Whole(target)) => archive_link(collector, &entry.path, &name_of(&target)),
            (_, unpacked) => add(collector, entry, unpacked),
        }
    }
}

fn archive_link(collector: &mut Collector, path: &str, target: &str) {
    let within = path.rsplit_once("!/").map_or(path, |(_, within)| within);
    let known = if leads_out(within, target) {
        Known::ArchiveLink
    } else {
        Known::Link
    };
    collector.tell(path, known, format!("It holds a link to {target}"));
}

fn tar(collector: &mut Collector, bytes: &[u8], path: &str, nesting: u32) {
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let damaged = |collector: &mut Collector, error: &std::io::Error| {
        collector.tell(
            path,
            Known::Damaged,
            format!("The archive cannot be read: {error}"),
        );
    };
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return damaged(collector, &error),
    };
    for entry in entries {
        if !collector.takes_more(path) {
            return;
        }
        let mut file = match entry {
            Ok(file) => file,
            Err(error) => return damaged(collector, &error),
        };
        let Some(shown) = inside(collector, path, &file.path_bytes()) else {
            continue;
        };
        let kind = file.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = file
                .link_name_bytes()
                .map(|target| name_of(&target))
                .unwrap_or_default();
            // A hard link's target counts from the archive's own folder.
            let from = if kind.is_hard_link() { "" } else { shown.as_str() };
            archive_link(collector, if from.is_empty() { path } else { from }, &target);
        } else if kind.is_file() || kind.is_gnu_sparse() || kind.is_contiguous() {
            let entry = Entry {
                path: shown,
                size: file.size(),
                executable: file.header().mode().is_ok_and(|mode| mode & 0o111 != 0),
                nesting,
            };
            let keep = MAX_FILE.min(collector.room());
            let unpacked = unpack(&mut file, bytes.len() as u64, keep);
            add(collector, entry, unpacked);
        } else if !kind.is_dir() && !kind.is_pax_global_extensions() {
            let message = "It holds a FIFO or a device".to_owned();
            collector.tell(&shown, Known::Special, message);
        }
    }
}

fn gzip(collector: &mut Collector, bytes: &[u8], path: &str, nesting: u32) {
    let keep = MAX_UNPACKED.min(collector.room());
    let unpacked = unpack(flate2::read::MultiGzDecoder::new(bytes), bytes.len() as u64, keep);
    let tarred = match &unpacked {
        Unpacked::Whole(inner) | Unpacked::Cut(inner) => super::format_of(inner) == Format::Tar,
        _ => false,
    };
    match unpacked {
        // Its files count, not the stream that carries them.
        Unpacked::Whole(inner) if tarred => tar(collector, &inner, path, nesting + 1),
        Unpacked::Cut(inner) if tarred => {
            let message = format!("It unpacks to more than {keep} bytes: the rest is not looked at");
            collector.tell(path, Known::Limit, message);
            tar(collector, &inner, path, nesting + 1);
        }
        unpacked => {
            let name = path.rsplit(['/']).next().unwrap_or(path);
            let name = name.strip_suffix(".gz").unwrap_or("content").to_owned();
            let entry = Entry {
                path: format!("{path}!/{name}"),
                size: 0,
                executable: false,
                nesting: nesting + 1,
            };
            add(collector, entry, unpacked);
        }
    }
}
