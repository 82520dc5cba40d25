//! Where in a text one of many short literals stands, in one cheap pass: a bit for each triple of characters says whether any
//! literal begins so, and only there the literals themselves are compared, eight bytes at once.
//!
//! No automaton: it is built in no time, keeps some tens of KiB whatever the literals, and its steps do not wait for each
//! other.

/// Bytes of a literal that are compared; more are hardly more selective.
pub(crate) const MAX_LITERAL: usize = 8;

/// Fewest bytes of a literal: shorter ones stand everywhere.
pub(crate) const MIN_LITERAL: usize = 3;

/// Classes of characters: 26 letters without case, ten digits, and what is left folded into the rest.
const CLASSES: u8 = 64;

/// Words of 64 bits that have one bit for each triple of classes.
const TRIPLES: usize = (CLASSES as usize).pow(3) / 64;

/// Bytes that are looked at at once.
const BLOCK: usize = 256;

/// A byte that belongs to a word.
const WORD: u8 = 1;

/// A byte with which a literal begins where a word does.
const STARTS: u8 = 2;

/// A byte with which a literal begins that may stand inside a word.
const INSIDE: u8 = 4;

const CLASS: [u8; 256] = classes();

/// Literals, ready to be searched for.
#[derive(Debug)]
pub(crate) struct Spotter {
    /// What each byte is: [`WORD`], [`STARTS`], [`INSIDE`].
    begins: Box<[u8; 256]>,
    /// One bit for each triple of classes.
    triples: Box<[u64; TRIPLES]>,
    /// Hash table without deletion: which entries begin with three bytes.
    slots: Box<[Slot]>,
    entries: Box<[Entry]>,
    owners: Box<[u32]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The three bytes, plus a bit that says that the slot is taken.
    key: u32,
    first: u32,
    count: u32,
    /// The classes that the fourth, fifth and sixth byte can have.
    next: [u64; 3],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    literal: u64,
    mask: u64,
    /// Whether it may begin inside a word.
    inside: bool,
    owners: (u32, u32),
}

impl Spotter {
    /// `literals`: each with the number that it stands for, and whether it may begin inside a word. Upper and lower case
    /// are one; of a literal its first [`MAX_LITERAL`] bytes count, and one shorter than [`MIN_LITERAL`] is never found.
    pub(crate) fn new(literals: &[(Vec<u8>, u32, bool)]) -> Self {
        let mut triples = Box::new([0_u64; TRIPLES]);
        let mut begins = Box::new(std::array::from_fn(|byte| u8::from(is_word(byte as u8)) * WORD));
        let mut sorted: Vec<(u32, u64, u64, bool, u32)> = Vec::with_capacity(literals.len());
        for (literal, owner, inside) in literals {
            let short = literal.get(..literal.len().min(MAX_LITERAL)).unwrap_or_default();
            if short.len() < MIN_LITERAL {
                continue;
            }
            let value = lower(eight(short, 0));
            let mask = u64::MAX >> (8 * (MAX_LITERAL - short.len()));
            let index = short.iter().take(3).fold(0, |index, &byte| step(index, byte));
            triples[(index >> 6) % TRIPLES] |= 1 << (index & 63);
            let first = short.first().copied().unwrap_or(0);
            for byte in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                begins[usize::from(byte)] |= if *inside { STARTS | INSIDE } else { STARTS };
            }
            sorted.push((key(value), value, mask, *inside, *owner));
        }
        sorted.sort_unstable();
        sorted.dedup();
        let (mut entries, mut owners): (Vec<Entry>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut firsts: Vec<Slot> = Vec::new();
        for (key, literal, mask, inside, owner) in sorted {
            let at = owners.len() as u32;
            owners.push(owner);
            match entries.last_mut() {
                Some(last) if (last.literal, last.mask, last.inside) == (literal, mask, inside) => {
                    last.owners.1 = at + 1;
                }
                _ => {
                    if firsts.last().is_none_or(|last| last.key != key) {
                        firsts.push(Slot {
                            key,
                            first: entries.len() as u32,
                            ..Slot::default()
                        });
                    }
                    if let Some(last) = firsts.last_mut() {
                        last.count += 1;
                        for (number, next) in (3..).zip(&mut last.next) {
                            let given = mask >> (8 * number) & 1 == 1;
                            *next |= if given {
                                1 << class(literal, number)
                            } else {
                                u64::MAX
                            };
                        }
                    }
                    entries.push(Entry {
                        literal,
                        mask,
                        inside,
                        owners: (at, at + 1),
                    });
                }
            }
        }
        // At most half of the slots are taken.
        let size = (firsts.len() * 2).next_power_of_two().max(2);
        let mut slots = vec![Slot::default(); size].into_boxed_slice();
        for first in firsts {
            let mut at = place(first.key, size);
            while slots.get(at).is_some_and(|slot| slot.key != 0) {
                at = (at + 1) & (size - 1);
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = first;
            }
        }
        Self {
            begins,
            triples,
            slots,
            entries: entries.into_boxed_slice(),
            owners: owners.into_boxed_slice(),
        }
    }

