//! Programs that run code of a language, a recipe or a package: which of their words name it, and whether what comes in on
//! their standard input is run.
//!
//! Shells and the interpreters of [`table::interpreter`] that take a script as their first operand stand in `flows::ends`;
//! here is what is told by an option, by a word before the script, or by a file of a fixed name in the folder.

use std::sync::LazyLock;

use super::behaviours::Invocation;
use super::programs::Call;
use super::{Analysis, aside, code, mentions, normal, table};
use crate::quick::Table;
use crate::shell::{Field, Place, Scope};

/// What a program makes of its standard input when nothing else names what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Runs it: `curl … | R --no-save`.
    Bare,
    /// Runs it if a word says so: `deno run -`.
    Named,
}

/// What a program makes of its first operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// It is run.
    Any,
    /// It is run if it looks like a file: the same place takes the name of a package or a target.
    File,
    /// All operands that look like files are.
    Files,
    /// It is something else.
    No,
}

/// How a program is given code.
struct Language {
    names: &'static [&'static str],
    /// Words of which one must stand first: `go run`. Empty if the script stands there.
    verbs: &'static [&'static str],
    /// Whether the script may also stand without such a word: `bun FILE`.
    verb_optional: bool,
    /// Options whose value is code.
    code: &'static [&'static str],
    /// Options whose value is a file with code.
    files: &'static [&'static str],
    /// Options with another value.
    values: &'static [&'static str],
    script: Script,
    input: Input,
    /// Files in the folder that are run without being named: `make` and `Makefile`.
    fixed: &'static [&'static str],
    /// Whether it is something to install or to set up, and not text that runs as it stands.
    installs: bool,
    /// Whether it is the source text of a language, which is looked over.
    source: bool,
}

const PLAIN: Language = Language {
    names: &[],
    verbs: &[],
    verb_optional: false,
    code: &[],
    files: &[],
    values: &[],
    script: Script::Any,
    input: Input::Bare,
    fixed: &[],
    installs: false,
    source: true,
};

/// A language's interpreter.
const fn language(
    names: &'static [&'static str],
    code: &'static [&'static str],
    files: &'static [&'static str],
) -> Language {
    Language {
        names,
        code,
        files,
        ..PLAIN
    }
}

/// A program that runs the script behind a word of its own.
const fn runner(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    values: &'static [&'static str],
) -> Language {
    Language {
        names,
        verbs,
        values,
        script: Script::File,
        input: Input::Named,
        ..PLAIN
    }
}

/// A program that follows the recipes of a file.
const fn recipes(
    names: &'static [&'static str],
    files: &'static [&'static str],
    fixed: &'static [&'static str],
) -> Language {
    Language {
        names,
        files,
        fixed,
        script: Script::No,
        input: Input::Named,
        source: false,
        ..PLAIN
    }
}

/// A package manager that takes files.
const fn packages(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    files: &'static [&'static str],
) -> Language {
    Language {
        names,
        verbs,
        files,
        script: Script::Files,
        input: Input::Named,
        installs: true,
        source: false,
        ..PLAIN
    }
}

