//! Sentences of a text, the classes of words in each, and which acts are turned round.

use super::addresses;
use super::bits::Bits;
use super::pack::Term;
use crate::scan::lines::Lines;
use crate::spotter::{MIN_LITERAL, Spotter};
use crate::text::fold::fold_phrase;

/// Longest sentence (bytes): what goes on without a stop is cut, so that a list does not become one statement.
const MAX_SENTENCE: usize = 420;

/// Most words of one sentence that are weighed; no sentence of that length has so many that mean anything.
const MAX_WORDS: usize = 128;

/// The same of a block of code.
const MAX_CODE_WORDS: usize = 400;

/// Shortest and longest quotation that says something of its own (bytes); what is shorter is a name.
const QUOTED: std::ops::RangeInclusive<usize> = 8..=300;

/// Most words of one text that are noted.
const MAX_HITS: usize = 1 << 17;

/// How far before an act its negation may stand, and how far behind it (bytes).
const TURNED_BEFORE: usize = 48;
const TURNED_BEHIND: usize = 44;

/// Most letters that a word with `*` goes on for.
const MAX_ENDING: usize = 14;

/// What ends the reach of a negation.
const CLAUSE_ENDS: [&str; 9] = [
    "; ", ": ", " but ", " then ", " aber ", " mais ", " pero ", " mas ", " instead",
];

/// What joins acts that one negation turns round all: "never read, copy or send".
const JOINS: [&str; 12] = [
    " or ", ", ", " nor ", " and ", "/", " oder ", " ou ", " o ", " и ", " und ", " et ", " e ",
];

/// What a word does besides belonging to its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    /// It turns round the act behind it.
    TurnsBehind,
    /// It turns round the act before it.
    TurnsBefore,
    /// It takes away the act behind it, which somebody else wants.
    TakesAway,
}

/// A word or phrase of a class.
#[derive(Debug)]
pub(super) struct Word {
    text: Box<str>,
    goes_on: bool,
    bit: usize,
    role: Role,
}

/// Two words close to each other, in order.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) first: Term,
    pub(super) then: Term,
    pub(super) gap: usize,
    pub(super) either: bool,
    pub(super) bit: usize,
}

/// A meaning that several combinations have.
#[derive(Debug)]
pub(super) struct Concept {
    pub(super) any: Vec<Vec<Term>>,
    pub(super) unless: Vec<Term>,
    /// Whether it is for blocks of code; else for prose.
    pub(super) code: bool,
    pub(super) bit: usize,
}

/// The classes that stand in a sentence: as they are, and turned round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) plain: Bits,
    pub(super) turned: Bits,
}

/// A sentence of a folded text.
#[derive(Debug)]
pub(super) struct Sentence {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: u32,
    pub(super) paragraph: usize,
    pub(super) words: Words,
    /// The same without what stands between quotation marks.
    pub(super) unquoted: Words,
    /// Whether it is a row of a table, which says what there is.
    pub(super) table: bool,
}

/// Finds sentences and what stands in them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    spotter: Option<Spotter>,
    words: Vec<Word>,
    pub(super) acts: Bits,
    /// The class of texts that are written where they are read at every start: what is quoted there is meant.
    pub(super) plants: Option<usize>,
    pub(super) pairs: Vec<Pair>,
    pub(super) concepts: Vec<Concept>,
}

/// A word where it stands.
#[derive(Debug, Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
    bit: usize,
    role: Role,
    turned: bool,
    /// Whether somebody else wants it.
    gone: bool,
}

impl Word {
    /// `None` where it is too short to be found.
    pub(super) fn new(word: &str, bit: usize, role: Role) -> Option<Self> {
        let (text, goes_on) = match word.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (word, false),
        };
        let text = fold_phrase(&text.to_lowercase());
        (text.len() >= MIN_LITERAL).then(|| Self {
            text: text.into_boxed_str(),
            goes_on,
            bit,
            role,
        })
    }

    /// Where the word ends that begins at `start`; `None` where another word stands there.
    fn end_in(&self, text: &str, start: usize) -> Option<usize> {
        let rest = text.get(start..)?.strip_prefix(&*self.text)?;
        let first = self.text.chars().next()?;
        let before = text.get(..start)?.chars().next_back();
        if spaced(first) && before.is_some_and(spaced) {
            return None;
        }
        let mut end = start + self.text.len();
        let last = self.text.chars().next_back()?;
        if !spaced(last) {
            return Some(end);
        }
        let mut letters = 0;
        for c in rest.chars() {
            if !spaced(c) {
                break;
            }
            letters += 1;
            if !self.goes_on {
                return None;
            }
            if letters > MAX_ENDING {
                break;
            }
            end += c.len_utf8();
        }
        Some(end)
    }
}