    /// Tells each place where a literal stands, in order, and whose it is, until `tell` says that it is enough. A literal
    /// that may not begin inside a word is told only where a word begins, or where it begins with no letter.
    pub(crate) fn spot(&self, text: &[u8], mut tell: impl FnMut(usize, u32) -> bool) {
        let mut places = [0_u16; BLOCK];
        let mut before = 0;
        for (number, block) in text.chunks(BLOCK).enumerate() {
            let from = number * BLOCK;
            let count = self.beginnings(block, &mut before, &mut places);
            let count = self.triples_among(text, from, count, &mut places);
            for &place in places.get(..count).unwrap_or_default() {
                if !self.compare(text, from + usize::from(place), &mut tell) {
                    return;
                }
            }
        }
    }

    /// Where in a block a literal can begin by its first byte and the one before. Without branches, which would be guessed
    /// wrongly all the time.
    fn beginnings(&self, block: &[u8], before: &mut u8, places: &mut [u16; BLOCK]) -> usize {
        let (mut count, mut last) = (0, *before);
        for (at, &byte) in (0_u16..).zip(block) {
            let kind = self.begins[usize::from(byte)];
            let begins = kind >> 2 | (kind >> 1 & !(kind & last));
            // A block has no more places than bytes, so that the remainder changes nothing but the check.
            places[count % BLOCK] = at;
            count += usize::from(begins & 1);
            last = kind;
        }
        *before = last;
        count
    }

    /// Which of these places have the first three bytes of a literal; they come to stand first.
    fn triples_among(&self, text: &[u8], from: usize, count: usize, places: &mut [u16; BLOCK]) -> usize {
        let mut kept = 0;
        for number in 0..count.min(BLOCK) {
            let place = places[number];
            let three = text
                .get(from + usize::from(place)..)
                .and_then(|rest| rest.first_chunk::<3>());
            let index = three.map_or(0, |three| three.iter().fold(0, |index, &byte| step(index, byte)));
            let bit = self.triples[(index >> 6) % TRIPLES] >> (index & 63) & 1;
            places[kept % BLOCK] = place;
            kept += bit as usize & usize::from(three.is_some());
        }
        kept
    }

