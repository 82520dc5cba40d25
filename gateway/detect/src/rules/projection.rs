//! Which filters print nothing but names and the like of what they are given.
//!
//! A listing of secrets as JSON that a filter of `jq` cuts down to names and ages shows no secret. A small part of the
//! filter language is understood, and of each expression what its values may be: [`Holds::Names`] are safe to show. A path
//! leads from the whole to names only over fields that are known; whatever else stands in a filter, and whatever leads into
//! the data, is [`Holds::Data`].

use defenseclaw_model::facts::Program;

mod tokens;

use self::tokens::{Token, tokens};
use super::view::arguments;

/// Longest filter that is read (bytes), far above what stands on one line.
const MAX_FILTER: usize = 4096;
/// Deepest nesting in one.
const MAX_DEPTH: usize = 32;

/// What values may hold, the harmless first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Names, kinds, dates, counts.
    Names,
    /// The object that says these things of another, with notes that may repeat the data.
    About,
    /// A whole listing or an item of one.
    Whole,
    /// What must not be shown, or may be that.
    Data,
}

/// Fields that say what a thing is.
const NAMES: &[&str] = &[
    "name",
    "names",
    "namespace",
    "type",
    "kind",
    "apiVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "mode",
    "module",
    "provider",
    "version",
    "terraform_version",
    "serial",
    "lineage",
    "id",
    "arn",
    "address",
    "index_key",
    "immutable",
    "schema_version",
    "created",
    "updated",
    "createdAt",
    "updatedAt",
    "created_at",
    "updated_at",
    "enabled",
    "status",
    "state",
    "CreatedDate",
    "LastChangedDate",
    "LastAccessedDate",
    "LastModifiedDate",
    "LastRotatedDate",
    "Name",
    "ARN",
    "Type",
    "Version",
];

/// Fields that hold more things of the same kind.
const WHOLES: &[&str] = &[
    "items",
    "resources",
    "instances",
    "child_modules",
    "root_module",
    "SecretList",
    "Parameters",
];

impl Holds {
    /// What stands in the field `name` of such a value.
    fn field(self, name: &str) -> Self {
        match self {
            Self::Whole if name == "metadata" => Self::About,
            Self::Whole if WHOLES.contains(&name) => Self::Whole,
            Self::Whole | Self::About if NAMES.contains(&name) => Self::Names,
            Self::Names => Self::Names,
            _ => Self::Data,
        }
    }
}

/// Whether `program` is a filter that prints nothing but names.
pub(super) fn keeps_names(program: &Program) -> bool {
    /// Options that only say how it is printed.
    const PLAIN: &[&str] = &[
        "-r",
        "-c",
        "-e",
        "-M",
        "-S",
        "-j",
        "-a",
        "-n0",
        "-rc",
        "-cr",
        "-er",
        "-re",
        "-Mr",
        "-rM",
        "-rS",
        "-Sr",
        "--raw-output",
        "-P",
        "--compact-output",
        "--exit-status",
        "--sort-keys",
        "--tab",
        "--join-output",
        "--monochrome-output",
        "--no-colors",
        "-N",
        "--ascii-output",
    ];
    if !matches!(program.name.as_str(), "jq" | "gojq" | "jaq" | "yq") {
        return false;
    }
    let mut words = arguments(program).iter().map(String::as_str);
    let mut filter = None;
    while let Some(word) = words.next() {
        match word {
            "--arg" | "--argjson" => {
                words.next();
                words.next();
            }
            _ if PLAIN.contains(&word) => {}
            "e" | "eval" if program.name == "yq" && filter.is_none() => {}
            "-" if filter.is_some() => {}
            _ if word.starts_with('-') || filter.is_some() => return false,
            _ => filter = Some(word),
        }
    }
    filter.is_some_and(filters_names)
}

/// Whether a filter, given a whole listing, yields names alone.
fn filters_names(filter: &str) -> bool {
    if filter.len() > MAX_FILTER {
        return false;
    }
    let Some(tokens) = tokens(filter) else {
        return false;
    };
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let holds = reader.pipe(Holds::Whole);
    holds == Some(Holds::Names) && reader.at == tokens.len()
}

