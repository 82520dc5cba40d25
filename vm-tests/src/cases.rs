//! What a guest says of its cases, as a table.

use std::fmt::{self, Write as _};

/// Which cases there are, with blanks between them. It is said first, so that one that is never heard of again is missed.
const ANNOUNCED: &str = "DEFENSECLAW-CASES: ";
/// How one case went: `name|pass or fail|milliseconds|what it has to tell`.
const CASE: &str = "DEFENSECLAW-CASE: ";
/// A number without a bound: `name|value`.
const MEASURE: &str = "DEFENSECLAW-MEASURE: ";

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// How long it took, by the guest's clock.
    pub ms: u64,
    /// What it has to tell: numbers, or why it failed.
    pub detail: String,
}

/// What was heard so far.
#[derive(Debug, Clone, Default)]
pub struct Cases {
    announced: Vec<String>,
    done: Vec<Case>,
    measures: Vec<(String, String)>,
}

impl Cases {
    /// Takes a line of the console. Whether it told of a case's end or of all cases.
    pub fn hear(&mut self, line: &str) -> bool {
        if let Some((_, names)) = line.split_once(ANNOUNCED) {
            self.announced = names.split_whitespace().map(str::to_owned).collect();
        } else if let Some((_, told)) = line.split_once(CASE) {
            let mut parts = told.splitn(4, '|').map(str::trim);
            let mut next = || parts.next().unwrap_or_default().to_owned();
            let (name, outcome, ms, detail) = (next(), next(), next(), next());
            self.done.push(Case {
                name,
                // Whatever else is said there, it is not that the case holds.
                passed: outcome == "pass",
                ms: ms.parse().unwrap_or_default(),
                detail,
            });
        } else if let Some((_, told)) = line.split_once(MEASURE) {
            let (name, value) = told.split_once('|').unwrap_or((told, ""));
            self.measures.push((name.to_owned(), value.to_owned()));
            return false;
        } else {
            return false;
        }
        true
    }

    /// Cases that were announced and of whose end nothing was heard.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let done = |name: &&String| self.done.iter().all(|case| case.name != **name);
        self.announced.iter().filter(done).map(String::as_str)
    }

    /// Whether there were cases, and every one of them holds.
    pub fn passed(&self) -> bool {
        !self.done.is_empty()
            && !self.announced.is_empty()
            && self.missing().next().is_none()
            && self.done.iter().all(|case| case.passed)
    }

    /// How many hold, of how many.
    pub fn counts(&self) -> (usize, usize) {
        let passed = self.done.iter().filter(|case| case.passed).count();
        (passed, self.done.len() + self.missing().count())
    }
}

impl fmt::Display for Cases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{:<15} {:<6} {:>8}  {}\n", "case", "", "seconds", "what it found");
        for case in &self.done {
            let outcome = if case.passed { "pass" } else { "FAIL" };
            let (seconds, tenths) = (case.ms / 1_000, case.ms % 1_000 / 100);
            writeln!(
                text,
                "{:<15} {outcome:<6} {:>8}  {}",
                case.name,
                format!("{seconds}.{tenths}"),
                case.detail
            )?;
        }
        for name in self.missing() {
            writeln!(
                text,
                "{name:<15} {:<6} {:>8}  nothing was heard of it",
                "FAIL", "-"
            )?;
        }
        if !self.measures.is_empty() {
            writeln!(text, "\n{:<30} by the guest's clock", "measured")?;
        }
        for (name, value) in &self.measures {
            writeln!(text, "{name:<30} {value}")?;
        }
        formatter.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Cases {
        let mut cases = Cases::default();
        for line in lines {
            cases.hear(line);
        }
        cases
    }

    #[test]
    fn every_case_has_to_be_heard_of_and_to_hold() {
        let all = "DEFENSECLAW-CASES: install kill";
        let (install, kill) = (
            "[  9.1] DEFENSECLAW-CASE: install|pass|12345|ready in 3 s",
            "DEFENSECLAW-CASE: kill|pass|900|2 kills | 0 lost",
        );
        let cases = heard(&[all, install, kill, "DEFENSECLAW-MEASURE: memory|40 MiB", "noise"]);
        assert!(cases.passed());
        assert_eq!(cases.counts(), (2, 2));
        let text = cases.to_string();
        assert!(
            text.contains("install         pass       12.3  ready in 3 s"),
            "{text}"
        );
        assert!(text.contains("2 kills | 0 lost"), "{text}");
        assert!(text.contains("memory                         40 MiB"), "{text}");

        let cut = heard(&[all, install]);
        assert!(!cut.passed());
        assert_eq!(cut.missing().collect::<Vec<_>>(), ["kill"]);
        assert!(cut.to_string().contains("nothing was heard of it"));
        assert!(!heard(&[all, install, "DEFENSECLAW-CASE: kill|fail|1|no"]).passed());
        assert!(!heard(&[all, install, "DEFENSECLAW-CASE: kill|passed|1|"]).passed());
        assert!(
            !heard(&[install, kill]).passed(),
            "nobody said that these are all"
        );
        assert!(!heard(&[]).passed());
    }
}
