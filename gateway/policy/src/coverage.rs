//! Which branches of a policy its tests reach.
//!
//! A branch is a value that a rule can give: after its body held, after an `else`, or as its default. For a measurement each value is
//! written `[value, print(mark)][0]`, which is the same value and says when it is given; so a condition that was tried and never held is
//! no reached branch. A default is given whenever nothing else is, which no mark can tell apart: it counts as reached if a test
//! fails without it.
//!
//! Only tests pay for this: what decides is never marked.

use std::collections::BTreeSet;
use std::ops::Range;

use regorus::Engine;
use regorus::unstable::{AssignOp, Expr, Parser, Rule, RuleAssign, RuleHead, Source as Text};

use crate::PolicyError;
use crate::engine::{self, Edition};
use crate::source::{Source, package_of};

/// Begins what a mark prints.
const MARK: &str = "defenseclaw-branch";
/// Longest excerpt of a branch in a report (characters).
const EXCERPT: usize = 80;

/// What the tests reach of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCoverage {
    /// The file's name.
    pub file: String,
    /// Whether a branch that no test reaches is a failure: the file decides on the admission of artifacts.
    pub required: bool,
    /// How many branches it has.
    pub branches: usize,
    /// Those that no test reaches, by line.
    pub missed: Vec<Missed>,
}

/// A branch that no test reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Its line, from 1.
    pub line: u32,
    /// How that line begins.
    pub text: String,
    /// What is missing.
    pub why: &'static str,
}

/// Whether every branch of a package has to be tested.
fn is_required(package: &str) -> bool {
    package == "admission"
        || package.starts_with("admission_")
        || package.starts_with("admission.")
        || package == "defenseclaw.artifacts"
}

/// One file, marked.
struct Marked<'a> {
    name: &'a str,
    text: &'a str,
    edition: Edition,
    /// The text with its marks.
    marked: String,
    /// The line of each mark.
    lines: Vec<u32>,
    /// Branches that cannot be marked.
    unmarked: Vec<u32>,
    /// Where its defaults stand.
    defaults: Vec<(u32, Range<usize>)>,
}

/// A place in the text where something is put in.
type Edit = (usize, String);

/// Runs the tests (`data.package.test_name`; all of them pass) against the marked policy.
pub(crate) fn measure(source: &Source, tests: &[String]) -> Result<Vec<FileCoverage>, PolicyError> {
    let mut files = Vec::new();
    for (name, text) in source.own_modules() {
        files.push(Marked::read(name, text, files.len())?);
    }
    let reached = reached(source, &files, tests)?;
    let mut coverage = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let mut missed: Vec<_> = file
            .lines
            .iter()
            .enumerate()
            .filter(|(branch, _)| !reached.contains(&(number, *branch)))
            .map(|(_, line)| file.missed(*line, "no test reaches it"))
            .collect();
        missed.extend(
            file.unmarked
                .iter()
                .map(|line| file.missed(*line, "it cannot be measured: give the rule a value with `:=`")),
        );
        for (line, range) in &file.defaults {
            if !is_missed_by_a_test(source, file, range.clone(), tests)? {
                missed.push(file.missed(*line, "no test fails without this default"));
            }
        }
        missed.sort_by_key(|missed| missed.line);
        coverage.push(FileCoverage {
            file: file.name.to_owned(),
            required: package_of(file.text).is_some_and(is_required),
            branches: file.lines.len() + file.unmarked.len() + file.defaults.len(),
            missed,
        });
    }
    Ok(coverage)
}

