//! A reader for BTF, the kernel's own type description, as far as member offsets need it.
//!
//! The format is `Documentation/bpf/btf.rst` of the kernel: a header, type records of variable length, and a string
//! table. The blob comes from the kernel, but it is read with every bound checked: an agent that cannot start because a
//! kernel is odd must say so, not crash.

use std::collections::HashMap;

/// Largest blob that is read (bytes). Distribution kernels have 4 to 8 MiB; debug kernels stay below 64.
pub const MAX_BTF_BYTES: u64 = 64 << 20;
/// Deepest nesting of anonymous members that is followed.
const MAX_NESTING: usize = 8;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// Why BTF could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error(
        "cannot read the kernel's type information at {path}: {reason}. The sensor needs a kernel built with \
         CONFIG_DEBUG_INFO_BTF (Linux 5.8 or newer distributions have it)"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The blob is not valid BTF.
    #[error("the kernel's type information is damaged at byte {at}: {what}")]
    Malformed {
        /// Offset in the blob.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A structure or member that the sensor needs is not there.
    #[error(
        "this kernel's type information has no {0}; the sensor cannot work on it. Please report the kernel version"
    )]
    Missing(String),
}

/// Structures and unions of a BTF blob, by name.
pub struct Btf<'a> {
    types: Vec<Type>,
    members: Vec<Member>,
    strings: &'a [u8],
    by_name: HashMap<&'a str, u32>,
}

#[derive(Clone, Copy)]
struct Type {
    kind: u32,
    /// Range in `members` for structures and unions.
    first: u32,
    count: u32,
    /// The type referred to, for modifiers and typedefs.
    refers: u32,
    bitfields: bool,
}

#[derive(Clone, Copy)]
struct Member {
    name: u32,
    kind: u32,
    offset: u32,
}