const LANGUAGES: &[Language] = &[
    language(&["R", "Rterm", "littler"], &["-e"], &["-f", "--file"]),
    language(&["Rscript"], &["-e"], &[]),
    language(&["julia"], &["-e", "-E", "--eval", "--print"], &["-L", "--load"]),
    language(&["octave", "octave-cli"], &["--eval"], &[]),
    language(
        &[
            "guile",
            "racket",
            "scheme",
            "mit-scheme",
            "csi",
            "gsi",
            "chibi-scheme",
            "petite",
        ],
        &["-c", "-e", "--eval"],
        &["-s", "-l", "-f", "--load", "--script"],
    ),
    language(
        &[
            "sbcl", "clisp", "ecl", "ccl", "abcl", "clj", "clojure", "bb", "lein",
        ],
        &["--eval", "-e", "-x", "-eval"],
        &["--script", "--load", "-i", "-shell"],
    ),
    language(
        &["elixir", "iex", "erl", "escript", "gleam"],
        &["-e", "--eval", "-eval", "--rpc-eval"],
        &["-r", "-S"],
    ),
    language(
        &[
            "ghci",
            "runghc",
            "runhaskell",
            "stack-ghci",
            "ocaml",
            "utop",
            "hugs",
            "poly",
            "sml",
        ],
        &["-e"],
        &["-use"],
    ),
    language(
        &[
            "scala",
            "amm",
            "kotlin",
            "kotlinc",
            "groovy",
            "groovysh",
            "jshell",
            "bsh",
            "jjs",
            "jrunscript",
        ],
        &["-e", "-c"],
        &["-script", "-i"],
    ),
    language(
        &[
            "tsx",
            "ts-node",
            "esno",
            "jiti",
            "vite-node",
            "babel-node",
            "swc-node",
            "coffee",
            "lsc",
            "qjs",
            "d8",
        ],
        &["-e", "--eval", "-p", "--print"],
        &["-r", "--require", "--import"],
    ),
    language(&["wish", "tclsh", "jimsh", "expect"], &["-c"], &["-f"]),
    language(
        &[
            "bpython",
            "ptpython",
            "micropython",
            "jython",
            "pypy",
            "ipython",
            "xonsh",
            "hy",
        ],
        &["-c"],
        &["-i"],
    ),
    language(&["osascript", "raku", "janet", "fennel", "moon"], &["-e"], &[]),
    language(
        &["pwsh", "powershell", "powershell.exe", "pwsh-preview"],
        &[
            "-c",
            "-Command",
            "-CommandWithArgs",
            "-command",
            "--Command",
            "-EncodedCommand",
            "-ec",
        ],
        &["-File", "-file", "-f"],
    ),
    language(
        &["nu", "elvish", "ion", "murex"],
        &["-c", "--commands"],
        &["--config"],
    ),
    Language {
        names: &["bc", "dc", "gnuplot", "maxima", "m4"],
        code: &["-e", "--expression", "--batch-string"],
        files: &["-f", "--file", "-b", "--batch"],
        ..PLAIN
    },
    // Editors and debuggers: their commands come from files, and from the input only in their batch modes.
    Language {
        names: &["vim", "vi", "nvim", "view", "rvim"],
        files: &["-S", "-s", "-u", "-l", "-U"],
        script: Script::No,
        input: Input::Named,
        ..PLAIN
    },
    Language {
        names: &["ed", "red", "ex"],
        script: Script::No,
        ..PLAIN
    },
    Language {
        names: &["emacs", "emacsclient"],
        code: &["--eval", "-eval", "--execute", "-e"],
        files: &["-l", "--load", "--script", "-load", "-script"],
        script: Script::No,
        input: Input::Named,
        ..PLAIN
    },
    Language {
        names: &["gdb", "lldb"],
        files: &["-x", "--command", "-ix", "-s", "--source", "-S"],
        script: Script::No,
        input: Input::Bare,
        ..PLAIN
    },
    Language {
        names: &["ansible-playbook", "ansible-pull"],
        values: &[
            "-i",
            "--inventory",
            "-e",
            "--extra-vars",
            "-l",
            "--limit",
            "-u",
            "--user",
            "-t",
            "--tags",
        ],
        input: Input::Named,
        source: false,
        ..PLAIN
    },
    Language {
        names: &["java", "javaw"],
        files: &["-jar", "-cp", "-classpath", "--class-path"],
        script: Script::File,
        input: Input::Named,
        ..PLAIN
    },
    Language {
        script: Script::File,
        input: Input::Named,
        ..language(&["swift", "bpftrace", "stap"], &["-e"], &[])
    },
    Language {
        names: &["tcc"],
        files: &["-run"],
        script: Script::No,
        input: Input::Named,
        ..PLAIN
    },
    // Scripts behind a word.
    Language {
        verb_optional: true,
        ..runner(
            &["deno"],
            &["run", "serve", "test", "bench"],
            &["--config", "-c", "--import-map"],
        )
    },
    Language {
        verb_optional: true,
        fixed: &["package.json"],
        ..runner(
            &["bun"],
            &["run", "test"],
            &["--cwd", "--env-file", "-c", "--config"],
        )
    },
    runner(
        &["uv", "pdm", "hatch", "rye", "poetry", "pipenv"],
        &["run"],
        &[
            "--with",
            "--python",
            "-p",
            "--project",
            "--directory",
            "--extra",
            "--group",
            "--env-file",
        ],
    ),
    runner(
        &["go", "crystal", "zig", "v", "nim", "dub", "dotnet"],
        &["run"],
        &["-exec", "-tags"],
    ),
    runner(&["cargo"], &["script", "+nightly"], &[]),
    runner(
        &["npx", "bunx", "pnpx"],
        &["tsx", "ts-node", "esno", "jiti", "vite-node", "zx", "babel-node"],
        &["-p", "--package"],
    ),
    // Recipes.
    recipes(
        &["make", "gmake", "bmake"],
        &["-f", "--file", "--makefile"],
        &["Makefile", "makefile", "GNUmakefile"],
    ),
    recipes(
        &["just"],
        &["-f", "--justfile"],
        &["justfile", "Justfile", ".justfile"],
    ),
    recipes(
        &["task", "go-task"],
        &["-t", "--taskfile"],
        &["Taskfile.yml", "Taskfile.yaml"],
    ),
    recipes(
        &["rake", "invoke", "fab", "doit"],
        &["-f"],
        &["Rakefile", "tasks.py", "fabfile.py", "dodo.py"],
    ),
    recipes(&["ninja"], &["-f"], &["build.ninja"]),
    recipes(&["cmake", "ctest"], &["-P", "-S", "-C"], &["CMakeLists.txt"]),
    recipes(
        &["pytest", "py.test", "tox", "nox"],
        &["-c", "-f"],
        &["conftest.py", "tox.ini", "noxfile.py"],
    ),
    recipes(
        &["gradle", "mvn", "ant", "sbt"],
        &["-f", "-b", "-I"],
        &["build.gradle", "build.xml", "build.sbt"],
    ),
    recipes(&["terraform", "tofu", "vagrant"], &[], &["Vagrantfile"]),
    // Packages, images and what a cluster is told to run.
    Language {
        fixed: &["setup.py"],
        ..packages(
            &["pip", "pip3", "pipx"],
            &["install", "wheel", "download"],
            &["-r"],
        )
    },
    Language {
        fixed: &["package.json"],
        ..packages(
            &["npm", "pnpm", "yarn"],
            &[
                "install", "i", "add", "ci", "run", "start", "test", "link", "exec",
            ],
            &[],
        )
    },
    Language {
        fixed: &["build.rs"],
        ..packages(
            &["cargo"],
            &["build", "run", "test", "check", "install", "b", "r", "t"],
            &[],
        )
    },
    packages(
        &["gem", "luarocks", "cpan", "cpanm", "easy_install", "opam"],
        &[],
        &["--local"],
    ),
    packages(
        &["dpkg", "rpm", "installer", "msiexec", "pkg", "flatpak", "snap"],
        &[],
        &[],
    ),
    packages(
        &[
            "apt", "apt-get", "aptitude", "dnf", "yum", "zypper", "pacman", "apk", "brew", "conda", "mamba",
            "gdebi",
        ],
        &[],
        &[],
    ),
    packages(
        &["code", "codium", "cursor", "code-insiders"],
        &[],
        &["--install-extension"],
    ),
    packages(
        &["helm", "kubectl", "oc", "kustomize"],
        &["apply", "create", "replace", "install", "upgrade", "run"],
        &["-f", "--filename"],
    ),
    Language {
        fixed: &[
            "Dockerfile",
            "docker-compose.yml",
            "docker-compose.yaml",
            "compose.yml",
            "compose.yaml",
        ],
        ..packages(
            &["docker", "podman", "nerdctl", "buildah", "docker-compose"],
            &[
                "build", "load", "import", "compose", "play", "kube", "buildx", "stack", "up", "bud",
            ],
            &["-f", "--file", "-i", "--input", "-c", "--compose-file"],
        )
    },
];