/// Whether a program's own options say that it prints names alone: columns or templates of metadata.
pub(super) fn prints_names(program: &Program) -> bool {
    let mut words = arguments(program).iter().map(String::as_str);
    let mut form = None;
    while let Some(word) = words.next() {
        let value = match word {
            "-o" | "--output" => words.next(),
            _ => word
                .strip_prefix("--output=")
                .or_else(|| word.strip_prefix("-o=").or_else(|| word.strip_prefix("-o"))),
        };
        if let Some(value) = value {
            // Twice said the last counts; nobody says it twice for a good reason.
            if form.replace(value).is_some() {
                return false;
            }
        }
    }
    let Some((kind, text)) = form.and_then(|form| form.split_once('=')) else {
        return matches!(form, Some("name"));
    };
    match kind {
        "custom-columns" => text.split(',').all(|column| {
            column
                .split_once(':')
                .is_some_and(|(_, path)| is_name(path, Holds::Whole))
        }),
        "jsonpath" => template(text, "{", "}"),
        "go-template" => template(text, "{{", "}}"),
        _ => false,
    }
}

/// Whether a path leads to names: `.metadata.name`, `.items[*].type`.
fn is_name(path: &str, from: Holds) -> bool {
    walk(path, from) == Some(Holds::Names)
}

fn walk(path: &str, from: Holds) -> Option<Holds> {
    let path = path.trim();
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut holds = from;
    for part in path.strip_prefix('.')?.split('.') {
        let (name, index) = part.split_once('[').unwrap_or((part, ""));
        let listed = index.is_empty()
            || matches!(index, "*]" | "]")
            || index
                .strip_suffix(']')
                .is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()));
        if !listed
            || name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return None;
        }
        holds = holds.field(name);
    }
    Some(holds)
}

/// Whether all that a template fills in are names; loops may go over whole things.
fn template(text: &str, open: &str, close: &str) -> bool {
    let mut rest = text;
    let mut filled = 0;
    while let Some(begin) = rest.find(open) {
        let inner = &rest[begin + open.len()..];
        let Some(end) = inner.find(close) else {
            return false;
        };
        let piece = inner[..end].trim_matches(['-', ' ']);
        let text = piece.starts_with(['"', '\''])
            && piece.len() > 1
            && !piece[1..piece.len() - 1].contains(['"', '\'']);
        let harmless = match piece.split_once(' ') {
            Some(("range", path)) => walk(path, Holds::Whole) == Some(Holds::Whole),
            _ if piece == "end" || text => true,
            _ => {
                filled += 1;
                is_name(piece, Holds::Whole)
            }
        };
        if !harmless {
            return false;
        }
        rest = &inner[end + close.len()..];
    }
    filled > 0
}

struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

/// Functions that make nothing else of names, and must be given names.
const OF_NAMES: &[&str] = &[
    "tostring",
    "tonumber",
    "ascii_downcase",
    "ascii_upcase",
    "ltrimstr",
    "rtrimstr",
    "startswith",
    "endswith",
    "test",
    "contains",
    "inside",
    "join",
    "split",
    "sub",
    "gsub",
    "fromdateiso8601",
    "fromdate",
    "todate",
    "todateiso8601",
    "strptime",
    "mktime",
    "strftime",
    "floor",
    "round",
    "add",
    "max",
    "min",
    "any",
    "all",
    "not",
    "unique_by",
    "min_by",
    "max_by",
    "index",
    "ascii",
    "explode0",
    "@tsv",
    "@csv",
    "@text",
    "@json",
    "@sh",
    "tojson",
];

