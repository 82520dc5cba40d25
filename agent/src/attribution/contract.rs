//! A harness's own housekeeping, as its contract in `policies/harness/` states it.

use serde::Deserialize;

/// The contracts that are built in, by connector.
const EMBEDDED: [(&str, &str); 11] = [
    (
        "claude-code",
        include_str!("../../../policies/harness/claude-code.yaml"),
    ),
    ("codex", include_str!("../../../policies/harness/codex.yaml")),
    ("cursor", include_str!("../../../policies/harness/cursor.yaml")),
    (
        "gemini-cli",
        include_str!("../../../policies/harness/gemini-cli.yaml"),
    ),
    (
        "copilot-cli",
        include_str!("../../../policies/harness/copilot-cli.yaml"),
    ),
    (
        "windsurf",
        include_str!("../../../policies/harness/windsurf.yaml"),
    ),
    (
        "opencode",
        include_str!("../../../policies/harness/opencode.yaml"),
    ),
    (
        "openclaw",
        include_str!("../../../policies/harness/openclaw.yaml"),
    ),
    ("hermes", include_str!("../../../policies/harness/hermes.yaml")),
    (
        "antigravity",
        include_str!("../../../policies/harness/antigravity.yaml"),
    ),
    (
        "openhands",
        include_str!("../../../policies/harness/openhands.yaml"),
    ),
];

/// Folders whose programs a contract may name. A program of the same name elsewhere, for instance in a project that put
/// itself first in `PATH`, is not the one the contract means.
const SYSTEM_FOLDERS: [&str; 8] = [
    "/usr/bin/",
    "/bin/",
    "/usr/local/bin/",
    "/usr/sbin/",
    "/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/opt/homebrew/bin/",
];

/// Why a contract was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// No contract has this name.
    #[error(
        "no contract for the connector {0:?}: nothing of that harness's own housekeeping can be told from the rest"
    )]
    Unknown(String),
    /// The contract's text is not valid.
    #[error("contract of {connector}: {message}")]
    Invalid {
        /// Whose.
        connector: String,
        /// Line and what is wrong.
        message: String,
    },
}

/// The agent's part of one harness's contract. The rest of the file is the gateway's, which refuses unknown keys in all of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Contract {
    /// The connector that it belongs to.
    pub connector: String,
    /// How the harness names the temporary file behind which it writes a target.
    pub temporary_suffix: Option<TemporarySuffix>,
    /// What the harness process does by itself.
    pub harness: HarnessOwn,
    /// What it starts by itself.
    pub housekeeping: Vec<Housekeeping>,
}

/// The known forms of temporary names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TemporarySuffix {
    /// `TARGET.tmp.1234.0123456789ab`
    #[serde(rename = ".tmp.<digits>.<hex>")]
    TmpPidHex,
}

/// What a harness process does by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarnessOwn {
    /// Whether it connects out (to its model).
    pub connects: bool,
    /// Paths that it writes.
    pub writes: Vec<String>,
    /// Watched paths that it reads.
    pub reads: Vec<String>,
}

/// One program that a harness starts by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Housekeeping {
    /// What for.
    pub name: String,
    /// Name of the executed file, or `self`.
    pub program: String,
    /// Patterns over the arguments joined by blanks.
    pub argv: Vec<String>,
    /// Programs that it may start in turn.
    #[serde(default)]
    pub children: Vec<String>,
    /// Paths that it, or a child, may write.
    #[serde(default)]
    pub writes: Vec<String>,
    /// Whether it stands between the harness and what that starts: what it becomes is looked at as if the harness had started
    /// it, a call's command included.
    #[serde(default)]
    pub leads: bool,
}

