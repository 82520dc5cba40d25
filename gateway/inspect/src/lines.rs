//! JSON lines: one item in, one answer out, in the same order. A bad line is answered, and the run goes on.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Inspector, Item};

/// Longest line that is judged (bytes): the largest hook payload.
pub const MAX_LINE: usize = 16 << 20;

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// The answer to a line that cannot be judged.
#[derive(Debug, Serialize)]
struct Bad {
    id: Value,
    error: String,
}

/// An object of which only the id matters. Whatever else it holds is passed over, however deep.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: Value,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines that were judged.
    pub judged: u64,
    /// Lines that could not be.
    pub bad: u64,
}

/// Answers every line of `input`. Empty lines are passed over. Each answer is flushed once nothing more waits to be read, so
/// that a program that sends a line and waits for its answer gets it.
pub fn run(inspector: &Inspector, input: impl Read, out: &mut (impl Write + ?Sized)) -> io::Result<Counts> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut counts = Counts::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let whole = match read_line(&mut input, &mut line)? {
            Got::End => break,
            Got::Line => true,
            Got::TooLong => false,
        };
        if whole && line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = if whole {
            answer(inspector, &line)
        } else {
            Err(bad(
                Value::Null,
                format!("the line has more than {MAX_LINE} bytes"),
            ))
        };
        match answer {
            Ok(inspected) => {
                counts.judged += 1;
                serde_json::to_writer(&mut *out, &inspected)?;
            }
            Err(bad) => {
                counts.bad += 1;
                serde_json::to_writer(&mut *out, &bad)?;
            }
        }
        out.write_all(b"\n")?;
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(counts)
}

fn answer(inspector: &Inspector, line: &[u8]) -> Result<crate::Inspected, Bad> {
    // A list would be taken for an object's fields in order.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad(Value::Null, "the line is no JSON object".to_owned()));
    }
    let item: Item = serde_json::from_slice(line).map_err(|error| {
        // The id of an object with a wrong field is still the caller's.
        let id = serde_json::from_slice::<Named>(line).map_or(Value::Null, |named| named.id);
        bad(id, format!("the line is not understood: {error}"))
    })?;
    let id = item.id.clone();
    inspector
        .inspect(item)
        .map_err(|error| bad(id, error.to_string()))
}

fn bad(id: Value, error: String) -> Bad {
    Bad { id, error }
}

enum Got {
    End,
    Line,
    TooLong,
}

/// Reads up to a line break, which is not kept; a line over the bound is passed over and not kept either.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Got> {
    let mut kept = true;
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(match (kept, line.is_empty()) {
                (false, _) => Got::TooLong,
                (true, true) => Got::End,
                (true, false) => Got::Line,
            });
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        if kept && line.len() + part.len() > MAX_LINE {
            kept = false;
            *line = Vec::new();
        }
        if kept {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(if kept { Got::Line } else { Got::TooLong });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rules;

    fn answers(input: &[u8]) -> (Vec<Value>, Counts) {
        let inspector = Inspector::new(Rules::load(None).unwrap());
        let mut out = Vec::new();
        let counts = run(&inspector, input, &mut out).unwrap();
        let lines = std::str::from_utf8(&out).unwrap().lines();
        (
            lines.map(|line| serde_json::from_str(line).unwrap()).collect(),
            counts,
        )
    }

    #[test]
    fn every_line_gets_its_answer_in_order_and_bad_ones_stop_nothing() {
        let deep = format!(
            "{{\"id\": \"deep\", \"tool\": \"X\", \"input\": {}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let input = [
            br#"{"id":"1","tool":"Bash","input":{"command":"ls"}}"#.as_slice(),
            b"nonsense",
            b"",
            br#"{"id":"2","tool":7,"input":{}}"#,
            b"{\"id\":\"3\",\"surface\":\"prompt\",\"text\":\"\xff\"}",
            br#"{"id":"4","surface":"elsewhere","text":"x"}"#,
            deep.as_bytes(),
            br#"[1]"#,
            br#"{"id":{"a":1},"surface":"prompt","text":"hello"}"#,
        ]
        .join(&b'\n');
        let (answers, counts) = answers(&input);
        assert_eq!(counts, Counts { judged: 2, bad: 6 });
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
        let null = Value::Null;
        let id = |text: &str| Value::from(text);
        assert_eq!(
            ids,
            [
                id("1"),
                null.clone(),
                id("2"),
                id("3"),
                id("4"),
                id("deep"),
                null,
                serde_json::json!({"a": 1})
            ]
        );
        assert_eq!(answers[0]["verdict"], "allow");
        for bad in &answers[1..7] {
            assert!(bad["error"].as_str().unwrap().len() > 20, "{bad}");
        }
        assert_eq!(answers[7]["findings"], serde_json::json!([]));
    }

    #[test]
    fn a_line_over_the_bound_is_refused_and_the_next_one_is_read() {
        let mut input = vec![b'x'; MAX_LINE + 1];
        input.extend_from_slice(b"\n{\"id\":1,\"surface\":\"prompt\",\"text\":\"hi\"}");
        let (answers, counts) = answers(&input);
        assert_eq!(counts, Counts { judged: 1, bad: 1 });
        assert!(answers[0]["error"].as_str().unwrap().contains("more than"));
        assert_eq!(answers[1]["id"], 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_many_answers_as_lines_that_are_not_empty(lines in prop::collection::vec("[ -~]{0,40}", 0..12)) {
            let wanted = lines.iter().filter(|line| !line.trim().is_empty()).count();
            prop_assert_eq!(answers(lines.join("\n").as_bytes()).0.len(), wanted);
        }
    }
}