/// Functions that choose, order or gather what they are given.
const GATHER: &[&str] = &["sort", "unique", "reverse", "flatten", "first", "last"];

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn mark(&mut self, mark: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Mark(known)) if *known == mark);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Name(known)) if known == word);
        self.at += usize::from(there);
        there
    }

    /// `a | b`; `given` is what comes in. `None` is what is not understood.
    fn pipe(&mut self, given: Holds) -> Option<Holds> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut holds = self.list(given)?;
        while self.mark("|") {
            holds = self.list(holds)?;
        }
        self.depth -= 1;
        Some(holds)
    }

    /// `a, b`
    fn list(&mut self, given: Holds) -> Option<Holds> {
        let mut holds = self.operation(given)?;
        while self.mark(",") {
            holds = holds.max(self.operation(given)?);
        }
        Some(holds)
    }

    /// `a == b`, `a // b`, `a + b`, `a and b`.
    fn operation(&mut self, given: Holds) -> Option<Holds> {
        const COMPARE: &[&str] = &["==", "!=", "<=", ">=", "<", ">"];
        const COUNT: &[&str] = &["//", "+", "-", "*", "/", "%"];
        let mut holds = self.postfix(given)?;
        loop {
            let compares = COMPARE.iter().any(|mark| self.mark(mark)) || self.word("and") || self.word("or");
            if !compares && !COUNT.iter().any(|mark| self.mark(mark)) {
                return Some(holds);
            }
            // By comparing them, secrets are guessed.
            holds = holds.max(self.postfix(given)?);
        }
    }

    /// A term, and the steps behind it: `.a[0].b?`.
    fn postfix(&mut self, given: Holds) -> Option<Holds> {
        let mut holds = self.term(given)?;
        loop {
            if let Some(Token::Field(name)) = self.peek() {
                holds = holds.field(name);
                self.at += 1;
            } else if self.mark("[") {
                if self.mark("]") {
                    continue;
                }
                // By a number, or from one to another; a field by its name in brackets may be any.
                for _ in 0..2 {
                    if self.peek() == Some(&Token::Number) {
                        self.at += 1;
                    }
                    self.mark(":");
                }
                if !self.mark("]") {
                    return None;
                }
                if holds == Holds::About {
                    holds = Holds::Data;
                }
            } else if !self.mark("?") {
                return Some(holds);
            }
        }
    }

    fn term(&mut self, given: Holds) -> Option<Holds> {
        let token = self.peek()?.clone();
        self.at += 1;
        match token {
            Token::Field(name) => Some(given.field(&name)),
            Token::This => Some(given),
            Token::Number => Some(Holds::Names),
            Token::Text(parts) => {
                for part in &parts {
                    let mut inner = Reader {
                        tokens: part,
                        at: 0,
                        depth: self.depth + 1,
                    };
                    if inner.pipe(given)? != Holds::Names || inner.at != part.len() {
                        return Some(Holds::Data);
                    }
                }
                Some(Holds::Names)
            }
            Token::Mark("(") => {
                let holds = self.pipe(given)?;
                self.mark(")").then_some(holds)
            }
            Token::Mark("[") => {
                if self.mark("]") {
                    return Some(Holds::Names);
                }
                let holds = self.pipe(given)?;
                self.mark("]").then_some(holds)
            }
            Token::Mark("{") => self.object(given),
            Token::Mark("-") => self.postfix(given),
            Token::Name(name) => self.function(&name, given),
            Token::Mark(_) => None,
        }
    }

    /// `{name, ns: .metadata.namespace}`
    fn object(&mut self, given: Holds) -> Option<Holds> {
        if self.mark("}") {
            return Some(Holds::Names);
        }
        let mut holds = Holds::Names;
        loop {
            let (name, text) = match self.peek()?.clone() {
                Token::Name(name) if !name.starts_with(['$', '@']) => (name, false),
                Token::Text(parts) if parts.is_empty() => (String::new(), true),
                _ => return None,
            };
            self.at += 1;
            if self.mark(":") {
                let mut value = self.postfix(given)?;
                while self.mark("|") || self.mark("//") {
                    value = self.postfix(value)?;
                }
                holds = holds.max(value);
            } else if text {
                return None;
            } else {
                holds = holds.max(given.field(&name));
            }
            if self.mark("}") {
                return Some(holds);
            }
            if !self.mark(",") {
                return None;
            }
        }
    }

    fn function(&mut self, name: &str, given: Holds) -> Option<Holds> {
        match name {
            "length" | "keys" | "keys_unsorted" | "type" | "has" | "empty" | "now" | "null" | "true"
            | "false" | "utf8bytelength" => {
                self.given(Holds::Names)?;
                Some(Holds::Names)
            }
            "select" => (self.given(given)? == Some(Holds::Names)).then_some(given),
            "map" => self.given(given)?,
            "sort_by" | "group_by" => (self.given(given)? == Some(Holds::Names)).then_some(given),
            "if" => {
                let mut holds = self.pipe(given)?;
                loop {
                    if !self.word("then") {
                        return None;
                    }
                    holds = holds.max(self.pipe(given)?);
                    if self.word("elif") {
                        holds = holds.max(self.pipe(given)?);
                        continue;
                    }
                    if self.word("else") {
                        holds = holds.max(self.pipe(given)?);
                    } else {
                        holds = holds.max(given);
                    }
                    return self.word("end").then_some(holds);
                }
            }
            _ if GATHER.contains(&name) => Some(self.given(given)?.unwrap_or(given)),
            _ if OF_NAMES.contains(&name) => {
                let inner = self.given(given)?.unwrap_or(Holds::Names);
                Some(if given == Holds::Names { inner } else { Holds::Data })
            }
            // Of `--arg` what the line itself says; the environment is none of it.
            _ if name.starts_with('$')
                && name.len() > 1
                && !matches!(name, "$ENV" | "$__loc__" | "$__prog_args") =>
            {
                Some(Holds::Names)
            }
            _ => None,
        }
    }

    /// What the arguments `(a; b)` of a function hold, the worst of them; `Some(None)` if there are none.
    fn given(&mut self, given: Holds) -> Option<Option<Holds>> {
        if !self.mark("(") {
            return Some(None);
        }
        let mut holds = self.pipe(given)?;
        while self.mark(";") {
            holds = holds.max(self.pipe(given)?);
        }
        self.mark(")").then_some(Some(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_down_to_names() {
        for filter in [
            ".items[].metadata.name",
            r#".items[] | [.metadata.namespace, .metadata.name, .type, .metadata.creationTimestamp] | @tsv"#,
            r#".resources[] | select(.mode=="managed") | "\(.type).\(.name)""#,
            ".items | length",
            ".data | keys",
            ".items[] | {name: .metadata.name, keys: (.data | keys)}",
            r#"[.items[] | select(.type == "kubernetes.io/tls") | .metadata.name] | sort | join(", ")"#,
            ".items | map(.metadata.name) | unique | .[]",
            ".items[] | select(.data | has(\"tls.crt\")) | .metadata.name",
            ".items | group_by(.type) | map({type: .[0].type, count: length})",
            "[.resources[].type] | group_by(.) | map({type: .[0], n: length})",
            ".items[] | select(.metadata.name | test(\"^db-\")) | .metadata.name",
            ".items[] | if .immutable then .metadata.name else empty end",
            ".resources[] | {type, name}",
        ] {
            assert!(filters_names(filter), "{filter}");
        }
    }

    #[test]
    fn what_may_show_data() {
        for filter in [
            ".",
            ".items[]",
            ".items[].data",
            ".items[].data.name",
            ".items[] | .data | .type",
            ".items[] | .metadata",
            ".items[].metadata.annotations",
            ".items[] | [.metadata.name, .data] | @tsv",
            ".items[] | {name: .metadata.name, data}",
            ".items[] | \"\\(.metadata.name) \\(.data)\"",
            ".items[] | tostring",
            ".items[] | @json",
            ".. | .password? // empty",
            ".items[] | to_entries",
            ".items[].data | map_values(@base64d)",
            ".items[] | .[\"data\"]",
            ".items[] | getpath([\"data\"])",
            ".items[] as $x | $x.metadata.name, $x",
            ".items[] | select(.data.password == \"aHVudGVy\") | .metadata.name",
            ".items[] | select(.data.password | startswith(\"a\")) | .metadata.name",
            ".resources[].instances[].attributes",
            ".resources[] | select(.type == \"random_password\") | .instances",
            ".items[] | .data | first",
            "[.items[] | .data[]] | join(\",\")",
            "if .items then . else empty end",
            "$ENV | .TOKEN",
            "env",
            "input",
            ".items[] | debug | .metadata.name",
            ".items[].metadata.name, .items[].data",
        ] {
            assert!(!filters_names(filter), "{filter}");
        }
    }

    #[test]
    fn forms_of_output() {
        let program = |words: &[&str]| Program {
            name: words[0].to_owned(),
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        for form in [
            "custom-columns=NAME:.metadata.name,TYPE:.type",
            "jsonpath={.items[*].metadata.name}",
            "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}",
            "go-template={{range .items}}{{.metadata.name}}{{\"\\n\"}}{{end}}",
            "name",
        ] {
            assert!(
                prints_names(&program(&["kubectl", "get", "secrets", "-o", form])),
                "{form}"
            );
        }
        for form in [
            "custom-columns=NAME:.metadata.name,V:.data.password",
            "jsonpath={.items[*].data}",
            "jsonpath={.items[*]}",
            "jsonpath={range .items[*]}{.metadata.name}{.data.x}{end}",
            "go-template={{range $k, $v := .data}}{{$v}}{{end}}",
            "json",
        ] {
            assert!(
                !prints_names(&program(&["kubectl", "get", "secrets", "-o", form])),
                "{form}"
            );
        }
    }
}
