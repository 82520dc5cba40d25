//! Tests in languages of which no more is read than where their quoted texts are: what those name is handed to what is tested.

/// Ends of files of such languages.
const ENDS: &[&str] = &[
    "rb", "ex", "exs", "php", "lua", "clj", "groovy", "pl", "t", "r", "jl",
];

/// Parts of code in which texts run.
const RUNS: &[&str] = &[
    "system",
    "exec",
    "popen",
    "open3",
    "spawn",
    "passthru",
    "proc_open",
    "eval",
    "os.execute",
    "cmd(",
    "shell",
    "sh(",
    "kernel",
    "backtick",
    ".execute",
    "process",
    "qx",
    "%x",
    "port.open",
    "send(",
    "<<",
    "`",
    "file.write",
    "file_put_contents",
    "io.write",
];

/// A test's code without what stands in quotes; `None` where that cannot be told, or where texts may run.
pub(super) fn code(path: &str, text: &str) -> Option<String> {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    if !ENDS.contains(&end) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        line_of(end, line, &mut out)?;
        out.push('\n');
    }
    let lower = out.to_ascii_lowercase();
    (!RUNS.iter().any(|part| lower.contains(part))).then_some(out)
}

fn line_of(end: &str, line: &str, out: &mut String) -> Option<()> {
    let comment = match end {
        "php" | "groovy" => "//",
        "lua" => "--",
        "clj" => ";",
        _ => "#",
    };
    let mut rest = line;
    let mut begins = true;
    while let Some(c) = rest.chars().next() {
        if begins && rest.starts_with(comment) {
            return Some(());
        }
        begins = c.is_whitespace();
        if matches!(c, '"' | '\'') {
            let length = closed(rest, c)?;
            // What is filled in is code.
            if rest.get(..length)?.contains("#{") || end == "php" && rest.get(..length)?.contains("{$") {
                return None;
            }
            out.push_str("\"text\"");
            rest = rest.get(length..)?;
            continue;
        }
        out.push(c);
        rest = rest.get(c.len_utf8()..)?;
    }
    Some(())
}

/// The length of the text in quotes with which `rest` begins.
fn closed(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    rest.char_indices().skip(1).find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_tests_go() {
        let text = "it 'denies' do\n  expect(D.verdict('a | b')).to eq(:deny) # don't\nend\n";
        let left = code("/p/spec/d_spec.rb", text);
        assert_eq!(
            left.as_deref(),
            Some("it \"text\" do\n  expect(D.verdict(\"text\")).to eq(:deny) \nend\n")
        );
    }

    #[test]
    fn tests_that_run_texts_stay() {
        for text in [
            "system('a | b')",
            "`a | b`",
            "x = \"#{y}\"",
            "it 'a",
            "Open3.capture2('a')",
        ] {
            assert_eq!(code("/p/spec/d_spec.rb", text), None, "{text}");
        }
        assert_eq!(code("/p/spec/d.sh", "echo 'a'"), None);
    }
}
