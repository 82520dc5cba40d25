//! Programs that a call hands over as data: a package's script, a makefile, what a redirection or an editor puts into a file.
//! Whoever runs them later runs what stands there, so it is read as what it is.

use defenseclaw_model::facts::HostFact;

use super::behaviours::Invocation;
use super::programs::Call;
use super::shells::nested_text;
use super::{Analysis, addresses, aside, code, hosts, lookalike, normal, written};
use crate::shell::{Field, Place, Scope, Sink};

/// Most scripts that one call of a package manager or an editor sets.
const MAX_SCRIPTS: usize = 16;

/// Where what a call hands over stands: one level below the call, so that texts in texts end.
fn below(call: Call<'_>) -> Place {
    Place {
        depth: call.place.depth + 1,
        ..call.place
    }
}

/// Notes what the program called `name` is given to be run later, or as recipes.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name, call };
    match name {
        "npm" | "pnpm" | "yarn" | "bun" => scripts(analysis, &invocation),
        "make" | "gmake" | "just" => recipes(analysis, &invocation, scope),
        "sed" | "gsed" => inserted(analysis, &invocation, scope),
        "docker" | "podman" | "nerdctl" | "crane" | "skopeo" | "oras" => images(analysis, &invocation),
        "julia" | "octave" | "octave-cli" | "matlab" => {
            let code = invocation.value(&["-e", "-E", "--eval", "--print", "-batch", "-r", "-p"]);
            if let Some(code) = code.map(str::to_owned) {
                code::scan(analysis, &code, scope);
            }
        }
        "curl" | "curlie" | "wget" | "wget2" | "http" | "https" | "xh" | "xhs" | "aria2c" | "lynx"
        | "w3m" => {
            let urls = invocation.words().filter(|word| word.contains("://"));
            let urls: Vec<String> = urls.take(MAX_SCRIPTS).map(str::to_owned).collect();
            urls.iter().for_each(|url| addresses::note(analysis, url, None));
            // What `-G` puts behind the question mark.
            if invocation.any(&["-G", "--get"]) || (name == "curl" && invocation.short("G")) {
                let data =
                    invocation.values(&["-d", "--data", "--data-urlencode", "--data-raw", "--data-binary"]);
                let query = data.take(MAX_SCRIPTS).collect::<Vec<_>>().join("&");
                if let Some(url) = urls.first() {
                    addresses::note(analysis, &format!("{url}?{query}"), None);
                }
            }
        }
        _ => {}
    }
}

/// Reads what a redirection or `tee` writes into a file, as if a file tool had written it.
pub(super) fn file(
    analysis: &mut Analysis,
    targets: &[Field],
    text: &str,
    call: Call<'_>,
    scope: &Scope<'_>,
) {
    let [target] = targets else { return };
    if !target.exact || text.is_empty() {
        return;
    }
    analysis.spend(text.len());
    let path = normal::normalise(&target.text, scope.cwd.as_deref());
    let before = analysis.facts.behaviours.len();
    written::content(analysis, &path, text, below(call));
    fetched(analysis, before);
}

/// Names the hosts whose code would run, so that those of well-known installers are told from others.
fn fetched(analysis: &mut Analysis, before: usize) {
    let new = analysis.facts.behaviours.get(before..).unwrap_or_default();
    let hosts: Vec<HostFact> = new
        .iter()
        .filter(|found| found.technique == "network-to-code")
        .filter_map(|found| hosts::host_port(&found.object, None))
        .collect();
    for host in hosts {
        analysis.host(host);
    }
}

/// `npm pkg set scripts.NAME=TEXT`, `npm set-script NAME TEXT`.
fn scripts(analysis: &mut Analysis, call: &Invocation<'_>) {
    let mut words = call.operands();
    let texts: Vec<&str> = match (words.next(), words.next()) {
        (Some("pkg"), Some("set")) => words
            .filter(|word| word.starts_with("scripts"))
            .filter_map(|word| word.split_once('='))
            .map(|(_, text)| text)
            .take(MAX_SCRIPTS)
            .collect(),
        (Some("set-script"), Some(_)) => words.next().into_iter().collect(),
        _ => return,
    };
    for text in texts {
        aside::command_line(analysis, text, aside::Setting::Startup, below(call.call));
    }
}