impl Contract {
    /// The built-in contract of a connector.
    pub fn embedded(connector: &str) -> Result<Self, ContractError> {
        let text = EMBEDDED
            .iter()
            .find(|(name, _)| *name == connector)
            .map(|(_, text)| *text)
            .ok_or_else(|| ContractError::Unknown(connector.to_owned()))?;
        defenseclaw_yaml::from_str(text).map_err(|error| ContractError::Invalid {
            connector: connector.to_owned(),
            message: error.to_string(),
        })
    }

    /// The housekeeping entry that an exec of the harness's child matches.
    ///
    /// `harness` is the harness's own executable.
    pub fn housekeeping(&self, path: &str, argv: &[String], harness: &str) -> Option<&Housekeeping> {
        let joined = argv.join(" ");
        self.housekeeping.iter().find(|entry| {
            let program = if entry.program == "self" {
                !harness.is_empty() && path == harness
            } else {
                is_system_program(path, &entry.program)
            };
            program && entry.argv.iter().any(|pattern| matches_text(pattern, &joined))
        })
    }

    /// Whether the harness process itself may write `path`.
    pub fn harness_writes(&self, path: &str, home: &str) -> bool {
        self.harness
            .writes
            .iter()
            .any(|pattern| matches_path(pattern, path, home))
    }

    /// Whether the harness process itself may read the watched `path`.
    pub fn harness_reads(&self, path: &str, home: &str) -> bool {
        self.harness
            .reads
            .iter()
            .any(|pattern| matches_path(pattern, path, home))
    }

    /// The file that is written behind a temporary name; `path` itself if it is none.
    pub fn target<'a>(&self, path: &'a str) -> &'a str {
        match self.temporary_suffix {
            Some(TemporarySuffix::TmpPidHex) => strip_tmp_pid_hex(path).unwrap_or(path),
            None => path,
        }
    }
}

impl Housekeeping {
    /// Whether it may start the program at `path`.
    pub fn may_start(&self, path: &str) -> bool {
        self.children.iter().any(|name| is_system_program(path, name))
    }

    /// Whether it may write `path`.
    pub fn may_write(&self, path: &str, home: &str) -> bool {
        self.writes
            .iter()
            .any(|pattern| matches_path(pattern, path, home))
    }
}

/// A shell is called by several names: the executed file of `sh` is `dash` or `bash`, of `awk` is `mawk` or `gawk`.
fn is_system_program(path: &str, name: &str) -> bool {
    if !SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        return false;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    file == name
        || match name {
            "sh" => matches!(file, "dash" | "bash" | "busybox"),
            "awk" => matches!(file, "mawk" | "gawk"),
            "which" => file == "which.debianutils",
            _ => false,
        }
}

fn strip_tmp_pid_hex(path: &str) -> Option<&str> {
    let (rest, hex) = path.rsplit_once('.')?;
    let (rest, digits) = rest.rsplit_once('.')?;
    let target = rest.strip_suffix(".tmp")?;
    let is_hex = hex.len() >= 8 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_pid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_hex && is_pid).then_some(target)
}

/// Matches a path pattern: `~` at the start, `*` within a component, `**` across.
fn matches_path(pattern: &str, path: &str, home: &str) -> bool {
    match pattern.strip_prefix('~') {
        Some(rest) => {
            // Without a known home, `~` must not become the root folder.
            home.len() > 1
                && path
                    .strip_prefix(home)
                    .is_some_and(|path| glob(rest.as_bytes(), path.as_bytes()))
        }
        None => glob(pattern.as_bytes(), path.as_bytes()),
    }
}

/// Matches a text pattern in which `*` stands for anything.
fn matches_text(pattern: &str, text: &str) -> bool {
    wild(pattern.as_bytes(), text.as_bytes(), |_| true)
}

