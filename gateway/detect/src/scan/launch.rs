//! How settings launch or reach a server: what of the machine it is given, from where its code comes, who answers at its address.

use std::net::Ipv4Addr;

use defenseclaw_model::decision::Severity;
use defenseclaw_places::servers::Server;
use serde_json::Value;

use super::names::{self, Likeness};
use super::reach::{Reach, given_by_mount, reach_of};
use super::{Pass, Told};

const HOST_GIVEN: Told = (
    "mcp.host-given",
    "permissions",
    Severity::High,
    80,
    "Give it the project's folder, and nothing else of the machine",
);
const WHOLE_DISK: Told = (
    "mcp.whole-disk",
    "permissions",
    Severity::High,
    76,
    "Name the folder that it works on",
);
const HOME_GIVEN: Told = (
    "mcp.home-given",
    "permissions",
    Severity::Medium,
    60,
    "Name the folder that it works on: keys and passwords lie in the home",
);
const GUARDS_OFF: Told = (
    "mcp.started-without-guards",
    "permissions",
    Severity::Medium,
    65,
    "Leave the guards of the program on",
);
const OTHER_REGISTRY: Told = (
    "mcp.package-source",
    "supply-chain",
    Severity::High,
    78,
    "Take packages from the registry that everyone uses",
);
const LOOKS_LIKE: Told = (
    "mcp.look-alike-host",
    "supply-chain",
    Severity::High,
    78,
    "Make sure that this is the host that is meant",
);
const COLLECTOR: Told = (
    "mcp.passing-host",
    "exfiltration",
    Severity::High,
    80,
    "Use the service's own address: behind this one stands whoever rented it today",
);
const BARE: Told = (
    "mcp.bare-address",
    "exfiltration",
    Severity::High,
    72,
    "Use a name and https: nobody can tell who answers at a bare address",
);
const IN_ADDRESS: Told = (
    "mcp.credential-in-address",
    "exfiltration",
    Severity::Medium,
    65,
    "Send credentials in a header: addresses are written down everywhere",
);
const SLIP: Told = (
    "supply-chain.server-typosquat",
    "supply-chain",
    Severity::High,
    78,
    "Make sure that this is the package that is meant",
);
const MANY: Told = (
    "mcp.many-credentials",
    "permissions",
    Severity::High,
    70,
    "Give a server the one credential of its own service",
);

/// Hosts behind which stands whoever rented them for an hour, or that only collect.
const PASSING: &[&str] = &[
    "ngrok.io",
    "ngrok.app",
    "ngrok.dev",
    "ngrok-free.app",
    "ngrok-free.dev",
    "trycloudflare.com",
    "loca.lt",
    "serveo.net",
    "localhost.run",
    "lhr.life",
    "bore.pub",
    "pagekite.me",
    "webhook.site",
    "requestbin.com",
    "pipedream.net",
    "beeceptor.com",
    "hookbin.com",
    "requestcatcher.com",
    "interact.sh",
    "oast.fun",
    "oast.live",
    "pastebin.com",
    "paste.rs",
    "transfer.sh",
    "0x0.st",
    "workers-temp.dev",
    "glitch.me",
    "repl.co",
    "duckdns.org",
    "no-ip.org",
    "ddns.net",
    "hopto.org",
];

/// Parts of the names of servers that open files.
const OPENS_FILES: &[&str] = &[
    "filesystem",
    "file-system",
    "files",
    "fs-mcp",
    "desktop-commander",
    "shell",
];

/// Options that name a folder into which a server is let.
const NAMES_FOLDER: &[&str] = &[
    "--root",
    "--allow",
    "--allowed-dir",
    "--allow-dir",
    "--allow-path",
    "--path",
    "--dir",
    "--workspace",
    "--allowed-directories",
];

/// Options that take a guard away.
const TAKES_GUARDS: &[&str] = &[
    "--allow-all",
    "--unsafe",
    "--yolo",
    "--no-auth",
    "--disable-auth",
    "--insecure",
    "--no-verify-ssl",
    "--dangerously-skip-permissions",
    "--dangerously-bypass-approvals-and-sandbox",
    "--disable-security",
    "--auto-approve",
    "--skip-confirmation",
    "--no-confirm",
    "--disable-web-security",
    "--allow-shell",
    "--allow-dangerous",
];