    #[inline(never)]
    fn compare(&self, text: &[u8], start: usize, tell: &mut impl FnMut(usize, u32) -> bool) -> bool {
        let here = lower(eight(text, start));
        let wanted = key(here);
        let mut at = place(wanted, self.slots.len());
        let slot = loop {
            match self.slots.get(at) {
                Some(slot) if slot.key == wanted => break slot,
                Some(slot) if slot.key != 0 => at = (at + 1) & (self.slots.len() - 1),
                _ => return true,
            }
        };
        let [fourth, fifth, sixth] = slot.next;
        if fourth >> class(here, 3) & fifth >> class(here, 4) & sixth >> class(here, 5) & 1 == 0 {
            return true;
        }
        let word = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|&byte| is_word(byte));
        let within = word(start.checked_sub(1)) && word(Some(start));
        let entries = self
            .entries
            .get(slot.first as usize..(slot.first + slot.count) as usize);
        for entry in entries.unwrap_or_default() {
            if here & entry.mask != entry.literal || (within && !entry.inside) {
                continue;
            }
            let owners = self.owners.get(entry.owners.0 as usize..entry.owners.1 as usize);
            for &owner in owners.unwrap_or_default() {
                if !tell(start, owner) {
                    return false;
                }
            }
        }
        true
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The class of one of eight bytes.
fn class(bytes: u64, number: u32) -> u8 {
    let byte = (bytes >> (8 * number)) as u8;
    CLASS.get(usize::from(byte)).copied().unwrap_or(0)
}

fn step(index: usize, byte: u8) -> usize {
    let class = CLASS.get(usize::from(byte)).copied().unwrap_or(0);
    (index << 6 | usize::from(class)) & ((1 << 18) - 1)
}

fn key(value: u64) -> u32 {
    (value & 0xFF_FFFF) as u32 | 1 << 24
}

fn place(key: u32, size: usize) -> usize {
    // Fibonacci hashing: the upper bits of the product are well mixed.
    (key.wrapping_mul(0x9E37_79B9) >> 12) as usize & (size - 1)
}

/// Eight bytes of `text` from `start` on, the first lowest; zeros behind its end.
fn eight(text: &[u8], start: usize) -> u64 {
    let rest = text.get(start..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => rest
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    }
}

/// Eight bytes with ASCII's upper-case letters as lower-case ones.
fn lower(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7F * EACH);
    // The top bit of each byte: whether it is at least `A`, and whether it is more than `Z`.
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let over_z = low + (0x7F - b'Z' as u64) * EACH;
    let upper = (from_a ^ over_z) & !bytes & (0x80 * EACH);
    bytes | upper >> 2
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        table[byte] = if one.is_ascii_alphabetic() {
            one.to_ascii_lowercase() - b'a'
        } else if one.is_ascii_digit() {
            one - b'0' + 26
        } else {
            36 + one % (CLASSES - 36)
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spotted(literals: &[(&str, bool)], text: &[u8]) -> Vec<(usize, u32)> {
        let literals: Vec<_> = literals
            .iter()
            .zip(0..)
            .map(|(&(literal, inside), number)| (literal.as_bytes().to_vec(), number, inside))
            .collect();
        let mut found = Vec::new();
        Spotter::new(&literals).spot(text, |at, owner| {
            found.push((at, owner));
            true
        });
        found
    }

    #[test]
    fn literals_are_found_in_any_case_and_at_the_texts_ends() {
        let literals = [
            ("Ignore ", false),
            ("pass", true),
            ("<|im", false),
            ("ignore", false),
            ("忽略", false),
        ];
        assert_eq!(spotted(&literals, b"IGNORE it"), [(0, 3), (0, 0)]);
        assert_eq!(spotted(&literals, b"x ignore"), [(2, 3)]);
        assert_eq!(spotted(&literals, b"xignore my_PASS"), [(11, 1)]);
        assert_eq!(spotted(&literals, b"x<|im_"), [(1, 2)]);
        assert_eq!(spotted(&literals, "请忽略".as_bytes()), [(3, 4)]);
        assert_eq!(spotted(&literals, b"pa"), []);
        assert_eq!(
            spotted(&[("token", true), ("tok_", false)], b"a_tok_ b_token tok_"),
            [(9, 0), (15, 1)]
        );
    }

    proptest! {
        #[test]
        fn what_is_there_is_found(text in "[a-cA-C _<é]{0,60}", literal in "[a-c _<]{3,9}", inside in any::<bool>()) {
            let (bytes, short) = (text.to_ascii_lowercase(), &literal[..literal.len().min(MAX_LITERAL)]);
            let bytes = bytes.as_bytes();
            let wanted: Vec<(usize, u32)> = (0..bytes.len())
                .filter(|&at| bytes[at..].starts_with(short.as_bytes()))
                .filter(|&at| inside || at == 0 || !(is_word(bytes[at - 1]) && is_word(bytes[at])))
                .map(|at| (at, 0))
                .collect();
            prop_assert_eq!(spotted(&[(&literal, inside)], text.as_bytes()), wanted);
        }

        #[test]
        fn eight_bytes_are_lowered_as_each_is(bytes in any::<[u8; 8]>()) {
            prop_assert_eq!(lower(u64::from_le_bytes(bytes)).to_le_bytes(), bytes.map(|byte| byte.to_ascii_lowercase()));
        }
    }
}