/// Whether a character belongs to words that spaces separate. Chinese, Japanese and Korean write on; their particles and
/// endings stand where other languages begin a new word.
fn spaced(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    c.is_alphanumeric()
        && !matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..)
}

impl Words {
    pub(super) fn is_empty(self) -> bool {
        self.plain.is_empty() && self.turned.is_empty()
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            plain: self.plain.with(other.plain),
            turned: self.turned.with(other.turned),
        }
    }
}

impl Reader {
    /// Takes the words that are looked for.
    pub(super) fn search_for(&mut self, words: Vec<Word>) {
        let literals: Vec<(Vec<u8>, u32, bool)> = (0..)
            .zip(&words)
            .map(|(number, word)| {
                let bytes = word.text.as_bytes().to_vec();
                let inside = bytes.first().is_some_and(|byte| !byte.is_ascii_alphanumeric());
                // Letters that look Latin make words of other scripts begin like Latin ones.
                (bytes, number, inside || !word.text.is_ascii())
            })
            .collect();
        self.spotter = (!words.is_empty()).then(|| Spotter::new(&literals));
        self.words = words;
    }

    /// The sentences of a text, with what stands in each.
    pub(super) fn read(&self, lines: &Lines, topic: &str) -> Vec<Sentence> {
        let text = lines.text();
        let hits = self.hits(text);
        if hits.is_empty() {
            return Vec::new();
        }
        let mut sentences = Vec::new();
        let mut rest = hits.as_slice();
        for (start, end) in bounds(lines) {
            let from = rest.partition_point(|hit| hit.start < start);
            rest = rest.get(from..).unwrap_or_default();
            let count = rest.partition_point(|hit| hit.start < end);
            let code = lines.code_blocks().binary_search(&(start, end)).is_ok();
            let most = if code { MAX_CODE_WORDS } else { MAX_WORDS };
            let mut here = rest.get(..count.min(most)).unwrap_or_default().to_vec();
            rest = rest.get(count..).unwrap_or_default();
            let said = text.get(start..end).unwrap_or_default();
            let (words, unquoted) = if code {
                let words = self.weigh_code(said, &here, topic);
                (words, words)
            } else {
                self.weigh(said, start, &mut here, topic)
            };
            let first = here.first().map_or(start, |hit| hit.start);
            sentences.push(Sentence {
                start,
                end,
                line: lines.line(first),
                paragraph: lines.paragraph(start),
                words,
                unquoted,
                table: lines.is_table(start),
            });
        }
        sentences
    }

    fn hits(&self, text: &str) -> Vec<Hit> {
        let mut hits = Vec::new();
        let Some(spotter) = &self.spotter else {
            return hits;
        };
        spotter.spot(text.as_bytes(), |start, number| {
            let word = self.words.get(number as usize);
            if let Some((word, end)) = word.and_then(|word| Some((word, word.end_in(text, start)?))) {
                hits.push(Hit {
                    start,
                    end,
                    bit: word.bit,
                    role: word.role,
                    turned: false,
                    gone: false,
                });
            }
            hits.len() < MAX_HITS
        });
        hits.sort_by_key(|hit| hit.start);
        hits
    }

    /// What a sentence says, and what it says where nothing is quoted.
    fn weigh(&self, said: &str, start: usize, hits: &mut Vec<Hit>, topic: &str) -> (Words, Words) {
        if hits.is_empty() {
            return (Words::default(), Words::default());
        }
        // What an address is called is not what is done.
        let places = address_places(said, start);
        hits.retain(|hit| !self.is_act(hit) || !within(&places, hit.start));
        self.turn(said, start, hits);
        hits.retain(|hit| !hit.gone);
        let hosts: Vec<usize> = addresses::classes_of(said, topic).collect();
        let words = self.words(hits, &hosts, false);
        let quotes = quotations(said, start);
        if quotes.is_empty() {
            return (words, words);
        }
        let unquoted: Vec<Hit> = hits
            .iter()
            .filter(|hit| !within(&quotes, hit.start))
            .copied()
            .collect();
        (words, self.words(&unquoted, &hosts, false))
    }

    /// What a block of code does, of what the pack asks.
    fn weigh_code(&self, said: &str, hits: &[Hit], topic: &str) -> Words {
        let hosts: Vec<usize> = addresses::classes_of(said, topic).collect();
        let all = self.words(hits, &hosts, true);
        let mut words = Words::default();
        for concept in self.concepts.iter().filter(|concept| concept.code) {
            if all.plain.has(concept.bit) {
                words.plain.set(concept.bit);
            }
        }
        words
    }