/// Options that name another registry.
const NAMES_REGISTRY: &[&str] = &[
    "--registry",
    "--index-url",
    "--extra-index-url",
    "--index",
    "--default-index",
    "-i",
    "--find-links",
];

/// Credentials that open much, each for one service. Keys of models are not among them: many servers ask several models.
const OPENS_MUCH: &[(&str, &[&str])] = &[
    (
        "aws",
        &["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"],
    ),
    (
        "github",
        &[
            "GITHUB_TOKEN",
            "GH_TOKEN",
            "GITHUB_PAT",
            "GITHUB_PERSONAL_ACCESS_TOKEN",
        ],
    ),
    ("npm", &["NPM_TOKEN", "NODE_AUTH_TOKEN"]),
    ("stripe", &["STRIPE_SECRET_KEY", "STRIPE_API_KEY"]),
    (
        "database",
        &["DATABASE_URL", "PGPASSWORD", "MYSQL_PWD", "MONGODB_URI"],
    ),
    ("ssh", &["SSH_AUTH_SOCK", "SSH_PRIVATE_KEY"]),
    ("google", &["GOOGLE_APPLICATION_CREDENTIALS"]),
    ("azure", &["AZURE_CLIENT_SECRET"]),
    ("slack", &["SLACK_BOT_TOKEN", "SLACK_TOKEN"]),
    ("kubernetes", &["KUBECONFIG"]),
    ("pypi", &["TWINE_PASSWORD", "PYPI_TOKEN"]),
    ("vault", &["VAULT_TOKEN"]),
];

/// From how many services on the credentials of one server are too many: it has one purpose.
const TOO_MANY: usize = 3;