impl<'a> Btf<'a> {
    /// Reads a blob.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let word = |at: usize| -> Result<u32, BtfError> {
            let bytes = blob.get(at..at.saturating_add(4)).ok_or(BtfError::Malformed {
                at,
                what: "cut short",
            })?;
            Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        if word(0)? & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Malformed {
                at: 0,
                what: "wrong magic number",
            });
        }
        let header = word(4)? as usize;
        let section = |offset: u32, length: u32| -> Result<(usize, usize), BtfError> {
            let start = header.saturating_add(offset as usize);
            let end = start.saturating_add(length as usize);
            if end > blob.len() {
                return Err(BtfError::Malformed {
                    at: start,
                    what: "a section reaches beyond the end",
                });
            }
            Ok((start, end))
        };
        let (mut at, types_end) = section(word(8)?, word(12)?)?;
        let (strings_start, strings_end) = section(word(16)?, word(20)?)?;
        let mut btf = Btf {
            types: vec![Type {
                kind: 0,
                first: 0,
                count: 0,
                refers: 0,
                bitfields: false,
            }],
            members: Vec::new(),
            strings: &blob[strings_start..strings_end],
            by_name: HashMap::new(),
        };
        while at < types_end {
            at = btf.take_type(at, types_end, &word)?;
        }
        Ok(btf)
    }

    /// Reads the type record at `at`; returns where the next begins.
    fn take_type(
        &mut self,
        at: usize,
        end: usize,
        word: &impl Fn(usize) -> Result<u32, BtfError>,
    ) -> Result<usize, BtfError> {
        let (name, info, refers) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let (kind, count) = ((info >> 24) & 0x1f, info & 0xffff);
        // Bytes of the kind's own data behind the common twelve, per element and fixed.
        let (each, fixed) = match kind {
            KIND_STRUCT | KIND_UNION => (12, 0),
            6 | 15 => (if kind == 6 { 8 } else { 12 }, 0), // ENUM, DATASEC
            19 => (12, 0),                                 // ENUM64
            13 => (8, 0),                                  // FUNC_PROTO
            1 | 14 | 17 => (0, 4),                         // INT, VAR, DECL_TAG
            3 => (0, 12),                                  // ARRAY
            2 | 7..=12 | 16 | 18 => (0, 0), // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
            _ => {
                return Err(BtfError::Malformed {
                    at,
                    what: "unknown kind of type",
                });
            }
        };
        let next = at + 12 + fixed + each * count as usize;
        if next > end {
            return Err(BtfError::Malformed {
                at,
                what: "a type reaches beyond its section",
            });
        }
        let first = self.members.len() as u32;
        let mut members = 0;
        if kind == KIND_STRUCT || kind == KIND_UNION {
            for member in 0..count as usize {
                let entry = at + 12 + member * 12;
                self.members.push(Member {
                    name: word(entry)?,
                    kind: word(entry + 4)?,
                    offset: word(entry + 8)?,
                });
            }
            members = count;
            let id = self.types.len() as u32;
            if let Some(text) = self.string(name).filter(|text| !text.is_empty()) {
                self.by_name.entry(text).or_insert(id);
            }
        }
        self.types.push(Type {
            kind,
            first,
            count: members,
            refers,
            bitfields: info >> 31 != 0,
        });
        Ok(next)
    }

    fn string(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// Byte offset of a member, written `structure.member.member`; members of anonymous structures and unions count as
    /// members of what holds them.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(path.to_owned());
        let mut parts = path.split('.');
        let mut id = *parts
            .next()
            .and_then(|name| self.by_name.get(name))
            .ok_or_else(missing)?;
        let mut bytes = 0u32;
        for part in parts {
            let (bits, kind) = self.member(id, part, 0).ok_or_else(missing)?;
            if bits % 8 != 0 {
                return Err(missing()); // A bit field cannot be read as a whole.
            }
            bytes = bytes.checked_add(bits / 8).ok_or_else(missing)?;
            id = kind;
        }
        Ok(bytes)
    }

    /// Bit offset and type of the member `name` of type `id`.
    fn member(&self, id: u32, name: &str, depth: usize) -> Option<(u32, u32)> {
        let holder = self.resolve(id)?;
        if depth > MAX_NESTING {
            return None;
        }
        let members = self
            .members
            .get(holder.first as usize..(holder.first + holder.count) as usize)?;
        let bits = |member: &Member| {
            if holder.bitfields {
                member.offset & 0xff_ffff
            } else {
                member.offset
            }
        };
        for member in members {
            let text = self.string(member.name)?;
            if text == name {
                return Some((bits(member), member.kind));
            }
            if text.is_empty()
                && let Some((inner, kind)) = self.member(member.kind, name, depth + 1)
            {
                return Some((bits(member).checked_add(inner)?, kind));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to a structure or union.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_NESTING {
            let found = *self.types.get(id as usize)?;
            match found.kind {
                KIND_STRUCT | KIND_UNION => return Some(found),
                8..=11 | 18 => id = found.refers,
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts a blob together from type records and strings.
    fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let length = (types.len() * 4) as u32;
        for word in [0x0001_eb9f, 24, 0, length, length, strings.len() as u32]
            .iter()
            .chain(types)
        {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(strings);
        out
    }

    fn sample() -> Vec<u8> {
        // struct outer { int a; struct { int b; } ; } with offsets 0 and 64 bits
        let strings = b"\0outer\0a\0b\0int\0";
        let types = [
            11,
            1 << 24,
            4,
            32, // 1: int
            0,
            (4 << 24) | 1,
            4,
            9,
            1,
            32, // 2: anonymous struct { int b at 32 }
            1,
            (4 << 24) | 2,
            16,
            7,
            1,
            0,
            0,
            2,
            64, // 3: struct outer { int a at 0; anonymous at 64 }
        ];
        blob(&types, strings)
    }

    #[test]
    fn members_are_found_through_anonymous_structures() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("outer.a"), Ok(0));
        assert_eq!(btf.offset("outer.b"), Ok(12));
        assert_eq!(btf.offset("outer.c"), Err(BtfError::Missing("outer.c".into())));
        assert_eq!(
            btf.offset("nothing.a"),
            Err(BtfError::Missing("nothing.a".into()))
        );
    }

    #[test]
    fn damage_is_named() {
        let mut bytes = sample();
        bytes.truncate(40);
        assert!(matches!(Btf::parse(&bytes), Err(BtfError::Malformed { .. })));
        assert!(matches!(Btf::parse(b"no"), Err(BtfError::Malformed { .. })));
        assert!(matches!(
            Btf::parse(&[0; 64]),
            Err(BtfError::Malformed { at: 0, .. })
        ));
    }

    proptest! {
        #[test]
        fn no_blob_makes_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), valid: bool) {
            if valid {
                let mut sample = sample();
                for (place, byte) in bytes.iter().enumerate() {
                    let at = (place * 37 + usize::from(*byte)) % sample.len();
                    if at > 24 { sample[at] ^= byte; }
                }
                bytes = sample;
            }
            if let Ok(btf) = Btf::parse(&bytes) {
                let _ = btf.offset("outer.b");
            }
        }
    }
}
