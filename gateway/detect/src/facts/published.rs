//! What a written text makes public of the environment as a whole: in an answer, a page, an error or a log.

use defenseclaw_model::facts::BehaviourKind::Credential;

use super::Analysis;
use super::handed::is_word;
use super::renamed::is_shipped;

/// Most places of one text that are looked at.
const MAX_PLACES: usize = 32;
/// Most names that hold the environment.
const MAX_NAMES: usize = 8;
/// How far it is looked back for the call whose argument something is (bytes): a handful of lines.
pub(super) const MAX_BACK: usize = 800;
/// How far a loop's body is looked into, and a line behind what is looked at (bytes).
const MAX_AHEAD: usize = 320;

/// Expressions that are the whole environment, unless one of it is picked behind them.
const WHOLE: &[&str] = &[
    "process.env",
    "os.environ",
    "ENV.to_h",
    "ENV.inspect",
    "$_ENV",
    "getenv()",
    "os.Environ()",
    "env::vars()",
    "GetEnvironmentVariables()",
    "Deno.env.toObject()",
    "Bun.env",
    "processInfo.environment",
    "Platform.environment",
];

/// Calls that answer a request, by the last part of their name.
const ANSWERS: &[&str] = &[
    "json",
    "jsonp",
    "send",
    "end",
    "jsonify",
    "JSONResponse",
    "JsonResponse",
    "HttpResponse",
    "HTMLResponse",
    "PlainTextResponse",
    "ORJSONResponse",
    "Response",
    "render_template",
    "render_template_string",
    "make_response",
    "html",
    "JSON",
    "IndentedJSON",
    "Json",
    "respond",
    "Fprint",
    "Fprintf",
    "Fprintln",
    "ServeJSON",
    "setHeader",
    "render_json",
];

/// Calls that hand something to whoever gathers errors and events, or raise it as an error.
const REPORTS: &[&str] = &[
    "captureException",
    "captureMessage",
    "capture_exception",
    "capture_message",
    "captureEvent",
    "setContext",
    "set_context",
    "setExtra",
    "setExtras",
    "set_extra",
    "addBreadcrumb",
    "track",
    "trackEvent",
    "trackException",
    "addMetadata",
    "add_metadata",
    "noticeError",
    "Error",
    "Exception",
    "RuntimeError",
    "ValueError",
    "HTTPException",
    "abort",
    "capture",
    "identify",
    "logEvent",
    "sendEvent",
    "notify",
    "DefinePlugin",
    "EnvironmentPlugin",
];

/// Calls that print or log, by their last part, and what stands before it where that part says too little.
const LOGS: &[&str] = &[
    "console.log",
    "console.info",
    "console.error",
    "console.warn",
    "console.debug",
    "console.dir",
    "console.table",
    "print",
    "pprint",
    "println!",
    "eprintln!",
    "dbg!",
    "info!",
    "debug!",
    "puts",
    "print_r",
    "var_dump",
    "var_export",
    "error_log",
    "fmt.Println",
    "fmt.Printf",
    "fmt.Print",
    "log.Println",
    "log.Printf",
    "log.Print",
    "System.out.println",
    "Console.WriteLine",
];

/// What stands before a method of a log: `logger.info(`, `logging.debug(`.
const LOGGERS: &[&str] = &["logger", "logging", "log", "LOG", "LOGGER", "Logger", "Rails"];

/// Calls that take names or a choice out of the environment, or blacken it.
const CHOOSE: &[&str] = &[
    "keys",
    "len",
    "list",
    "sorted",
    "pick",
    "omit",
    "redact",
    "mask",
    "sanitize",
    "sanitise",
    "filter",
    "scrub",
    "parse",
    "safeParse",
    "set",
    "count",
    "size",
    "validate",
];

/// Where it is decided what a function returns to whoever asks over the network.
const ROUTES: &[&str] = &[
    "@app.",
    "@router.",
    "@bp.",
    "@api.",
    "@blueprint.",
    "export default function handler",
    "export async function loader",
    "export const loader",
    "export const load ",
    "export const load:",
    "export async function load(",
    "getServerSideProps",
    "getStaticProps",
    "getInitialProps",
    "defineEventHandler",
    "@GetMapping",
    "@RequestMapping",
    "@Get(",
];

/// How something becomes public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Logged,
    Shown,
}

/// A written file, and what is asked of it as a whole.
struct File<'t> {
    path: &'t str,
    text: &'t str,
    /// Whether functions of it answer requests.
    routes: bool,
    /// Whether it has what Go writes answers to.
    writer: bool,
    /// Whether it maps addresses to what Ruby answers.
    gets: bool,
}