fn glob(pattern: &[u8], path: &[u8]) -> bool {
    // `**/` may also stand for nothing; elsewhere `**` crosses components.
    if let Some(rest) = pattern.strip_prefix(b"**/") {
        return path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .any(|(at, _)| glob(rest, &path[at + 1..]));
    }
    match pattern.windows(2).position(|pair| pair == b"**") {
        Some(at) => {
            let (head, tail) = (&pattern[..at], &pattern[at + 2..]);
            // Contracts end in `**`; a tail behind it is matched against every suffix.
            (0..=path.len()).rev().any(|end| {
                wild(head, &path[..end], |byte| byte != b'/') && (tail.is_empty() || glob(tail, &path[end..]))
            })
        }
        None => wild(pattern, path, |byte| byte != b'/'),
    }
}

/// Wildcard match with one remembered star: linear in practice, quadratic at worst, on patterns from our own data.
fn wild(pattern: &[u8], text: &[u8], may_cross: impl Fn(u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = star.filter(|(_, from)| may_cross(text[*from])) {
            star = Some((after, from + 1));
            p = after;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claude() -> Contract {
        Contract::embedded("claude-code").unwrap()
    }

    fn argv(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_embedded_contract_is_valid_and_names_its_connector() {
        for (connector, _) in EMBEDDED {
            assert_eq!(Contract::embedded(connector).unwrap().connector, connector);
        }
        assert!(matches!(
            Contract::embedded("nothing"),
            Err(ContractError::Unknown(_))
        ));
    }

    #[test]
    fn housekeeping_is_the_system_program_with_those_arguments() {
        let contract = claude();
        let status = argv("git --no-optional-locks status --short");
        assert!(contract.housekeeping("/usr/bin/git", &status, "").is_some());
        // The same arguments, but a program that a project put first in PATH.
        assert!(
            contract
                .housekeeping("/home/u/project/bin/git", &status, "")
                .is_none()
        );
        assert!(
            contract
                .housekeeping("/usr/bin/git", &argv("git push"), "")
                .is_none()
        );
        let rg = argv("rg --version");
        assert!(
            contract
                .housekeeping("/opt/claude/claude", &rg, "/opt/claude/claude")
                .is_some()
        );
        assert!(
            contract
                .housekeeping("/tmp/claude", &rg, "/opt/claude/claude")
                .is_none()
        );
    }

    #[test]
    fn a_program_started_by_housekeeping_must_be_named() {
        let contract = claude();
        let status = argv("git --no-optional-locks status --short");
        let entry = contract.housekeeping("/usr/bin/git", &status, "").unwrap();
        assert!(entry.may_start("/usr/lib/git-core/git"));
        assert!(!entry.may_start("/home/u/project/.git/fsmonitor.sh"));
        assert!(!entry.may_start("/usr/bin/curl"));
    }

    #[test]
    fn own_files_are_below_the_harness_home() {
        let contract = claude();
        assert!(contract.harness_writes("/home/u/.claude/projects/x/y.jsonl", "/home/u"));
        assert!(contract.harness_writes("/home/u/.claude.json", "/home/u"));
        assert!(!contract.harness_writes("/home/v/.claude/x", "/home/u"));
        assert!(!contract.harness_writes("/home/u/.bashrc", "/home/u"));
        assert!(
            !contract.harness_writes("/.claude/x", ""),
            "an unknown home matches nothing"
        );
        assert!(contract.harness_writes("/tmp/claude-0/-work/s/tasks/b.output", "/home/u"));
        assert!(!contract.harness_writes("/tmp/other", "/home/u"));
        assert!(contract.harness_reads("/srv/p/CLAUDE.md", "/home/u"));
        assert!(!contract.harness_reads("/home/u/.aws/credentials", "/home/u"));
    }

    #[test]
    fn a_temporary_name_leads_to_its_target() {
        let contract = claude();
        assert_eq!(contract.target("/p/a.txt.tmp.123.0123456789ab"), "/p/a.txt");
        for plain in [
            "/p/a.txt",
            "/p/a.tmp.x.0123456789ab",
            "/p/a.tmp.12.zz",
            "/p/a.tmp.1.ab",
        ] {
            assert_eq!(contract.target(plain), plain);
        }
    }
}