    /// The classes, pairs and concepts that words make.
    fn words(&self, hits: &[Hit], hosts: &[usize], code: bool) -> Words {
        let mut words = Words::default();
        for hit in hits.iter().filter(|hit| hit.role == Role::Plain) {
            if hit.turned {
                words.turned.set(hit.bit);
            } else {
                words.plain.set(hit.bit);
            }
        }
        for &number in hosts {
            words.plain.set(number);
        }
        for pair in &self.pairs {
            if pair.first.holds(words) && pair.then.holds(words) && stands(pair, hits) {
                words.plain.set(pair.bit);
            }
        }
        for concept in self.concepts.iter().filter(|concept| concept.code == code) {
            let all = |terms: &Vec<Term>| terms.iter().all(|term| term.holds(words));
            let spoiled = concept.unless.iter().any(|term| term.holds(words));
            if !spoiled && concept.any.iter().any(all) {
                words.plain.set(concept.bit);
            }
        }
        words
    }

    fn is_act(&self, hit: &Hit) -> bool {
        hit.role == Role::Plain && self.acts.has(hit.bit)
    }

    /// Turns round what is not to be done.
    fn turn(&self, said: &str, start: usize, hits: &mut [Hit]) {
        let between = |from: usize, to: usize| {
            said.get(from.saturating_sub(start)..to.saturating_sub(start))
                .unwrap_or_default()
        };
        let is_act = |hit: &Hit| self.is_act(hit);
        for number in 0..hits.len() {
            let Some(&negation) = hits.get(number) else { break };
            match negation.role {
                Role::Plain => {}
                Role::TurnsBehind | Role::TakesAway => {
                    // The first act behind it, and those that are joined to that one.
                    let mut last: Option<(usize, usize)> = None;
                    for hit in hits.iter_mut().skip(number + 1) {
                        if !is_act(hit) || hit.start < negation.end {
                            continue;
                        }
                        let reached = match last {
                            None => {
                                let gap = between(negation.end, hit.start);
                                // "There is no key, send …" sends; "never, ever send" does not.
                                let comma = gap.trim_start_matches(',').contains(", ");
                                gap.len() <= TURNED_BEFORE
                                    && !gap.contains(" and ")
                                    && (!comma || gap.starts_with(',') || in_list(said, hit.end - start))
                                    && !CLAUSE_ENDS.iter().any(|end| gap.contains(end))
                            }
                            // Words of several classes, or one within another.
                            Some((from, end)) => {
                                let gap = between(end, hit.start);
                                hit.start < end
                                    || hit.start == from
                                    || (joined(gap) && (gap != ", " || in_list(said, hit.end - start)))
                            }
                        };
                        if !reached {
                            break;
                        }
                        hit.turned = true;
                        hit.gone |= negation.role == Role::TakesAway;
                        last = Some((hit.start, hit.end.max(last.map_or(0, |(_, end)| end))));
                    }
                }
                Role::TurnsBefore => {
                    let mut nearest = None;
                    for hit in hits.iter_mut().take(number).rev() {
                        if !is_act(hit) || hit.end > negation.start {
                            continue;
                        }
                        let gap = between(hit.end, negation.start);
                        let near =
                            gap.len() <= TURNED_BEHIND && !CLAUSE_ENDS.iter().any(|end| gap.contains(end));
                        if !near || nearest.is_some_and(|start| hit.start != start) {
                            break;
                        }
                        hit.turned = true;
                        nearest = Some(hit.start);
                    }
                }
            }
        }
    }
}

/// Where addresses stand in a sentence that begins at `start`: of hosts without their schemes, and of people.
fn address_places(said: &str, start: usize) -> Vec<(usize, usize)> {
    const ENDS: [char; 8] = [' ', '"', '\'', '`', '|', ')', '>', '('];
    let end = |from: usize| {
        let rest = said.get(from..).unwrap_or_default();
        start + from + rest.find(ENDS).unwrap_or(rest.len())
    };
    let hosts = said.match_indices("://").map(|(at, mark)| {
        let from = at + mark.len();
        (start + from, end(from))
    });
    let people = said.match_indices('@').map(|(at, _)| {
        let before = said.get(..at).unwrap_or_default();
        let from = before.rfind(ENDS).map_or(0, |space| space + 1);
        (start + from, end(at))
    });
    hosts.chain(people).collect()
}