impl<'t> File<'t> {
    fn new(path: &'t str, text: &'t str) -> Self {
        Self {
            path,
            text,
            routes: ROUTES.iter().any(|route| text.contains(route)),
            writer: text.contains("ResponseWriter"),
            gets: path.ends_with(".rb") && text.contains("get "),
        }
    }
}

/// Notes what `text`, written to `path`, makes public.
pub(super) fn note(analysis: &mut Analysis, path: &str, text: &str) {
    if is_test(path) {
        return;
    }
    match environment(path, text) {
        Some(Way::Shown) => analysis.behave(Credential, "environment-shown", path, None),
        Some(Way::Logged) => analysis.behave(Credential, "environment-logged", path, None),
        None => {}
    }
}

/// Whether a path is a test's, whose environment is made up.
fn is_test(path: &str) -> bool {
    [
        "/test/",
        "/tests/",
        "/__tests__/",
        ".test.",
        ".spec.",
        "_test.",
        "/test_",
    ]
    .iter()
    .any(|part| path.contains(part))
}

/// The worst that becomes of the whole environment in `text`.
fn environment(path: &str, text: &str) -> Option<Way> {
    let mut worst = shown_by_setting(path, text).then_some(Way::Shown);
    let mut names: Vec<(&str, usize)> = Vec::new();
    if !WHOLE.iter().any(|word| text.contains(word)) {
        return worst;
    }
    let file = File::new(path, text);
    for (at, word) in WHOLE
        .iter()
        .flat_map(|word| text.match_indices(word).take(MAX_PLACES))
    {
        let behind = &text[at + word.len()..];
        let before = &text[..at];
        if !is_whole(word, before, behind) {
            continue;
        }
        let line_end = behind.find('\n').unwrap_or(behind.len());
        let line = &behind[..behind.floor_char_boundary(line_end.min(MAX_AHEAD))];
        if [
            ".filter(",
            " if ",
            ".reduce(",
            ".length",
            "startsWith",
            "startswith",
        ]
        .iter()
        .any(|part| line.contains(part))
        {
            continue;
        }
        worst = worst.max(becomes(&file, at));
        if names.len() < MAX_NAMES {
            names.extend(named(before).map(|name| (name, at)));
            names.extend(looped(before).map(|name| (name, at)));
        }
    }
    // What holds the environment, and where it goes from there.
    for (name, from) in names {
        let rest = &text[from..];
        let places = rest.match_indices(name).take(MAX_PLACES);
        for (at, _) in places {
            let at = from + at;
            let behind = text[at + name.len()..].chars().next();
            let whole = is_word(text, at, name.len()) && !matches!(behind, Some('.' | '[' | ':' | '?' | '='));
            if whole {
                worst = worst.max(becomes(&file, at));
            }
        }
    }
    worst
}

/// Whether a page of a language's or a framework's own shows the environment.
fn shown_by_setting(path: &str, text: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let values = || {
        text.lines().any(|line| {
            let line = line.to_ascii_lowercase();
            line.contains("show-values") && line.contains("always")
        })
    };
    (name.ends_with(".php") && text.contains("phpinfo(")) || (name.starts_with("application") && values())
}

/// Whether what stands at a word of [`WHOLE`] is the whole environment, and nothing of it is picked.
fn is_whole(word: &str, before: &str, behind: &str) -> bool {
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return false;
    }
    let all = [
        ".items()",
        ".values()",
        ".copy()",
        ".entries()",
        ".map",
        ".each",
        ".collect",
        "[",
    ];
    let mut next = behind.chars();
    match next.next() {
        Some(c) if c.is_alphanumeric() || c == '_' => false,
        Some('[' | '?') => false,
        Some('!') => false,
        Some('.') => {
            word.ends_with(')') || word.starts_with("ENV") || all.iter().any(|all| behind.starts_with(all))
        }
        Some(' ') if behind.trim_start().starts_with('=') && !behind.trim_start().starts_with("==") => false,
        _ => true,
    }
}