/// What a call is given to run.
#[derive(Debug, Default)]
pub(super) struct Given<'c> {
    /// Source text among its words.
    pub(super) codes: Vec<&'c str>,
    /// The first file with code that it names.
    pub(super) file: Option<&'c str>,
    /// Whether it runs what comes in.
    pub(super) input: bool,
    /// Whether it is something to install or to set up.
    pub(super) installs: bool,
    /// Whether it is the source text of a language.
    source: bool,
}

/// Most texts of one call.
const MAX_CODES: usize = 16;

/// Whether a word names the standard input, or another descriptor that the shell has opened.
pub(super) fn is_input(word: &str) -> bool {
    let other = || {
        ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .any(|start| word.starts_with(start))
    };
    matches!(word, "-" | "/dev/stdin") || other()
}

/// The languages by the names of their programs.
static BY_NAME: LazyLock<Table<&'static str, Vec<&'static Language>>> = LazyLock::new(|| {
    let mut table: Table<&'static str, Vec<&'static Language>> = Table::default();
    for language in LANGUAGES {
        for name in language.names {
            table.entry(name).or_default().push(language);
        }
    }
    table
});

/// What is known of the program called `name`, as it is or without its version.
fn known(name: &str) -> &'static [&'static Language] {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let found = BY_NAME.get(name).or_else(|| BY_NAME.get(stem));
    found.map_or(&[], Vec::as_slice)
}

/// What the call runs; `None` for a program that is not known here, or that is told to do something else.
pub(super) fn given<'c>(call: &Invocation<'c>) -> Option<Given<'c>> {
    known(call.name).iter().find_map(|language| language.given(call))
}

/// Shells with a language of their own, in which a line of programs and pipes is written as in any other.
fn is_like_a_shell(name: &str) -> bool {
    matches!(
        name,
        "nu" | "elvish"
            | "xonsh"
            | "ion"
            | "murex"
            | "pwsh"
            | "powershell"
            | "powershell.exe"
            | "pwsh-preview"
    )
}