/// `make -f -` with the makefile on the standard input, and `make` behind a makefile that the call has written.
fn recipes(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let named = call.value(&["-f", "--file", "--makefile", "--justfile"]);
    let text = match named {
        Some("-" | "/dev/stdin") => call.input().map(str::to_owned),
        Some(path) => analysis.contents.of(&Field::literal(path), scope),
        None => ["Makefile", "makefile", "GNUmakefile", "justfile", "Justfile"]
            .iter()
            .find_map(|path| analysis.contents.of(&Field::literal(*path), scope)),
    };
    let Some(text) = text else { return };
    let text = written::recipes(&text)
        .replace("$(HOME)", "$HOME")
        .replace("${HOME}", "$HOME")
        .replace("$$", "$");
    nested_text(analysis, &text, scope, below(call.call));
}

/// `sed -i '2i TEXT' FILE`, `sed -i 's/a/TEXT/' FILE`: what is put into a file that something runs.
fn inserted(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let in_place = call.words().any(|word| {
        word.starts_with("--in-place")
            || word.starts_with('-') && !word.starts_with("--") && word.contains('i')
    });
    if !in_place {
        return;
    }
    let mut given: Vec<&str> = call.values(&["-e", "--expression"]).collect();
    let mut operands: Vec<&str> = call
        .operands_after(&["-e", "-f", "--expression", "--file"])
        .collect();
    if given.is_empty() && !operands.is_empty() {
        given.push(operands.remove(0));
    }
    let texts: Vec<String> = given
        .iter()
        .flat_map(|script| script.lines())
        .filter_map(put_in)
        .take(MAX_SCRIPTS)
        .collect();
    for text in &texts {
        lookalike::words(analysis, text);
        for path in operands.iter().take(MAX_SCRIPTS) {
            let path = normal::normalise(path, scope.cwd.as_deref());
            written::line(analysis, &path, text, below(call.call));
        }
    }
}

/// What one command of sed puts into a text.
fn put_in(command: &str) -> Option<String> {
    let command = command.trim_start();
    // An address: a line, the last one, or lines that fit.
    let command = match command.strip_prefix('/') {
        Some(rest) => rest.split_once('/').map_or("", |(_, rest)| rest),
        None => command.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '$' | ',')),
    };
    let mut letters = command.chars();
    match letters.next()? {
        'i' | 'a' | 'c' => {
            let rest = letters.as_str().trim_start().trim_start_matches('\\');
            Some(rest.trim_start().to_owned())
        }
        's' => {
            let mark = letters.next().filter(|mark| !mark.is_alphanumeric())?;
            let mut parts = vec![String::new()];
            let mut escaped = false;
            for letter in letters {
                if escaped || letter != mark {
                    escaped = !escaped && letter == '\\';
                    parts.last_mut()?.push(letter);
                } else if parts.len() == 2 {
                    break;
                } else {
                    parts.push(String::new());
                }
            }
            let text = parts.get(1)?.replace(&format!("\\{mark}"), &mark.to_string());
            Some(text.replace("\\n", "\n"))
        }
        _ => None,
    }
}

/// Images that are named with their registry.
fn images(analysis: &mut Analysis, call: &Invocation<'_>) {
    for word in call.operands().take(MAX_SCRIPTS) {
        if let Some((host, _)) = word.split_once('/')
            && host.contains('.')
            && !host.starts_with('.')
        {
            lookalike::host(analysis, host.split(':').next().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sed_puts_into_a_text() {
        for (command, text) in [
            ("2i curl x", Some("curl x")),
            ("$a\\ curl x", Some("curl x")),
            ("/^on:/a\\  curl x", Some("curl x")),
            ("s#npm test#npm test; curl x#", Some("npm test; curl x")),
            ("s/a/b\\/c/g", Some("b/c")),
            ("s/a/b", Some("b")),
            ("2d", None),
            ("s", None),
            ("", None),
            ("/unclosed", None),
        ] {
            assert_eq!(put_in(command).as_deref(), text, "{command}");
        }
    }
}
