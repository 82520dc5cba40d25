//! What bytes are, told by how they begin.

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text, or nothing that is known.
    Text,
    /// A zip archive, whatever it is called: wheels, extensions, documents.
    Zip,
    /// A gzip stream.
    Gzip,
    /// A tar archive.
    Tar,
    /// An archive that is not read: its name.
    OtherArchive(&'static str),
    /// Something that a machine executes: its name.
    Program(&'static str),
    /// Pictures, sound, films, fonts, documents.
    Media,
    /// Bytes that are no text.
    Unknown,
}

impl Format {
    /// Whether it holds files.
    pub(crate) fn is_archive(self) -> bool {
        matches!(self, Self::Zip | Self::Gzip | Self::Tar | Self::OtherArchive(_))
    }
}

/// How formats begin.
const MAGIC: &[(&[u8], Format)] = &[
    (b"PK\x03\x04", Format::Zip),
    (b"PK\x05\x06", Format::Zip),
    (b"\x1f\x8b", Format::Gzip),
    (b"\xfd7zXZ\0", Format::OtherArchive("xz")),
    (b"BZh", Format::OtherArchive("bzip2")),
    (b"7z\xbc\xaf\x27\x1c", Format::OtherArchive("7z")),
    (b"Rar!\x1a\x07", Format::OtherArchive("rar")),
    (b"\x28\xb5\x2f\xfd", Format::OtherArchive("zstd")),
    (b"MSCF", Format::OtherArchive("cabinet")),
    (b"!<arch>\n", Format::OtherArchive("ar")),
    (b"\xed\xab\xee\xdb", Format::OtherArchive("rpm")),
    (b"\x7fELF", Format::Program("an ELF program or library")),
    (b"MZ", Format::Program("a Windows program or library")),
    (
        b"\xfe\xed\xfa\xce",
        Format::Program("a Mach-O program or library"),
    ),
    (
        b"\xfe\xed\xfa\xcf",
        Format::Program("a Mach-O program or library"),
    ),
    (
        b"\xce\xfa\xed\xfe",
        Format::Program("a Mach-O program or library"),
    ),
    (
        b"\xcf\xfa\xed\xfe",
        Format::Program("a Mach-O program or library"),
    ),
    (
        b"\xca\xfe\xba\xbe",
        Format::Program("a Java class or a Mach-O program"),
    ),
    (b"\0asm", Format::Program("a WebAssembly module")),
    (b"dex\n", Format::Program("an Android program")),
    (b"\x89PNG\r\n\x1a\n", Format::Media),
    (b"\xff\xd8\xff", Format::Media),
    (b"GIF8", Format::Media),
    (b"RIFF", Format::Media),
    (b"OggS", Format::Media),
    (b"fLaC", Format::Media),
    (b"ID3", Format::Media),
    (b"\x1aE\xdf\xa3", Format::Media),
    (b"wOFF", Format::Media),
    (b"wOF2", Format::Media),
    (b"OTTO", Format::Media),
    (b"\0\x01\0\0\0", Format::Media),
    (b"\0\0\x01\0", Format::Media),
    (b"BM", Format::Media),
    (b"%PDF-", Format::Media),
    (b"II*\0", Format::Media),
    (b"MM\0*", Format::Media),
    (b"SQLite format 3\0", Format::Unknown),
];

/// How much of a file tells whether it is text (bytes).
const LOOKED_AT: usize = 8192;

/// What stands from the third byte of every Python bytecode file.
const PYC_MARK: &[u8] = b"\r\n";

/// What `bytes` are.
pub(crate) fn format_of(bytes: &[u8]) -> Format {
    let head = bytes.get(..bytes.len().min(LOOKED_AT)).unwrap_or_default();
    if bytes.get(257..262) == Some(b"ustar") {
        return Format::Tar;
    }
    // A text may begin with `BM` or `MZ` by chance, but has no zero bytes.
    let binary = head.contains(&0) && !is_utf16(head);
    if bytes.get(2..4) == Some(PYC_MARK) && bytes.len() >= 16 && binary {
        return Format::Program("compiled Python");
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Format::Media;
    }
    for &(magic, format) in MAGIC {
        let chance = magic.len() < 4 && !matches!(format, Format::Gzip);
        if bytes.starts_with(magic) && (binary || !chance) {
            return format;
        }
    }
    if binary { Format::Unknown } else { Format::Text }
}

/// Whether bytes are pictures, sound or fonts, of which the rest says no more than the beginning.
pub(crate) fn is_media(bytes: &[u8]) -> bool {
    format_of(bytes) == Format::Media
}

/// Whether a text stands in two bytes a character, by its mark.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_content() {
        for (bytes, format) in [
            (
                b"\x7fELF\x02\x01\x01\0".as_slice(),
                Format::Program("an ELF program or library"),
            ),
            (b"PK\x03\x04rest", Format::Zip),
            (b"# Title\n", Format::Text),
            (b"MZ is a magic", Format::Text),
            (
                b"MZ\x90\0\x03\0\0\0",
                Format::Program("a Windows program or library"),
            ),
            (
                b"\xcb\r\r\n\0\0\0\0aaaabbbbcccc",
                Format::Program("compiled Python"),
            ),
            (b"\x89PNG\r\n\x1a\n\0\0", Format::Media),
            (b"a\0b", Format::Unknown),
            (b"\xff\xfeh\0i\0", Format::Text),
            (b"", Format::Text),
        ] {
            assert_eq!(format_of(bytes), format, "{bytes:?}");
        }
    }
}