/// The marks (file, branch) that the tests print.
fn reached(
    source: &Source,
    files: &[Marked<'_>],
    tests: &[String],
) -> Result<BTreeSet<(usize, usize)>, PolicyError> {
    let mut template = with_tests(source, |engine, name, text| {
        match files.iter().find(|file| file.name == name) {
            Some(file) => {
                engine::add_as(engine, file.edition, name, &file.marked).map_err(|why| PolicyError::Syntax {
                    file: name.to_owned(),
                    why: format!("its branches cannot be marked: {why}"),
                })
            }
            None => engine::add(engine, name, text).map(|_| ()),
        }
    })?;
    template.set_gather_prints(true);
    if let Some(test) = tests.first() {
        engine::prepare(&mut template, test);
    }
    let mut reached = BTreeSet::new();
    for test in tests {
        let mut engine = template.clone();
        // That it passes was seen on the policy itself.
        let _ = engine.eval_rule(test.clone());
        for print in engine.take_prints().unwrap_or_default() {
            let Some((_, mark)) = print.rsplit_once(MARK) else {
                continue;
            };
            let mut numbers = mark.split_whitespace().map(str::parse);
            if let (Some(Ok(file)), Some(Ok(branch))) = (numbers.next(), numbers.next()) {
                reached.insert((file, branch));
            }
        }
    }
    Ok(reached)
}

/// Whether some test fails once the default is gone.
fn is_missed_by_a_test(
    source: &Source,
    file: &Marked<'_>,
    range: Range<usize>,
    tests: &[String],
) -> Result<bool, PolicyError> {
    let without = format!("{}{}", &file.text[..range.start], &file.text[range.end..]);
    let mut template = with_tests(source, |engine, name, text| {
        let text = if name == file.name { &without } else { text };
        engine::add(engine, name, text).map(|_| ())
    })?;
    if let Some(test) = tests.first() {
        engine::prepare(&mut template, test);
    }
    Ok(tests.iter().any(|test| {
        !matches!(
            template.clone().eval_rule(test.clone()),
            Ok(regorus::Value::Bool(true))
        )
    }))
}

/// An engine with the modules as `add` adds them, tests and data.
fn with_tests(
    source: &Source,
    mut add: impl FnMut(&mut Engine, &str, &str) -> Result<(), PolicyError>,
) -> Result<Engine, PolicyError> {
    let mut engine = engine::bare();
    for (name, text) in &source.modules {
        add(&mut engine, name, text)?;
    }
    for (name, text) in &source.tests {
        engine::add(&mut engine, name, text)?;
    }
    engine::add_data(&mut engine, source)?;
    Ok(engine)
}

impl<'a> Marked<'a> {
    /// Finds the branches of a file that was loaded before. `number` is its own in the marks.
    fn read(name: &'a str, text: &'a str, number: usize) -> Result<Self, PolicyError> {
        let edition = engine::add(&mut engine::bare(), name, text)?;
        let mut file = Self {
            name,
            text,
            edition,
            marked: String::new(),
            lines: Vec::new(),
            unmarked: Vec::new(),
            defaults: Vec::new(),
        };
        let mut edits = Vec::new();
        file.find(number, &mut edits).map_err(|why| PolicyError::Syntax {
            file: name.to_owned(),
            why,
        })?;
        edits.sort_by_key(|(at, _)| *at);
        let mut from = 0;
        for (at, put) in edits {
            file.marked.push_str(&text[from..at]);
            file.marked.push_str(&put);
            from = at;
        }
        file.marked.push_str(&text[from..]);
        Ok(file)
    }

    fn find(&mut self, number: usize, edits: &mut Vec<Edit>) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let text = Text::from_contents(self.name.to_owned(), self.text.to_owned())
            .map_err(|error| failed(&error))?;
        let mut parser = Parser::new(&text).map_err(|error| failed(&error))?;
        if self.edition == Edition::V1 {
            parser.enable_rego_v1().map_err(|error| failed(&error))?;
        }
        let module = parser.parse().map_err(|error| failed(&error))?;
        for rule in &module.policy {
            match rule.as_ref() {
                Rule::Default { span, .. } => self
                    .defaults
                    .push((span.line, offset(span.start)..self.end(span.end))),
                Rule::Spec { span, head, bodies } => {
                    self.head(number, head, span.line, edits);
                    for body in bodies.iter().filter(|body| body.is_else) {
                        match &body.assign {
                            Some(assign) => self.assigned(number, assign, edits),
                            None => self.unmarked.push(body.span.line),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Marks the value that a rule's head gives.
    fn head(&mut self, number: usize, head: &RuleHead, line: u32, edits: &mut Vec<Edit>) {
        match head {
            RuleHead::Compr {
                assign: Some(assign), ..
            }
            | RuleHead::Func {
                assign: Some(assign), ..
            } => {
                self.assigned(number, assign, edits);
            }
            // `allowed if …` gives true.
            RuleHead::Compr {
                refr, assign: None, ..
            } if matches!(refr.as_ref(), Expr::Var { .. }) => {
                let mark = self.mark(number, refr.span().line);
                edits.push((offset(refr.span().end), format!(" := [true{mark}")));
            }
            RuleHead::Func {
                span, assign: None, ..
            } => {
                let mark = self.mark(number, span.line);
                edits.push((offset(span.end), format!(" := [true{mark}")));
            }
            RuleHead::Set {
                refr, key: Some(key), ..
            } => self.element(number, refr, key, edits),
            RuleHead::Compr { .. } | RuleHead::Set { .. } => self.unmarked.push(line),
        }
    }

    /// Marks what stands behind `:=` or `=`. The parser's spans of values begin too late where a value is an object.
    fn assigned(&mut self, number: usize, assign: &RuleAssign, edits: &mut Vec<Edit>) {
        let operator = match assign.op {
            AssignOp::ColEq => ":=",
            AssignOp::Eq => "=",
        };
        let start = offset(assign.span.start) + operator.len();
        self.value(number, assign.span.line, start..self.end(assign.span.end), edits);
    }

    /// Marks what stands behind `contains`, or between the brackets of the older syntax.
    fn element(&mut self, number: usize, name: &Expr, key: &Expr, edits: &mut Vec<Edit>) {
        let behind = self.end(name.span().end);
        let rest = self.text.get(behind..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start().len();
        let word = ["contains", "["]
            .into_iter()
            .find(|word| rest[blank..].starts_with(word));
        let line = name.span().line;
        match word {
            Some(word) => {
                let start = behind + blank + word.len();
                self.value(number, line, start..self.end(key.span().end), edits);
            }
            None => self.unmarked.push(line),
        }
    }

    fn value(&mut self, number: usize, line: u32, value: Range<usize>, edits: &mut Vec<Edit>) {
        let mark = self.mark(number, line);
        edits.push((value.start, "[".to_owned()));
        edits.push((value.end, mark));
    }

    /// Where a span ends. That of a text is what stands between its quotes.
    fn end(&self, end: u32) -> usize {
        let end = offset(end);
        if self.is_quote(end) { end + 1 } else { end }
    }

    fn is_quote(&self, at: usize) -> bool {
        matches!(self.text.as_bytes().get(at), Some(b'"' | b'`'))
    }

    /// A new branch: what stands behind its value.
    fn mark(&mut self, number: usize, line: u32) -> String {
        let branch = self.lines.len();
        self.lines.push(line);
        format!(", print(\"{MARK} {number} {branch}\")][0]")
    }

    fn missed(&self, line: u32, why: &'static str) -> Missed {
        let text = self
            .text
            .lines()
            .nth(offset(line).saturating_sub(1))
            .unwrap_or_default();
        let text = text.trim().chars().take(EXCERPT).collect();
        Missed { line, text, why }
    }
}

fn offset(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "package admission\n\nimport rego.v1\n\ndefault decision := \"no\"\n\n\
        decision := \"one\" if input.x == 1\n\ndecision := {\"two\": 2} if {\n\tinput.x == 2\n\tknown\n}\n\n\
        known if input.x in {2, 3}\n\nname := \"a\" if {\n\tinput.y\n} else := \"b\"\n\nall contains x if some x in [1, 2]\n";

    fn source(tests: &str) -> Source {
        Source {
            modules: vec![("admission.rego".to_owned(), POLICY.to_owned())],
            tests: vec![(
                "t_test.rego".to_owned(),
                format!("package t_test\n\nimport rego.v1\n\n{tests}"),
            )],
            data: "{}".to_owned(),
            lists: String::new(),
            bundled_lists: String::new(),
            kept: Vec::new(),
        }
    }

    fn missed(tests: &str) -> Vec<(u32, String)> {
        let names: Vec<String> = tests
            .lines()
            .filter_map(|line| Some(format!("data.t_test.{}", line.split_once(" if")?.0)))
            .collect();
        let coverage = measure(&source(tests), &names).unwrap();
        assert_eq!(
            (coverage.len(), coverage[0].branches, coverage[0].required),
            (1, 7, true)
        );
        coverage[0]
            .missed
            .iter()
            .map(|missed| (missed.line, missed.text.clone()))
            .collect()
    }

    const ALL: &str = "test_one if data.admission.decision == \"one\" with input as {\"x\": 1}\n\
        test_two if data.admission.decision == {\"two\": 2} with input as {\"x\": 2}\n\
        test_no if data.admission.decision == \"no\" with input as {\"x\": 3}\n\
        test_a if data.admission.name == \"a\" with input as {\"y\": true}\n\
        test_b if data.admission.name == \"b\" with input as {}\n\
        test_set if data.admission.all == {1, 2}\n";

    #[test]
    fn tests_of_every_branch_reach_every_branch() {
        assert_eq!(missed(ALL), []);
    }

    /// The twin of the above: each test that is taken away leaves its branch unreached, though its condition is still tried.
    #[test]
    fn a_branch_without_its_test_is_named_with_its_line() {
        let cases: [(&str, &[(u32, &str)]); 6] = [
            ("test_one", &[(7, "decision := \"one\" if input.x == 1")]),
            (
                "test_two",
                &[
                    (9, "decision := {\"two\": 2} if {"),
                    (14, "known if input.x in {2, 3}"),
                ],
            ),
            ("test_no", &[(5, "default decision := \"no\"")]),
            ("test_a", &[(16, "name := \"a\" if {")]),
            ("test_b", &[(18, "} else := \"b\"")]),
            ("test_set", &[(20, "all contains x if some x in [1, 2]")]),
        ];
        for (without, expected) in cases {
            let kept: Vec<_> = ALL.lines().filter(|line| !line.starts_with(without)).collect();
            let missed = missed(&kept.join("\n"));
            let missed: Vec<_> = missed.iter().map(|(line, text)| (*line, text.as_str())).collect();
            assert_eq!(missed, expected, "{without}");
        }
    }

    #[test]
    fn the_older_syntax_is_measured_too() {
        let mut source = source("");
        source.modules[0].1 =
            "package admission\n\nallow { input.x == 1 }\n\nbad[y] { y := input.z }\n".to_owned();
        let coverage = measure(&source, &[]).unwrap();
        let lines: Vec<_> = coverage[0].missed.iter().map(|missed| missed.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
