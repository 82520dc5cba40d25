//! JSON with the lines on which its values stand; comments and commas before a closing bracket are taken as they come.

/// How deep values may nest.
const MAX_DEPTH: usize = 64;

/// Most values of one text.
const MAX_NODES: usize = 1 << 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// The name of its field; empty where it has none.
    pub(super) key: String,
    /// Its first and last line.
    pub(super) line: u32,
    pub(super) end: u32,
    pub(super) value: Value,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A number, `true` and the like, as it is written.
    Other(String),
    Many(Vec<Node>),
}

/// Reads a text; nothing where it is no JSON, or deeper or longer than is looked at.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut reader = Reader {
        text: text.trim_start_matches('\u{feff}'),
        at: 0,
        line: 1,
        nodes: 0,
    };
    let node = reader.value(String::new(), MAX_DEPTH)?;
    reader.blank();
    (reader.at == reader.text.len()).then_some(node)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self, count: usize) {
        let end = (self.at + count).min(self.text.len());
        let passed = self.text.as_bytes().get(self.at..end).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', passed).count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at = end;
    }

    /// Goes over blanks and comments.
    fn blank(&mut self) {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let blanks = rest.len() - rest.trim_start().len();
            let rest = rest.get(blanks..).unwrap_or_default();
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            } else {
                0
            };
            self.step(blanks + comment);
            if blanks + comment == 0 || comment == 0 {
                return;
            }
        }
    }

    fn value(&mut self, key: String, depth: usize) -> Option<Node> {
        let below = depth.checked_sub(1)?;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return None;
        }
        self.blank();
        let line = self.line;
        let value = match self.peek()? {
            b'"' => Value::Text(self.string()?),
            b'{' => Value::Many(self.many(b'}', below)?),
            b'[' => Value::Many(self.many(b']', below)?),
            _ => {
                let rest = self.text.get(self.at..).unwrap_or_default();
                let ends = |c: char| matches!(c, ',' | '}' | ']') || c.is_whitespace();
                let word = rest.split(ends).next().unwrap_or_default();
                let plain = word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
                if word.is_empty() || word.len() > 64 || !plain {
                    return None;
                }
                self.step(word.len());
                Value::Other(word.to_owned())
            }
        };
        let end = self.line;
        Some(Node {
            key,
            line,
            end,
            value,
        })
    }

    fn many(&mut self, close: u8, depth: usize) -> Option<Vec<Node>> {
        self.step(1);
        let mut fields = Vec::new();
        loop {
            self.blank();
            match self.peek()? {
                byte if byte == close => {
                    self.step(1);
                    return Some(fields);
                }
                b',' => self.step(1),
                _ => {
                    let mut key = String::new();
                    if close == b'}' {
                        key = self.string()?;
                        self.blank();
                        if self.peek()? != b':' {
                            return None;
                        }
                        self.step(1);
                    }
                    fields.push(self.value(key, depth)?);
                }
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        if self.peek()? != b'"' {
            return None;
        }
        self.step(1);
        let mut made = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.find(['"', '\\'])?;
            made.push_str(rest.get(..plain)?);
            self.step(plain);
            if self.peek()? == b'"' {
                self.step(1);
                return Some(made);
            }
            let escaped = rest.get(plain + 1..)?.chars().next()?;
            self.step(1 + escaped.len_utf8());
            match escaped {
                'n' => made.push('\n'),
                't' => made.push('\t'),
                'r' | 'b' | 'f' => made.push(' '),
                'u' => {
                    let digits = self.text.get(self.at..self.at + 4)?;
                    let code = u32::from_str_radix(digits, 16).ok()?;
                    made.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                    self.step(4);
                }
                other => made.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_lines() {
        let node = read("{\n // c\n \"a\": [\"x\\ny\", 1,],\n}\n").unwrap();
        let Value::Many(fields) = &node.value else {
            panic!()
        };
        assert_eq!((fields[0].key.as_str(), fields[0].line), ("a", 3));
        let Value::Many(items) = &fields[0].value else {
            panic!()
        };
        assert_eq!(items[0].value, Value::Text("x\ny".to_owned()));
        assert_eq!(items[1].value, Value::Other("1".to_owned()));
        assert_eq!((node.line, node.end), (1, 4));
    }

    #[test]
    fn what_is_none_is_nothing() {
        for text in [
            "",
            "{",
            "{\"a\" 1}",
            "nonsense here",
            "\"\\u12",
            &"[".repeat(1000),
            "[é]",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