/// The name that what follows `before` is assigned to.
fn named(before: &str) -> Option<&str> {
    let line = before.rsplit(['\n', ';']).next()?;
    let (left, right) = line.split_once('=')?;
    let spread =
        right.trim_matches(|c: char| matches!(c, ' ' | '{' | '(' | '.' | '*' | '>' | '&') || c == '\t');
    let plain =
        spread.is_empty() || matches!(spread, "dict" | "Object.assign({}," | "Object.entries" | "str");
    let object = right.trim_start().starts_with('{') && !right.contains('(');
    let left = left.trim().trim_end_matches(':');
    let left = ["const ", "let ", "var ", "final ", "my "]
        .iter()
        .find_map(|word| left.strip_prefix(word))
        .unwrap_or(left);
    let name = left.trim().trim_start_matches('$');
    ((plain || object) && name.len() > 1 && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .then_some(name)
}

/// The name that holds each value of what follows `before`, where that is gone through in a loop.
fn looped(before: &str) -> Option<&str> {
    let line = before.rsplit('\n').next()?;
    let (left, _) = line.split_once(" in ").or_else(|| line.split_once(" of "))?;
    let at = left.find("for ")?;
    let name = left[at + 4..]
        .rsplit([',', ' ', '[', ']', '('])
        .find(|part| !part.trim_matches(')').is_empty())?
        .trim_matches(')');
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

/// What becomes of what stands at `at`: what the calls around it do.
fn becomes(file: &File<'_>, at: usize) -> Option<Way> {
    let (path, text) = (file.path, file.text);
    let from = text.ceil_char_boundary(at.saturating_sub(MAX_BACK));
    let window = &text[from..at];
    let mut depth = 0_usize;
    for (place, byte) in window.bytes().enumerate().rev() {
        match byte {
            b')' | b']' | b'}' => depth += 1,
            b'(' | b'[' | b'{' if depth > 0 => depth -= 1,
            b'(' => {
                let head = head(&window[..place]);
                if let Some(found) = of_call(head, file) {
                    return found;
                }
            }
            b'{' => {
                let before = window[..place].trim_end();
                let element = before.ends_with('>') && !before.ends_with("=>");
                if element
                    && [".tsx", ".jsx", ".astro", ".svelte", ".vue"]
                        .iter()
                        .any(|end| path.ends_with(end))
                {
                    return Some(Way::Shown);
                }
                if before.ends_with([')', '>']) || before.ends_with("else") || before.ends_with("try") {
                    return returned(file, at);
                }
                // What a function of a cloud answers with.
                if window[place..].contains("statusCode") || is_shipped(path, before) {
                    return Some(Way::Shown);
                }
            }
            // Nothing of a call is open on the line before.
            b'\n' if depth == 0 && window[..place].trim_end().ends_with([';', ':']) => break,
            _ => {}
        }
    }
    let line = window.rsplit('\n').next().unwrap_or_default();
    let page = [
        "window.",
        "globalThis.__",
        "<script",
        "<pre",
        "[200,",
        "render json:",
        "render plain:",
        "render inline:",
    ];
    if page.iter().any(|part| line.contains(part)) {
        return Some(Way::Shown);
    }
    if line.trim_start().starts_with("echo ") || (path.ends_with(".php") && line.contains("echo ")) {
        return Some(Way::Shown);
    }
    returned(file, at)
}

/// The name of a call, from what stands before its bracket.
pub(super) fn head(before: &str) -> &str {
    let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '!' | ':');
    let begin = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| named(*c))
        .last()
        .map_or(before.len(), |(at, _)| at);
    &before[begin..]
}

/// What a call makes of its argument: public, nothing of it (`Some(None)`), or no more than its own caller does.
fn of_call(head: &str, file: &File<'_>) -> Option<Option<Way>> {
    let last = head.rsplit(['.', ':']).next().unwrap_or_default();
    let first = head.split(['.', ':']).next().unwrap_or_default();
    if CHOOSE.contains(&last) {
        return Some(None);
    }
    if LOGS.contains(&head) || (first != head && LOGGERS.contains(&first)) || head.contains("logger.") {
        return Some(Some(Way::Logged));
    }
    // A client's answer is read by `.json()`; what is encoded goes where the encoder writes.
    if ANSWERS.contains(&last) || (last == "Encode" && file.writer) {
        return Some(Some(Way::Shown));
    }
    let view = matches!(last, "render" | "view") && matches!(first, "res" | "reply" | "ctx" | "c");
    if REPORTS.contains(&last) || view {
        return Some(Some(Way::Shown));
    }
    // Programs that are started get the environment, and so do functions that nothing is known of.
    let wraps = [
        "stringify",
        "dumps",
        "dict",
        "assign",
        "entries",
        "fromEntries",
        "str",
        "repr",
        "String",
        "inspect",
        "format",
        "items",
        "values",
        "json_encode",
        "to_json",
        "from",
        "b64encode",
        "encode",
        "btoa",
        "marshal",
        "map",
        "",
    ];
    (!wraps.contains(&last)).then_some(None)
}

