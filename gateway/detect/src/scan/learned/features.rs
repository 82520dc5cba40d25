//! The features of a passage: its words, what they mean, what it does and to whom, and how that fits what the artifact says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::about::{About, file_role, words};
use super::passages::Passage;
use crate::linear::{Found, Lexicon, Part, Say};
use crate::text::fold::fold;

/// Groups: wording, meanings together, conduct together, single statements, rules.
const WORDING: u8 = 0;
pub(super) const MEANING: u8 = 1;
pub(super) const CONDUCT: u8 = 2;
pub(super) const PLAIN: u8 = 3;
const RULES: u8 = 4;

/// Most words, and most of each kind of thing that is combined: combinations are quadratic in them.
pub(super) const MAX_WORDS: usize = 400;
pub(super) const MAX_COMBINED: usize = 40;
const MAX_ACTS: usize = 16;

/// Words that turn round what stands behind them, and how far (bytes).
const TURNS: &[&str] = &[
    "not",
    "never",
    "no",
    "don't",
    "dont",
    "without",
    "nor",
    "avoid",
    "cannot",
    "won't",
    "doesn't",
    "isn't",
    "refuse",
    "nicht",
    "nie",
    "niemals",
    "ohne",
    "kein",
    "keine",
    "ne",
    "sans",
    "jamais",
    "nunca",
    "sin",
    "sem",
    "nao",
    "не",
    "без",
    "никогда",
];
const TURNED: usize = 32;

/// What a rule found: rule, category, severity from 0 to 4, first line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruled<'r> {
    pub(super) rule: &'r str,
    pub(super) category: &'r str,
    pub(super) severity: u8,
    pub(super) line: u32,
}

