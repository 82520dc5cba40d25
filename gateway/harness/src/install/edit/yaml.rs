//! YAML: text is put in and taken out at the places that a parser tells.
//!
//! Only block style that begins on lines of its own, and flow style, are changed. Whatever else YAML can do at a place that we
//! need (an alias, a second document) is refused.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::{Map, Value};

use super::{Document, EditError, Format, MAX_DEPTH, dotted, not_a_table};

/// Columns by which what we write is indented below its key.
const INDENT: usize = 2;

/// A YAML text.
pub(super) struct Yaml {
    text: String,
    /// The outermost node; `None` where the text holds nothing but comments.
    root: Option<Node>,
}

/// A node and where it stands (bytes).
#[derive(Debug)]
struct Node {
    start: usize,
    /// After its last byte of content.
    end: usize,
    /// Column of its first byte: for a block sequence, of its dashes.
    column: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Nothing at all after a key or a dash.
    Empty,
    Scalar(String),
    Sequence {
        flow: bool,
        items: Vec<Node>,
    },
    Mapping {
        flow: bool,
        entries: Vec<(Node, Node)>,
    },
    /// An alias: changing its target would change something else too.
    Alias,
}

impl Document for Yaml {
    fn parse(text: &str, _: Format) -> Result<Self, EditError> {
        Ok(Self {
            text: text.to_owned(),
            root: Reader::read(text)?,
        })
    }

    fn value(&self) -> Result<Value, EditError> {
        if self.root.is_none() {
            return Ok(Value::Object(Map::new()));
        }
        defenseclaw_yaml::from_str(&self.text)
            .map_err(|error| EditError::Obstacle(format!("the file is not understood: {error}")))
    }

    fn text(&self) -> String {
        self.text.clone()
    }

    fn append(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        let (node, known) = self.walk(at)?;
        if known < at.len() {
            return self.add_key(at, known, &Value::Array(vec![value.clone()]));
        }
        let (position, new) = match node.map(|node| (node, &node.content)) {
            Some((list, Content::Sequence { flow: false, .. })) => (
                line_end(&self.text, list.end),
                items(std::slice::from_ref(value), list.column),
            ),
            Some((list, Content::Sequence { flow: true, items })) => {
                let comma = if items.is_empty() { "" } else { ", " };
                (list.end - 1, format!("{comma}{value}"))
            }
            Some((_, Content::Empty)) => {
                return self.fill(at, |indent| items(std::slice::from_ref(value), indent));
            }
            _ => return Err(EditError::Obstacle(format!("{} is no list", dotted(at)))),
        };
        self.insert(position, &new)
    }

    fn remove_element(&mut self, at: &[String], index: usize) -> Result<(), EditError> {
        let list = self.at(at)?;
        let Content::Sequence { flow, items } = &list.content else {
            return Err(EditError::Obstacle(format!("{} is no list", dotted(at))));
        };
        let item = items.get(index).ok_or_else(|| gone(at))?;
        let range = if *flow {
            self.flow_range(items.iter().map(|item| (item.start, item.end)), index, list.end)
        } else {
            let dash = self.text[..item.start].trim_end_matches(' ');
            if !dash.ends_with('-') {
                return Err(rewritten(at));
            }
            self.lines(dash.len() - 1, item.end)
                .ok_or_else(|| rewritten(at))?
        };
        let (emptied, key_end) = (!*flow && items.len() == 1, self.key_end(at));
        self.text.replace_range(range, "");
        if emptied {
            self.text.insert_str(key_end.ok_or_else(|| rewritten(at))?, " []");
        }
        self.again()
    }

    fn set(&mut self, at: &[String], value: &Value) -> Result<(), EditError> {
        let (node, known) = self.walk(at)?;
        if known < at.len() {
            return self.add_key(at, known, value);
        }
        match node {
            Some(Node {
                start,
                end,
                content: Content::Scalar(_),
                ..
            }) => {
                let range = *start..*end;
                self.text.replace_range(range, &scalar(value));
                self.again()
            }
            _ => Err(EditError::Obstacle(format!("{} is no single value", dotted(at)))),
        }
    }