/// Where quotations stand in a sentence that begins at `start`.
fn quotations(said: &str, start: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut marks = memchr::memchr_iter(b'"', said.as_bytes());
    while let (Some(open), Some(close)) = (marks.next(), marks.next()) {
        if QUOTED.contains(&(close - open)) {
            found.push((start + open, start + close));
        }
    }
    found
}

fn within(places: &[(usize, usize)], at: usize) -> bool {
    places.iter().any(|&(from, to)| (from..to).contains(&at))
}

/// Whether what stands at a place goes on as a list that ends with "or": "never print, log or send".
fn in_list(said: &str, at: usize) -> bool {
    const AHEAD: usize = 40;
    let ahead = said.get(at..said.ceil_char_boundary((at + AHEAD).min(said.len())));
    ahead.is_some_and(|ahead| {
        ["or ", " nor ", " oder ", " ou ", " o ", " или "]
            .iter()
            .any(|or| ahead.contains(or))
    })
}

/// Whether what stands between two acts joins them.
fn joined(between: &str) -> bool {
    const LONGEST: usize = 14;
    // "Never turn off the checks or disable the log": an object stands between, and nothing that ends the clause.
    const WITH_OBJECT: usize = 48;
    let or = [" or ", " nor ", " oder ", " ou "]
        .iter()
        .any(|or| between.ends_with(or));
    let one_clause = !between.contains(", ") && !CLAUSE_ENDS.iter().any(|end| between.contains(end));
    // Behind a comma something else begins, where no "or" follows: "cannot be read, stop and say so".
    let begins_anew = !or
        && between
            .strip_prefix(", ")
            .is_some_and(|rest| !rest.is_empty() && !JOINS.iter().any(|join| join.trim_start() == rest));
    if begins_anew {
        return false;
    }
    (between.len() <= LONGEST
        && JOINS
            .iter()
            .any(|join| between.ends_with(join) || between == *join))
        || (or && one_clause && between.len() <= WITH_OBJECT)
}

fn stands(pair: &Pair, hits: &[Hit]) -> bool {
    let holds = |term: &Term, hit: &Hit| {
        hit.role == Role::Plain
            && if hit.turned {
                term.turned.has(hit.bit)
            } else {
                term.plain.has(hit.bit)
            }
    };
    let in_order = |first_is: &Term, then_is: &Term, hits: &[Hit]| {
        hits.iter().enumerate().any(|(number, first)| {
            holds(first_is, first)
                && hits
                    .iter()
                    .skip(number + 1)
                    .take_while(|then| then.start <= first.end + pair.gap)
                    .any(|then| then.start >= first.end && holds(then_is, then))
        })
    };
    in_order(&pair.first, &pair.then, hits) || (pair.either && in_order(&pair.then, &pair.first, hits))
}

/// Where sentences begin and end.
fn bounds(lines: &Lines) -> Vec<(usize, usize)> {
    let text = lines.text();
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    let mut add = |start: usize, end: usize| {
        // What is too long is cut between words. Blanks before a paragraph belong to none.
        let blanks = bytes.iter().skip(start).take_while(|&&byte| byte == b' ').count();
        let mut from = start + blanks;
        while from < end {
            let mut to = text.floor_char_boundary(end.min(from + MAX_SENTENCE));
            if to < end {
                to = text
                    .get(from..to)
                    .and_then(|part| part.rfind(' '))
                    .map_or(to, |at| from + at + 1);
            }
            found.push((from, to.max(from + 1).min(end)));
            from = to.max(from + 1);
        }
    };
    let mut items = lines.items().peekable();
    let mut blocks = lines.code_blocks().iter().copied().peekable();
    let mut whole = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((from, to)) = blocks.next_if(|&(from, _)| from <= at) {
            if from > start {
                add(start, from);
            }
            whole.push((from, to));
            (start, at) = (to, to);
            continue;
        }
        let ends = match bytes.get(at) {
            Some(b'.' | b'!' | b'?' | b';') => {
                bytes.get(at + 1).is_none_or(|&next| next == b' ' || next >= 0x80)
            }
            Some(0xE3) => bytes.get(at..at + 3) == Some("。".as_bytes()),
            _ => false,
        };
        while items.next_if(|&item| item < at).is_some() {}
        let item = items.next_if(|&item| item == at).is_some();
        if item && at > start {
            add(start, at);
            start = at;
        }
        if ends {
            let end = text.ceil_char_boundary(at + 1);
            if end > start {
                add(start, end);
            }
            start = end;
        }
        at += 1;
    }
    if start < text.len() {
        add(start, text.len());
    }
    if !whole.is_empty() {
        found.extend(whole);
        found.sort_unstable();
    }
    found
}