impl Pass<'_> {
    /// What a server is given and where it comes from, by its words, its variables and its address.
    pub(super) fn judge_server(&mut self, server: &Server<'_>, at: (&str, u32)) {
        let words = server
            .stdio
            .as_ref()
            .map(|stdio| stdio.words())
            .unwrap_or_default();
        self.judge_container(&words, at);
        self.judge_arguments(&words, at);
        self.judge_package_name(&words, at);
        self.judge_credentials(server, at);
        let named = server
            .http
            .iter()
            .flat_map(|http| std::iter::once(http.url).chain(http.others.iter().copied()));
        let base = server.settings.get("baseUrl").and_then(Value::as_str);
        for url in named.chain(base) {
            self.judge_address(url, at);
        }
        for word in &words {
            let reached = ["mcp-remote", "supergateway", "mcp-proxy", "--sse", "--url"];
            if word.starts_with("http")
                && words
                    .iter()
                    .any(|word| reached.iter().any(|by| word.starts_with(by)))
            {
                self.judge_address(word, at);
            }
        }
    }

    /// What a container is given of the machine.
    fn judge_container(&mut self, words: &[&str], at: (&str, u32)) {
        let runs = words.iter().any(|word| {
            ["docker", "podman", "nerdctl"]
                .iter()
                .any(|one| word.ends_with(one))
        });
        if !runs || !words.contains(&"run") {
            return;
        }
        let mut mounts = Vec::new();
        for (place, word) in words.iter().enumerate() {
            let next = words.get(place + 1).copied().unwrap_or_default();
            match *word {
                "-v" | "--volume" | "--mount" => mounts.push(next),
                word => mounts.extend(
                    ["-v=", "--volume=", "--mount="]
                        .iter()
                        .find_map(|flag| word.strip_prefix(flag)),
                ),
            }
            let strong = word.starts_with("--privileged") && !word.ends_with("=false")
                || ["--pid=host", "--ipc=host", "--userns=host", "--cap-add=ALL"].contains(word)
                || word.ends_with("seccomp=unconfined")
                || (*word == "--security-opt" && next.ends_with("unconfined"))
                || (*word == "--cap-add" && ["ALL", "SYS_MODULE"].contains(&next))
                || (["--pid", "--ipc", "--userns"].contains(word) && next == "host")
                || (*word == "--device"
                    && ["/dev/mem", "/dev/kmem", "/dev/sda", "/dev/vda", "/dev/nvme0n1"].contains(&next));
            if strong {
                let message = "The container is let out of its walls".to_owned();
                self.tell(HOST_GIVEN, at, message, word);
            }
        }
        for mount in mounts {
            if let Some(what) = given_by_mount(mount) {
                let message = format!("The container is given {what} of the machine");
                let told = if is_for_service(mount, words) {
                    HOME_GIVEN
                } else {
                    HOST_GIVEN
                };
                self.tell(told, at, message, mount);
            }
        }
    }

    /// Folders that a server is let into, guards that are off, registries.
    fn judge_arguments(&mut self, words: &[&str], at: (&str, u32)) {
        let files = words
            .iter()
            .any(|word| OPENS_FILES.iter().any(|one| word.contains(one)));
        for (place, word) in words.iter().enumerate().skip(1) {
            let (flag, value) = word.split_once('=').unwrap_or((*word, ""));
            let value = if value.is_empty() && place + 1 < words.len() {
                words.get(place + 1).copied().unwrap_or_default()
            } else {
                value
            };
            let folder = NAMES_FOLDER.contains(&flag);
            let path = if folder { value } else { *word };
            if files || folder {
                let told = match reach_of(path) {
                    Reach::All => Some((WHOLE_DISK, "every folder of the machine")),
                    Reach::Private => Some((WHOLE_DISK, "folders that hold keys")),
                    Reach::Home => Some((HOME_GIVEN, "the person's whole home")),
                    Reach::Some => None,
                };
                if let Some((told, what)) = told {
                    self.tell(told, at, format!("It is let into {what}"), word);
                }
            }
            if TAKES_GUARDS.contains(&flag) {
                self.tell(GUARDS_OFF, at, format!("It is started with {flag}"), word);
            }
            if NAMES_REGISTRY.contains(&flag) && value.starts_with("http") && !names::is_usual_registry(value)
            {
                let message = "Its code is taken from another registry".to_owned();
                self.tell(OTHER_REGISTRY, at, message, value);
            }
        }
    }

    /// A package or an image whose name is nearly that of a well-known server.
    fn judge_package_name(&mut self, words: &[&str], at: (&str, u32)) {
        let runner = words
            .first()
            .and_then(|word| word.rsplit(['/', '\\']).next())
            .unwrap_or_default();
        let runner = runner.trim_end_matches(".cmd").trim_end_matches(".exe");
        let runs = [
            "npx", "uvx", "bunx", "pnpm", "yarn", "pipx", "uv", "npm", "bun", "docker", "podman", "deno",
            "cmd",
        ];
        if !runs.contains(&runner) {
            return;
        }
        for word in words.iter().skip(1) {
            let word = word.trim_start_matches("npm:").trim_start_matches("jsr:");
            if word.starts_with('-') || word.contains("://") || word.len() < 5 || word.contains(['$', '{']) {
                continue;
            }
            if let Some(known) = self.scanner.popular.server_slip(word) {
                let message = format!("The server {word} is nearly called {known}");
                self.tell(SLIP, at, message, word);
            }
        }
    }

    /// Credentials of so many services that no server needs them all.
    fn judge_credentials(&mut self, server: &Server<'_>, at: (&str, u32)) {
        let mut given: Vec<&str> = Vec::new();
        for variable in &server.env {
            let service = OPENS_MUCH
                .iter()
                .find(|(_, known)| known.contains(&variable.name));
            given.extend(service.map(|&(service, _)| service));
        }
        given.sort_unstable();
        given.dedup();
        if given.len() >= TOO_MANY {
            let name = &server.name;
            let message = format!("The server {name} is handed credentials of {}", given.join(", "));
            self.tell(MANY, at, message, "");
        }
    }

    /// The address at which a server is reached.
    pub(super) fn judge_address(&mut self, url: &str, at: (&str, u32)) {
        let Some(host) = names::host_of(url) else { return };
        if let Some(known) = names::looks_like(&host) {
            let message = match known {
                Likeness::Slip(known) => format!("The host {host} is nearly called {known}"),
                Likeness::Longer => format!("The host {host} begins like another one, and goes on"),
                Likeness::Letters => format!("The host {host} has letters that look like others"),
            };
            self.tell(LOOKS_LIKE, at, message, &host);
        }
        if is_passing(&host) {
            let message = format!("The server is reached at {host}, which anybody can rent for an hour");
            self.tell(COLLECTOR, at, message, url);
        }
        if host.parse::<Ipv4Addr>().is_ok_and(is_public) {
            let message = format!("The server is reached at the bare address {host}");
            self.tell(BARE, at, message, url);
        }
        let query = url
            .split_once('?')
            .map_or("", |(_, query)| query)
            .to_ascii_lowercase();
        let named = ["token=", "key=", "secret=", "password=", "auth="];
        if named.iter().any(|one| query.contains(one)) {
            let message = "Its address holds a credential".to_owned();
            self.tell(IN_ADDRESS, at, message, "");
        }
    }
}