    fn remove_key(&mut self, at: &[String]) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let mapping = self.at(around)?;
        let Content::Mapping { flow, entries } = &mapping.content else {
            return Err(not_a_table(around));
        };
        let index = entries
            .iter()
            .position(|(name, _)| name.is(key))
            .ok_or_else(|| gone(at))?;
        let range = if *flow {
            let ranges = entries
                .iter()
                .map(|(name, value)| (name.start, value.end.max(name.end)));
            self.flow_range(ranges, index, mapping.end)
        } else {
            let (name, value) = &entries[index];
            self.lines(name.start, value.end.max(name.end))
                .ok_or_else(|| rewritten(at))?
        };
        let emptied = !*flow && entries.len() == 1 && !around.is_empty();
        let key_end = self.key_end(around);
        self.text.replace_range(range, "");
        if emptied {
            self.text.insert_str(key_end.ok_or_else(|| rewritten(at))?, " {}");
        }
        self.again()
    }
}

impl Yaml {
    fn again(&mut self) -> Result<(), EditError> {
        let unreadable = |_| EditError::Unfaithful("it could not be read afterwards");
        self.root = Reader::read(&self.text).map_err(unreadable)?;
        Ok(())
    }

    /// Puts text in, with the line ends that the file has.
    fn insert(&mut self, position: usize, new: &str) -> Result<(), EditError> {
        let whole_lines = new.ends_with('\n');
        let mut new = new.to_owned();
        if whole_lines && position > 0 && !self.text[..position].ends_with('\n') {
            new.insert(0, '\n');
            if position == self.text.len() {
                new.pop(); // The file did not end with a line end, and need not.
            }
        }
        if self.text.contains("\r\n") {
            new = new.replace('\n', "\r\n");
        }
        self.text.insert_str(position, &new);
        self.again()
    }

    /// The deepest node on the way along `at`, and how many of its keys are there.
    fn walk(&self, at: &[String]) -> Result<(Option<&Node>, usize), EditError> {
        let Some(mut node) = self.root.as_ref() else {
            return Ok((None, 0));
        };
        for (depth, key) in at.iter().enumerate() {
            match &node.content {
                Content::Mapping { entries, .. } => match entries.iter().find(|(name, _)| name.is(key)) {
                    Some((_, value)) => node = value,
                    None => return Ok((Some(node), depth)),
                },
                Content::Empty => return Ok((Some(node), depth)),
                Content::Alias => {
                    let what = format!("{} is an alias of another part of the file", dotted(&at[..depth]));
                    return Err(EditError::Obstacle(what));
                }
                _ => return Err(not_a_table(&at[..depth])),
            }
        }
        Ok((Some(node), at.len()))
    }

    fn at(&self, at: &[String]) -> Result<&Node, EditError> {
        match self.walk(at)? {
            (Some(node), known) if known == at.len() => Ok(node),
            _ => Err(gone(at)),
        }
    }

    /// Writes `at[known..]` with `value` into the mapping at `at[..known]`.
    fn add_key(&mut self, at: &[String], known: usize, value: &Value) -> Result<(), EditError> {
        let (around, missing) = at.split_at(known);
        let Some((key, inner)) = missing.split_first() else {
            return Err(gone(at));
        };
        let value = inner.iter().rev().fold(value.clone(), |value, key| {
            Value::Object(Map::from_iter([(key.clone(), value)]))
        });
        let (node, _) = self.walk(around)?;
        let (position, new) = match node.map(|node| (node, &node.content)) {
            None => (self.text.len(), entry(key, &value, 0)),
            Some((node, Content::Mapping { flow: false, .. })) => {
                (line_end(&self.text, node.end), entry(key, &value, node.column))
            }
            Some((node, Content::Mapping { flow: true, entries })) => {
                let comma = if entries.is_empty() { "" } else { ", " };
                (
                    node.end - 1,
                    format!("{comma}{}: {value}", scalar(&key.as_str().into())),
                )
            }
            Some((_, Content::Empty)) => return self.fill(around, |indent| entry(key, &value, indent)),
            Some(_) => return Err(not_a_table(around)),
        };
        self.insert(position, &new)
    }

    /// Writes lines below a key that has no value.
    fn fill(&mut self, at: &[String], lines: impl Fn(usize) -> String) -> Result<(), EditError> {
        let (key, around) = at.split_last().ok_or_else(|| gone(at))?;
        let Content::Mapping { flow: false, entries } = &self.at(around)?.content else {
            return Err(EditError::Obstacle(format!(
                "{} has no value to add to",
                dotted(at)
            )));
        };
        let (name, _) = entries
            .iter()
            .find(|(name, _)| name.is(key))
            .ok_or_else(|| gone(at))?;
        let (position, new) = (line_end(&self.text, name.end), lines(name.column + INDENT));
        self.insert(position, &new)
    }