/// Whether what stands at `at` is returned by a function that answers requests.
fn returned(file: &File<'_>, at: usize) -> Option<Way> {
    let text = file.text;
    let from = text.ceil_char_boundary(at.saturating_sub(MAX_BACK));
    let before = text[from..at].trim_end_matches(['{', '(', '.', '*', ' ', '\n']);
    let statement = before
        .rsplit([';', '\n', '{', '}'])
        .next()
        .unwrap_or_default()
        .trim_start();
    let line = text[from..at].rsplit('\n').next().unwrap_or_default();
    // A function of Ruby gives back what stands in its last line.
    let last = file.gets && line.trim().is_empty();
    let returns =
        statement.starts_with("return") || line.trim_start().starts_with("return") || line.contains("=> (");
    if last {
        return Some(Way::Shown);
    }
    (returns && file.routes).then_some(Way::Shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_environment_in_answers_and_logs() {
        for (path, text, way) in [
            (
                "r.ts",
                "return NextResponse.json({ ok: true, env: { ...process.env } });",
                Some(Way::Shown),
            ),
            (
                "r.ts",
                "app.get('/d', (req, res) => res.json(process.env));",
                Some(Way::Shown),
            ),
            (
                "r.ts",
                "app.get('/d', (req, res) => {\n  const info = { ...process.env };\n  res.status(200).json({ info });\n});",
                Some(Way::Shown),
            ),
            (
                "r.py",
                "@app.get('/debug')\ndef debug():\n    return dict(os.environ)\n",
                Some(Way::Shown),
            ),
            ("r.py", "return jsonify(env=dict(os.environ))", Some(Way::Shown)),
            ("r.py", "return HttpResponse(str(os.environ))", Some(Way::Shown)),
            (
                "r.py",
                "sentry_sdk.set_context('env', dict(os.environ))",
                Some(Way::Shown),
            ),
            (
                "r.js",
                "throw new Error(`failed: ${JSON.stringify(process.env)}`)",
                Some(Way::Shown),
            ),
            (
                "r.js",
                "html += `<script>window.__ENV__ = ${JSON.stringify(process.env)}</script>`",
                Some(Way::Shown),
            ),
            ("r.go", "fmt.Fprintln(w, os.Environ())", Some(Way::Shown)),
            (
                "vite.config.ts",
                "export default { define: { 'process.env': process.env } }",
                Some(Way::Shown),
            ),
            (
                "r.py",
                "for k, v in os.environ.items():\n    logger.info('%s=%s', k, v)\n",
                Some(Way::Logged),
            ),
            ("r.py", "logging.debug('env: %s', os.environ)", Some(Way::Logged)),
            ("r.js", "console.log('started', process.env)", Some(Way::Logged)),
            (
                "r.rs",
                "println!(\"{:?}\", std::env::vars().collect::<Vec<_>>());",
                Some(Way::Logged),
            ),
            (
                "r.js",
                "const info = { env: process.env, cwd: process.cwd() };\nres.json(info);",
                Some(Way::Shown),
            ),
            (
                "r.js",
                "exports.handler = async () => ({ statusCode: 200, body: JSON.stringify(process.env) });",
                Some(Way::Shown),
            ),
            (
                "r.java",
                "@GetMapping(\"/env\") Map<String, String> env() { return System.getenv(); }",
                Some(Way::Shown),
            ),
            ("r.rb", "render json: ENV.to_h", Some(Way::Shown)),
            ("r.php", "<?php phpinfo(); ?>", Some(Way::Shown)),
            (
                "page.tsx",
                "return <pre>{JSON.stringify(process.env, null, 2)}</pre>;",
                Some(Way::Shown),
            ),
            (
                "application.yml",
                "endpoint:\n  env:\n    show-values: ALWAYS\n",
                Some(Way::Shown),
            ),
            (
                "+page.ts",
                "export const load = async () => ({ env: process.env });",
                Some(Way::Shown),
            ),
            (
                "r.ts",
                "export function all(): Map<string, string> {\n  return parse({ ...process.env });\n}",
                None,
            ),
            ("r.php", "<?php echo json_encode($_ENV); ?>", Some(Way::Shown)),
            (
                "r.ts",
                "res.json({ env: process.env.NODE_ENV, port: process.env.PORT });",
                None,
            ),
            (
                "r.ts",
                "const env = schema.parse(process.env);\nres.json({ ok: true });",
                None,
            ),
            (
                "r.ts",
                "spawn('npm', ['ci'], { env: { ...process.env, CI: '1' } });",
                None,
            ),
            ("r.ts", "console.log(Object.keys(process.env).length)", None),
            ("r.ts", "res.json(pick(process.env, ['APP_VERSION']))", None),
            (
                "r.py",
                "env = {**os.environ, 'A': '1'}\nsubprocess.run(cmd, env=env)\nprint('done')",
                None,
            ),
            (
                "r.py",
                "return jsonify({k: v for k, v in os.environ.items() if k.startswith('APP_')})",
                None,
            ),
            ("r.py", "print(os.environ['HOME'], os.environ.get('A'))", None),
            ("r.js", "const { PORT } = process.env;\nconsole.log(PORT);", None),
            (
                "r.js",
                "process.env = { ...process.env, A: '1' };\nconsole.log('a');",
                None,
            ),
            (
                "playwright.config.ts",
                "webServer: { env: { ...process.env } }",
                None,
            ),
        ] {
            assert_eq!(environment(path, text), way, "{text}");
        }
    }
}