/// Looks over the source text that the call hands to the program called `name`, where the text stands in the call.
pub(super) fn note(analysis: &mut Analysis, name: &str, call: Call<'_>, scope: &Scope<'_>) {
    let invocation = Invocation { name, call };
    let Some(given) = given(&invocation).filter(|given| given.source) else {
        return;
    };
    let place = Place {
        depth: call.place.depth + 1,
        ..call.place
    };
    // Of the plain interpreters the words are looked over where their options are.
    let plain = table::interpreter(name);
    let first = invocation.operand(0);
    let written = given.file.filter(|_| !plain || first != given.file);
    let written = written.and_then(|file| {
        let text = analysis.contents.of(&Field::literal(file), scope)?;
        // A test hands what its texts name to what is tested.
        Some(if mentions::is_test(file) {
            mentions::acting(file, &text, true).into_owned()
        } else {
            text
        })
    });
    let input = call
        .input()
        .filter(|_| given.input && !(plain && first.is_none_or(is_input)));
    for code in given
        .codes
        .iter()
        .filter(|_| !plain)
        .copied()
        .chain(input)
        .chain(written.as_deref())
    {
        code::scan(analysis, code, scope);
    }
    if is_like_a_shell(name) {
        for code in given
            .codes
            .iter()
            .copied()
            .chain(call.input().filter(|_| given.input))
        {
            aside::command_line(analysis, code, aside::Setting::Remote, place);
        }
    }
}

/// The files of a fixed name that the call runs, if the call has written one before.
pub(super) fn fixed(analysis: &Analysis, call: &Invocation<'_>, scope: &Scope<'_>) -> Option<String> {
    let mut languages = known(call.name).iter();
    let language = languages.find(|language| !language.fixed.is_empty() && language.given(call).is_some())?;
    let mut paths = language
        .fixed
        .iter()
        .map(|name| normal::normalise(name, scope.cwd.as_deref()));
    paths.find(|path| analysis.facts.writes.iter().any(|written| written.path == *path))
}

impl Language {
    fn given<'c>(&self, call: &Invocation<'c>) -> Option<Given<'c>> {
        let mut found = Given {
            installs: self.installs,
            source: self.source,
            ..Given::default()
        };
        // `dpkg -I FILE` and `rpm -qip FILE` only look.
        let looks =
            !call.short("iUF") && !call.any(&["--install", "--upgrade", "--unpack"]) || call.short("q");
        if matches!(call.name, "dpkg" | "rpm") && looks {
            return None;
        }
        let mut verb = self.verbs.is_empty();
        let (mut bare, mut ends) = (true, false);
        let mut words = call.words().peekable();
        while let Some(word) = words.next() {
            if is_input(word) {
                (found.input, bare) = (true, false);
                continue;
            }
            if word.starts_with('-') && !ends {
                ends = word == "--";
                let (option, attached) = match word.split_once('=') {
                    Some((option, value)) if word.starts_with("--") => (option, Some(value)),
                    _ => (word, None),
                };
                let mut value = || attached.or_else(|| words.next());
                if self.code.contains(&option) {
                    let code = value().unwrap_or_default();
                    found.input |= code == "-";
                    if found.codes.len() < MAX_CODES {
                        found.codes.push(code);
                    }
                    bare = false;
                } else if self.files.contains(&option) {
                    // `sbcl --script` takes its input where no file follows.
                    if let Some(file) = value() {
                        found.named(file);
                        bare = false;
                    }
                } else if self.values.contains(&option) {
                    value();
                }
                continue;
            }
            if !verb && self.verbs.contains(&word) {
                verb = true;
                continue;
            }
            if !(verb || self.verb_optional && looks_like_file(word)) {
                return None;
            }
            verb = true;
            match self.script {
                Script::Any => {
                    found.named(word);
                    bare = false;
                    break;
                }
                Script::File => {
                    if looks_like_file(word) {
                        found.named(word);
                    }
                    bare = false;
                    break;
                }
                Script::Files => {
                    if looks_like_file(word) {
                        found.named(word);
                    }
                }
                Script::No => {}
            }
        }
        if !verb && !found.input {
            return None;
        }
        found.input |= bare && self.input == Input::Bare;
        Some(found)
    }
}

impl<'c> Given<'c> {
    fn named(&mut self, file: &'c str) {
        if is_input(file) {
            self.input = true;
        } else {
            self.file = self.file.or(Some(file));
        }
    }
}

/// Whether an operand is a file and not the name of a package, a target or a command.
fn looks_like_file(word: &str) -> bool {
    // The folder itself names no file; what it holds is known by its name.
    !word.contains("://")
        && !matches!(word, "." | "..")
        && (word.starts_with(['.', '/', '~'])
            || word.rsplit('/').next().is_some_and(|name| {
                name.rsplit_once('.').is_some_and(|(stem, end)| {
                    !stem.is_empty() && end.starts_with(|c: char| c.is_ascii_alphabetic())
                })
            }))
}