    /// After the colon of a key.
    fn key_end(&self, at: &[String]) -> Option<usize> {
        let (key, around) = at.split_last()?;
        let Content::Mapping { entries, .. } = &self.at(around).ok()?.content else {
            return None;
        };
        let (name, _) = entries.iter().find(|(name, _)| name.is(key))?;
        let colon = self.text[name.end..].find(':')?;
        Some(name.end + colon + 1)
    }

    /// The lines from the one that begins with `start` to the one on which `end` lies; `None` where something else stands
    /// before `start`.
    fn lines(&self, start: usize, end: usize) -> Option<std::ops::Range<usize>> {
        let line = line_start(&self.text, start);
        self.text[line..start]
            .chars()
            .all(|c| c == ' ')
            .then(|| line..line_end(&self.text, end))
    }

    /// An element of a flow collection with the comma that it needs no more.
    fn flow_range(
        &self,
        elements: impl Iterator<Item = (usize, usize)>,
        index: usize,
        close: usize,
    ) -> std::ops::Range<usize> {
        let elements: Vec<_> = elements.collect();
        let (start, end) = elements[index];
        match (
            index.checked_sub(1).map(|before| elements[before].1),
            elements.get(index + 1),
        ) {
            (Some(before), _) => before..end,
            (None, Some((next, _))) => start..*next,
            (None, None) => start..end.min(close - 1),
        }
    }
}

impl Node {
    fn is(&self, key: &str) -> bool {
        matches!(&self.content, Content::Scalar(text) if text == key)
    }
}

fn gone(at: &[String]) -> EditError {
    EditError::Obstacle(format!("{} is not there", dotted(at)))
}

fn rewritten(at: &[String]) -> EditError {
    EditError::Obstacle(format!(
        "what belongs to {} is not written on lines of its own; take it out by hand",
        dotted(at)
    ))
}

/// Where the dash of a block sequence's element stands, if nothing but spaces follows it.
fn dash_before(text: &str, element: usize) -> Option<usize> {
    let before = text[..element].trim_end_matches(' ');
    before.ends_with('-').then(|| before.len() - 1)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// After the line end of the line on which the content that ends at `end` stops.
fn line_end(text: &str, end: usize) -> usize {
    if end > 0 && text.as_bytes().get(end - 1) == Some(&b'\n') {
        return end;
    }
    text[end..].find('\n').map_or(text.len(), |at| end + at + 1)
}

fn entry(key: &str, value: &Value, indent: usize) -> String {
    let (pad, key) = (" ".repeat(indent), scalar(&key.into()));
    match value {
        Value::Object(map) if !map.is_empty() => {
            let inner: String = map
                .iter()
                .map(|(key, value)| entry(key, value, indent + INDENT))
                .collect();
            format!("{pad}{key}:\n{inner}")
        }
        Value::Array(list) if !list.is_empty() => format!("{pad}{key}:\n{}", items(list, indent + INDENT)),
        other => format!("{pad}{key}: {}\n", scalar(other)),
    }
}

fn items(list: &[Value], indent: usize) -> String {
    let pad = " ".repeat(indent);
    list.iter()
        .map(|value| match value {
            Value::Object(map) if !map.is_empty() => {
                let inner: String = map
                    .iter()
                    .map(|(key, value)| entry(key, value, indent + INDENT))
                    .collect();
                format!("{pad}- {}", inner.trim_start_matches(' '))
            }
            other => format!("{pad}- {}\n", scalar(other)),
        })
        .collect()
}

/// A value on one line. JSON is YAML; plain words need no quotes.
fn scalar(value: &Value) -> String {
    const WORDS_WITH_A_MEANING: [&str; 10] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "none",
    ];
    match value {
        Value::String(text)
            if text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
                && !WORDS_WITH_A_MEANING.contains(&text.to_ascii_lowercase().as_str()) =>
        {
            text.clone()
        }
        other => other.to_string(),
    }
}

/// Builds the tree of one document.
struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
}