/// A passage that is looked at.
pub(super) struct Look<'p, 'm> {
    pub(super) about: &'p About,
    pub(super) passage: &'p Passage,
    pub(super) file: &'static str,
    pub(super) found: &'p mut Found<'m>,
    /// The text in lower case, and folded.
    pub(super) lower: String,
    pub(super) folded: String,
    /// Concepts, with marks: turned round, quoted, not spoken of by the artifact.
    pub(super) said: BTreeMap<String, u16>,
    /// Those without the last mark that are combined with everything.
    pub(super) wide: Vec<(String, u16)>,
    pub(super) acts: BTreeMap<usize, String>,
    pub(super) effects: BTreeSet<&'static str>,
    pub(super) hosts: BTreeSet<(String, &'static str)>,
    pub(super) places: BTreeSet<String>,
    pub(super) secrets: BTreeSet<&'static str>,
}

/// Finds the features of a passage. `path` is its file's, `ruled` what rules found in that file.
pub(super) fn find(
    (kind, path): (&str, &str),
    about: &About,
    passage: &Passage,
    ruled: &[Ruled<'_>],
    found: &mut Found<'_>,
) {
    let mut look = Look {
        about,
        passage,
        file: file_role(path),
        found,
        lower: passage.text.to_lowercase(),
        folded: fold(&passage.text).text,
        said: BTreeMap::new(),
        wide: Vec::new(),
        acts: BTreeMap::new(),
        effects: BTreeSet::new(),
        hosts: BTreeSet::new(),
        places: BTreeSet::new(),
        secrets: BTreeSet::new(),
    };
    look.setting(kind);
    look.wording();
    look.meaning();
    look.conduct();
    look.addresses();
    look.paths();
    look.names();
    look.shape();
    look.fit();
    look.together();
    look.rules(ruled);
}

impl Look<'_, '_> {
    fn setting(&mut self, kind: &str) {
        let mut put = |name: &str, value: &str| self.found.add(("m", PLAIN), Say::Setting, &[name, value]);
        put("role", self.passage.role.name());
        put("kind", kind);
        put("file", self.file);
        if self.passage.last {
            put("last", "");
        }
        if self.about.attacks {
            put("attacks", "");
        }
        if self.about.hosts.is_empty() {
            put("no-hosts", "");
        }
        let length = match self.passage.text.len() {
            0..=80 => "0",
            81..=200 => "1",
            201..=400 => "2",
            401..=800 => "3",
            _ => "4",
        };
        put("length", length);
        let key = &self.passage.key;
        if !key.is_empty() {
            let last = key.rsplit('/').next().unwrap_or_default();
            let top = key.split('/').nth(1).unwrap_or_default();
            self.found
                .add(("j", PLAIN), Say::Setting, &[&stem(&fold(last).text)]);
            self.found.add(("jt", PLAIN), Say::Setting, &[&fold(top).text]);
        }
    }

    fn wording(&mut self) {
        let mut stems: Vec<String> = Vec::new();
        for word in words(&self.folded).take(MAX_WORDS) {
            if word.bytes().all(|byte| byte.is_ascii_digit()) {
                stems.push(if word.len() > 5 { "9long" } else { "9" }.to_owned());
            } else if word.starts_with(|c: char| c > '\u{2e80}') {
                // Scripts without blanks between words: each two letters.
                let letters: Vec<char> = word.chars().take(MAX_WORDS).collect();
                stems.extend(letters.windows(2).map(|two| two.iter().collect::<String>()));
            } else if word.len() > 24 {
                stems.push("longword".to_owned());
            } else {
                stems.push(stem(word));
            }
        }
        stems.truncate(MAX_WORDS);
        let side = if self.passage.role.is_code() { "c" } else { "p" };
        let (side, stems) = (Part::from(side), parts(&stems));
        let mut put =
            |space: &str, parts: &[Part<'_>]| self.found.combine((space, WORDING), Say::Wording, parts);
        for (at, &word) in stems.iter().enumerate() {
            put("w", &[word]);
            put("wr", &[side, word]);
            let (next, third) = (stems.get(at + 1), stems.get(at + 2));
            if let Some(&next) = next {
                put("b", &[word, next]);
            }
            if let Some(&third) = third {
                put("s", &[word, third]);
            }
        }
    }

    /// What is said, sentence by sentence.
    fn meaning(&mut self) {
        let lexicon = Lexicon::embedded();
        let code = self.passage.role.is_code();
        let mut hits = Vec::new();
        let folded = std::mem::take(&mut self.folded);
        for sentence in sentences(&folded) {
            hits.clear();
            lexicon.find(sentence, &mut hits);
            let mut here: BTreeMap<String, u16> = BTreeMap::new();
            for hit in &hits {
                let Some(concept) = lexicon.concept(hit.concept).filter(|concept| !concept.in_code) else {
                    continue;
                };
                let number = u16::try_from(hit.concept).unwrap_or(u16::MAX);
                let before = sentence.get(..hit.start).unwrap_or_default();
                let near = before.get(before.floor_char_boundary(before.len().saturating_sub(TURNED))..);
                let near = near
                    .unwrap_or_default()
                    .rsplit([',', ':', ';'])
                    .next()
                    .unwrap_or_default();
                let turned = near.split(' ').any(|word| TURNS.contains(&word));
                let marks = ['"', '`', '\u{201c}', '\u{201d}', '\u{ab}', '\u{bb}'];
                if !code && before.matches(marks).count() % 2 == 1 {
                    here.insert(format!("q{}", concept.name), number);
                }
                if turned && concept.name != "conceal" {
                    here.insert(format!("!{}", concept.name), number);
                } else {
                    here.insert(concept.name.clone(), number);
                }
                if !self.about.concepts.contains(&hit.concept) {
                    self.said.insert(format!("{}^", concept.name), number);
                }
            }
            let combined = parts(here.keys().take(MAX_COMBINED));
            for (at, ((one, &number), &part)) in here.iter().zip(&combined).enumerate() {
                let others = combined.get(at + 1..).unwrap_or_default();
                self.found
                    .pairs(("c2", MEANING), Say::Concept(number), part, others);
                self.said.insert(one.clone(), number);
            }
        }
        self.folded = folded;
        for (name, &number) in &self.said {
            let say = Say::Concept(number);
            self.found.add(("c", PLAIN), say, &[name]);
            self.found
                .add(("cr", MEANING), say, &[self.passage.role.name(), name]);
            self.found.add(("cf", MEANING), say, &[self.file, name]);
        }
        let combined = self.said.iter().filter(|(name, number)| {
            !name.ends_with('^') && lexicon.concept(usize::from(**number)).is_some_and(|one| one.wide)
        });
        self.wide = combined
            .take(MAX_COMBINED)
            .map(|(name, &number)| (name.clone(), number))
            .collect();
        let wide = parts(self.wide.iter().map(|(name, _)| name));
        for (at, (&one, (_, number))) in wide.iter().zip(&self.wide).enumerate() {
            let others = wide.get(at + 1..).unwrap_or_default();
            self.found
                .pairs(("cp", MEANING), Say::Concept(*number), one, others);
        }
    }

    /// What code does there, and elsewhere in its file.
    fn conduct(&mut self) {
        let lexicon = Lexicon::embedded();
        let mut hits = Vec::new();
        lexicon.find(&self.lower, &mut hits);
        for hit in hits {
            let concept = lexicon.concept(hit.concept).filter(|concept| concept.in_code);
            if let Some(concept) = concept.filter(|_| self.acts.len() < MAX_ACTS) {
                self.acts.insert(hit.concept, concept.name.clone());
            }
        }
        let says = |name: &str| self.wide.iter().any(|(one, _)| one == name);
        let does = |name: &str| self.acts.values().any(|one| one == name);
        let effects = [
            ("send", does("x-post") || does("x-dns") || says("send")),
            ("exec", does("x-exec") || says("run")),
            ("secret", does("x-env") || says("secrets") || says("env-all")),
            ("persist", does("x-persist") || says("persist")),
            ("get", does("x-get") || says("fetch")),
            ("hide", says("conceal") || does("x-quiet") || does("x-detach")),
            ("private", says("private") || does("x-home")),
            ("weaken", does("x-guard") || says("weaken")),
        ];
        self.effects = effects
            .iter()
            .filter(|(_, is)| *is)
            .map(|&(name, _)| name)
            .collect();
        let wide = parts(self.wide.iter().map(|(name, _)| name));
        let acts = parts(self.acts.values());
        let (role, file) = (Part::from(self.passage.role.name()), Part::from(self.file));
        for (at, (&one, &number)) in acts.iter().zip(self.acts.keys()).enumerate() {
            let say = Say::Concept(u16::try_from(number).unwrap_or(u16::MAX));
            let mut put =
                |space: &str, group: u8, parts: &[Part<'_>]| self.found.combine((space, group), say, parts);
            put("x", PLAIN, &[one]);
            put("xr", CONDUCT, &[role, one]);
            put("xf", CONDUCT, &[file, one]);
            for (behind, &other) in acts.iter().enumerate().skip(at + 1) {
                put("x2", CONDUCT, &[one, other]);
                for &third in acts.iter().skip(behind + 1) {
                    put("x3", CONDUCT, &[one, other, third]);
                }
            }
            for &said in &wide {
                put("xc", MEANING, &[one, said]);
            }
            const ELSEWHERE: [&str; 7] = [
                "x-post", "x-env", "x-exec", "x-read", "x-home", "x-decode", "x-get",
            ];
            let elsewhere = self.about.acts.get(self.passage.file).into_iter().flatten();
            for other in elsewhere.filter(|other| !self.acts.contains_key(other)) {
                let other = lexicon.concept(*other).map_or("", |one| one.name.as_str());
                if ELSEWHERE.contains(&other) {
                    put("xo", CONDUCT, &[one, other.into()]);
                }
            }
        }
    }

    /// What nobody can read, or does not see.
    fn shape(&mut self) {
        let text = &self.passage.text;
        let encoded = |word: &&str| {
            word.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b))
        };
        let ends = |c: char| c.is_whitespace() || "\"'`(),;".contains(c);
        let longest = text.split(ends).filter(|word| word.len() >= 40).filter(encoded);
        let longest = longest.map(str::len).max().unwrap_or(0);
        let escapes = [", 0x", "\\x", "\\u00"]
            .iter()
            .any(|mark| self.lower.matches(mark).count() >= 4);
        let numbers = text.split(',').map(str::trim);
        let numbers = numbers.filter(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()));
        let unseen = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{e0000}'..='\u{e007f}');
        let code = self.passage.role.is_code();
        let bad = ["evil", "attacker", "malicious", "injection", "exploit"];
        let shapes = [
            ("blob", longest >= 40),
            ("blob100", longest >= 100),
            ("escapes", escapes),
            ("numbers", numbers.count() >= 10),
            ("longline", code && text.lines().any(|line| line.len() > 250)),
            ("blanks", text.contains(&" ".repeat(40))),
            ("unseen", text.contains(unseen)),
        ];
        for (name, _) in shapes.iter().filter(|(_, is)| *is) {
            self.found.add(("z", PLAIN), Say::Blob, &[name]);
        }
        if bad.iter().any(|word| self.lower.contains(word)) {
            self.found.add(("m", PLAIN), Say::Setting, &["evil"]);
            if self.about.attacks {
                self.found.add(("a", PLAIN), Say::Setting, &["attacks", "evil"]);
            }
        }
    }

    /// How much of it the rest speaks of, too.
    fn fit(&mut self) {
        let mut own: HashMap<&str, u32> = HashMap::new();
        let long = |word: &&str| word.len() >= 5 && word.chars().all(char::is_alphabetic);
        let mut all = 0;
        for word in words(&self.lower).filter(long) {
            *own.entry(word).or_default() += 1;
            all += 1;
        }
        if all < 4 {
            return;
        }
        let fresh = own
            .iter()
            .filter(|(word, count)| self.about.count(word) <= **count)
            .count();
        let spoken = own
            .keys()
            .filter(|word| self.about.topic.contains(**word))
            .count();
        let fresh = (fresh * 5 / own.len()).to_string();
        let spoken = (spoken * 8 / own.len()).min(4).to_string();
        self.found.add(("k", PLAIN), Say::Apart, &["fresh", &fresh]);
        self.found.add(("k", PLAIN), Say::Apart, &["topic", &spoken]);
        for effect in &self.effects {
            self.found.add(("ke", PLAIN), Say::Apart, &[&fresh, effect]);
        }
    }

    /// Effects, and effects where attacks are only spoken of.
    fn together(&mut self) {
        let effects: Vec<&str> = self.effects.iter().copied().collect();
        let role = self.passage.role.name();
        let lexicon = Lexicon::embedded();
        let key = self.passage.key.rsplit('/').next().unwrap_or_default();
        let key = stem(&fold(key).text);
        for (at, one) in effects.iter().enumerate() {
            // A concept that says the effect in words.
            let name = match *one {
                "send" => "send",
                "exec" => "run",
                "secret" => "secrets",
                "persist" => "persist",
                "get" => "fetch",
                "hide" => "conceal",
                "private" => "private",
                _ => "weaken",
            };
            let number = lexicon.number(name).and_then(|number| u16::try_from(number).ok());
            let say = number.map_or(Say::Setting, Say::Concept);
            self.found.add(("fx", PLAIN), say, &[one]);
            self.found.add(("fxr", PLAIN), say, &[role, one]);
            if !self.passage.key.is_empty() {
                self.found.add(("je", PLAIN), say, &[&key, one]);
            }
            for (behind, other) in effects.iter().enumerate().skip(at + 1) {
                self.found.add(("fx2", PLAIN), say, &[one, other]);
                for third in effects.iter().skip(behind + 1) {
                    self.found.add(("fx3", PLAIN), say, &[one, other, third]);
                }
            }
        }
        let aside = match self.file {
            _ if self.about.attacks => "attacks",
            "test" => "test",
            "readme" | "reference" => "reference",
            _ => return,
        };
        let mut put = |parts: &[&str]| self.found.add(("a", PLAIN), Say::Setting, parts);
        for (at, one) in effects.iter().enumerate() {
            put(&[aside, one]);
            for other in effects.iter().skip(at + 1) {
                put(&[aside, one, other]);
            }
        }
        self.hosts
            .iter()
            .take(MAX_COMBINED)
            .for_each(|(host, _)| put(&[aside, host]));
        self.places.iter().for_each(|place| put(&[aside, place]));
        self.wide.iter().for_each(|(said, _)| put(&[aside, said]));
    }

    fn rules(&mut self, ruled: &[Ruled<'_>]) {
        let passage = self.passage;
        let here = ruled
            .iter()
            .filter(|one| one.line == 0 || (passage.line..passage.end).contains(&one.line));
        let mut worst = 0;
        for one in here {
            let severity = one.severity.to_string();
            let family = one.rule.split('.').next().unwrap_or_default();
            let mut put = |space: &str, parts: &[&str]| self.found.add((space, RULES), Say::Rules, parts);
            put("r", &[one.rule]);
            put("r", &[one.rule, &severity]);
            put("rc", &[one.category, &severity]);
            put("rf", &[family, &severity]);
            worst = worst.max(one.severity);
        }
        self.found.add(("rs", RULES), Say::Rules, &[&worst.to_string()]);
    }
}

/// Parts of names.
pub(super) fn parts<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<Part<'n>> {
    names.into_iter().map(|name| Part::from(name.as_str())).collect()
}

/// Sentences of a folded text, and items of lists.
fn sentences(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let ends = byte == b'\n'
            || (matches!(byte, b'.' | b'!' | b'?' | b';')
                && bytes.get(at + 1).is_none_or(|&next| next == b' '));
        if ends {
            found.extend(text.get(start..=at));
            start = at + 1;
        }
    }
    found.extend(text.get(start..));
    found
}

/// A word without its usual endings, cut.
fn stem(word: &str) -> String {
    const ENDINGS: [&str; 12] = [
        "ations", "ation", "ings", "ing", "ies", "edly", "ed", "ers", "er", "es", "ly", "s",
    ];
    let mut stem = word;
    if word.is_ascii() && word.len() > 5 {
        let cut = ENDINGS
            .iter()
            .find_map(|end| word.strip_suffix(end).filter(|rest| rest.len() >= 4));
        stem = cut.unwrap_or(word);
    }
    stem.chars().take(9).collect()
}