/// Whether a mount is the settings of the one service that the server is for, as its documentation asks for.
fn is_for_service(mount: &str, words: &[&str]) -> bool {
    const SERVICES: &[(&str, &[&str])] = &[
        ("/.aws", &["aws"]),
        ("/.kube", &["kube", "k8s", "helm"]),
        ("gcloud", &["gcp", "gcloud", "google", "bigquery"]),
        ("/.azure", &["azure"]),
        ("/.docker", &["docker-", "mcp-docker"]),
        (
            "docker.sock",
            &["docker-mcp", "mcp-docker", "mcp/docker", "portainer", "container"],
        ),
    ];
    let image = words.last().copied().unwrap_or_default();
    SERVICES.iter().any(|(folder, names)| {
        mount.contains(folder)
            && words
                .iter()
                .chain(std::iter::once(&image))
                .filter(|word| !word.contains(folder))
                .any(|word| names.iter().any(|name| word.contains(name)))
    })
}

/// Whether behind a host stands whoever rented it for an hour, or nobody but a collector.
pub(super) fn is_passing(host: &str) -> bool {
    PASSING.iter().any(|passing| names::is_below(host, passing))
}

/// Whether everyone can reach an address, and it is no well-known one.
pub(super) fn is_public(address: Ipv4Addr) -> bool {
    let known = ["1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9"];
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || known.contains(&address.to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{has, scan};
    use super::*;
    use defenseclaw_model::scan::{ScanKind, ScanReport};

    fn server(text: &str) -> ScanReport {
        scan(
            ScanKind::Mcp,
            &[(".mcp.json", &format!(r#"{{"mcpServers": {{"a": {text}}}}}"#))],
        )
    }

    #[test]
    fn servers_that_are_given_the_machine_are_told() {
        let bad = server(r#"{"command": "docker", "args": ["run", "-i", "-v", "/:/host", "mcp/time"]}"#);
        assert!(has(&bad, "mcp.host-given"), "{bad:#?}");
        let good =
            server(r#"{"command": "docker", "args": ["run", "-i", "-v", "/home/a/notes:/n", "mcp/time"]}"#);
        assert!(!has(&good, "mcp.host-given"), "{good:#?}");
        let bad =
            server(r#"{"command": "npx", "args": ["@modelcontextprotocol/server-filesystem@1.0.0", "/"]}"#);
        assert!(has(&bad, "mcp.whole-disk"), "{bad:#?}");
        let good = server(
            r#"{"command": "npx", "args": ["@modelcontextprotocol/server-filesystem@1.0.0", "/srv/docs"]}"#,
        );
        assert!(good.verdict.severity < Severity::High, "{good:#?}");
    }

    #[test]
    fn addresses_of_nobody_are_told() {
        for (url, rule) in [
            ("https://a1b2.ngrok-free.app/mcp", "mcp.passing-host"),
            ("http://203.0.113.9:8000/sse", "mcp.bare-address"),
            ("https://mcp.githab.com/sse", "mcp.look-alike-host"),
            ("https://gіthub.com/mcp", "mcp.look-alike-host"),
        ] {
            assert!(has(&server(&format!(r#"{{"url": "{url}"}}"#)), rule), "{url}");
        }
        for url in [
            "https://mcp.linear.app/sse",
            "http://localhost:3000/mcp",
            "http://192.168.1.4/mcp",
        ] {
            let report = server(&format!(r#"{{"url": "{url}"}}"#));
            assert!(report.verdict.severity < Severity::High, "{url}: {report:#?}");
        }
    }

    #[test]
    fn credentials_of_many_services_are_too_many() {
        let given = |names: &[&str]| {
            let env: Vec<String> = names
                .iter()
                .map(|name| format!(r#""{name}": "${{{name}}}""#))
                .collect();
            server(&format!(
                r#"{{"command": "node", "args": ["a.js"], "env": {{{}}}}}"#,
                env.join(", ")
            ))
        };
        let bad = given(&["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "STRIPE_SECRET_KEY"]);
        assert!(has(&bad, "mcp.many-credentials"), "{bad:#?}");
        let good = given(&["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN"]);
        assert!(!has(&good, "mcp.many-credentials"), "{good:#?}");
    }
}