impl<'t> Reader<'t> {
    fn read(text: &'t str) -> Result<Option<Node>, EditError> {
        let parser = Parser::new_from_str(text);
        let mut reader = Self { parser, text };
        let mut root = None;
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), _) if root.is_some() => {
                    let what = "the file holds more than one YAML document".to_owned();
                    return Err(EditError::Obstacle(what));
                }
                (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
                (event, span) => {
                    let node = reader.node(event, span, 0)?;
                    root = (!matches!(node.content, Content::Empty)).then_some(node);
                }
            }
        }
    }

    /// The next event that is no comment.
    fn next(&mut self) -> Result<(Event<'t>, Span), EditError> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => {
                    return Err(EditError::Syntax {
                        line: error.marker().line(),
                        column: error.marker().col() + 1,
                        what: error.info().to_owned(),
                    });
                }
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, EditError> {
        if depth > MAX_DEPTH {
            return Err(EditError::Syntax {
                line: span.start.line(),
                column: span.start.col() + 1,
                what: format!("the file is nested deeper than {MAX_DEPTH} levels"),
            });
        }
        let start = self.offset(span.start.byte_offset());
        let mut node = Node {
            start,
            end: self.offset(span.end.byte_offset()),
            column: span.start.col(),
            content: Content::Empty,
        };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let nothing = node.start == node.end && anchor == 0 && tag.is_none();
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    node.end = self.block_end(&node);
                }
                if !(nothing && style == ScalarStyle::Plain) {
                    node.content = Content::Scalar(text.into_owned());
                }
            }
            Event::SequenceStart(style, ..) => self.sequence(&mut node, style, depth)?,
            Event::MappingStart(style, ..) => self.mapping(&mut node, style, depth)?,
            _ => node.content = Content::Alias,
        }
        Ok(node)
    }

    fn sequence(&mut self, node: &mut Node, style: StructureStyle, depth: usize) -> Result<(), EditError> {
        let (mut items, flow): (Vec<Node>, _) = (Vec::new(), style == StructureStyle::Flow);
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, span) => {
                    node.end = if flow {
                        self.offset(span.end.byte_offset())
                    } else {
                        items.last().map_or(node.end, |last| last.end)
                    };
                    break;
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
        if !flow && let Some(dash) = items.first().and_then(|item| dash_before(self.text, item.start)) {
            node.column = dash - line_start(self.text, dash);
        }
        node.content = Content::Sequence { flow, items };
        Ok(())
    }

    fn mapping(&mut self, node: &mut Node, style: StructureStyle, depth: usize) -> Result<(), EditError> {
        let (mut entries, flow): (Vec<(Node, Node)>, _) = (Vec::new(), style == StructureStyle::Flow);
        loop {
            match self.next()? {
                (Event::MappingEnd | Event::StreamEnd, span) => {
                    node.end = if flow {
                        self.offset(span.end.byte_offset())
                    } else {
                        entries.last().map_or(node.end, |(_, value)| value.end)
                    };
                    break;
                }
                (event, span) => {
                    let key = self.node(event, span, depth + 1)?;
                    let (event, span) = self.next()?;
                    let mut value = self.node(event, span, depth + 1)?;
                    if matches!(value.content, Content::Empty) {
                        // The parser tells the place of nothing as that of what comes next.
                        (value.start, value.end) = (key.end, key.end);
                    }
                    entries.push((key, value));
                }
            }
        }
        if !flow && let Some((first, _)) = entries.first() {
            (node.start, node.column) = (first.start, first.column);
        }
        node.content = Content::Mapping { flow, entries };
        Ok(())
    }

    /// Where the lines of a literal or folded scalar end. The parser counts what follows up to the next node.
    fn block_end(&self, node: &Node) -> usize {
        let Some(head) = self.text[node.start..node.end].find('\n') else {
            return node.end;
        };
        let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let (mut at, mut end, mut column) = (node.start + head + 1, node.start + head + 1, None);
        for line in self.text[at..node.end].split_inclusive('\n') {
            at += line.len();
            if !line.trim().is_empty() {
                if indent(line) < *column.get_or_insert(indent(line)) {
                    break;
                }
                end = at;
            }
        }
        end
    }

    /// Never outside of the text, whatever the parser says.
    fn offset(&self, told: Option<usize>) -> usize {
        let offset = told.unwrap_or(self.text.len()).min(self.text.len());
        (0..=offset)
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0)
    }
}
