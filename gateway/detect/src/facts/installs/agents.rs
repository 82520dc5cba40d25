//! What agent products and editors are told to take in: MCP servers, plugins, marketplaces, skills, extensions.

use defenseclaw_model::facts::{Ecosystem, Install, InstallInto, InstallSource};

use super::{known, managers, settings, spec};

/// Agent products and their helpers, as programs.
pub(super) const NAMES: &[&str] = &[
    "claude",
    "codex",
    "gemini",
    "copilot",
    "opencode",
    "openclaw",
    "clawdbot",
    "hermes",
    "qwen",
    "cursor-agent",
    "amp",
    "clawhub",
    "skills",
    "smithery",
    "mcp-get",
    "add-mcp",
    "code",
    "code-insiders",
    "codium",
    "cursor",
    "windsurf",
    "antigravity",
];

/// The program that a package brings along, where it is another name.
pub(super) fn program_of(package: &str) -> &str {
    match package {
        "@anthropic-ai/claude-code" => "claude",
        "@openai/codex" => "codex",
        "@google/gemini-cli" => "gemini",
        "@smithery/cli" => "smithery",
        "@github/copilot" => "copilot",
        _ => package,
    }
}

/// Options of `mcp add` and its like that take a value.
const VALUES: &[&str] = &[
    "-s",
    "--scope",
    "-t",
    "--transport",
    "-e",
    "--env",
    "-H",
    "--header",
    "--cwd",
    "--timeout",
    "--description",
    "--client",
    "-c",
    "--config",
    "--key",
    "--profile",
    "--bearer-token-env-var",
    "--callback-port",
    "--client-id",
    "--include-tools",
    "--exclude-tools",
    "--version",
    "--ref",
    "-a",
    "--agent",
    "--dir",
    "--workdir",
];

/// Reads what `program` takes in when it is given `words`.
pub(super) fn read(program: &str, words: &[&str], registries: &[managers::Registry]) -> Vec<Install> {
    let mut found = extensions(words);
    let operands = operands(words);
    let verbs: Vec<&str> = operands.iter().take(3).map(|(_, word)| *word).collect();
    let behind = |skipped: usize| operands.get(skipped..).unwrap_or_default();
    match (program, verbs.as_slice()) {
        (_, ["mcp", "add" | "install", ..]) => server(words, behind(2), registries, &mut found),
        (_, ["mcp", "add-json", ..]) => {
            let name = behind(2).first().map_or("", |(_, word)| *word);
            let text = behind(2).get(1).map_or("", |(_, word)| *word);
            // The text is the server alone, without its name.
            let servers = settings::servers(text, registries);
            found.extend(named(servers, name));
        }
        (_, ["mcp", "add-from-claude-desktop", ..]) => found.push(into_agent(spec::blank(Ecosystem::Mcp))),
        (_, ["plugin" | "plugins", "marketplace" | "marketplaces", "add"]) => {
            each(Ecosystem::Plugin, behind(3), &mut found)
        }
        (
            _,
            [
                "plugin" | "plugins" | "extension" | "extensions",
                "install" | "add" | "link" | "i",
                ..,
            ],
        ) => {
            each(Ecosystem::Plugin, behind(2), &mut found);
        }
        (_, ["skill" | "skills", "install" | "add" | "i", ..]) => {
            each(Ecosystem::Skill, behind(2), &mut found)
        }
        ("clawhub" | "skills" | "openskills", ["install" | "add" | "i", ..]) => {
            each(Ecosystem::Skill, behind(1), &mut found)
        }
        ("smithery" | "mcp-get", ["install" | "add", ..]) => each(Ecosystem::Mcp, behind(1), &mut found),
        ("add-mcp", [_, ..]) => each(Ecosystem::Mcp, behind(0), &mut found),
        _ => {}
    }
    found.extend(given(words, registries));
    for install in &mut found {
        install.place = program.to_owned();
    }
    found
}

/// What options give to an editor for good, or to an agent for one session.
fn given(words: &[&str], registries: &[managers::Registry]) -> Vec<Install> {
    let mut found = Vec::new();
    for pair in words.windows(2) {
        match *pair {
            ["--add-mcp" | "--mcp-config", text] if text.contains('{') => {
                found.extend(settings::servers(text, registries));
            }
            ["--plugin-dir", folder] => found.extend(spec::of(Ecosystem::Plugin, folder).map(into_agent)),
            _ => {}
        }
    }
    found
}

/// The words that are no options and no values, with their places; behind `--` all are.
fn operands<'w>(words: &[&'w str]) -> Vec<(usize, &'w str)> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut only = false;
    while let Some(&word) = words.get(at) {
        if word == "--" && !only {
            only = true;
        } else if !only && VALUES.contains(&word) {
            at += 1;
        } else if only || !word.starts_with('-') {
            found.push((at, word));
        }
        at += 1;
    }
    found
}

/// `mcp add NAME URL`, `mcp add NAME [--] COMMAND …`, `mcp add NAME --url URL`.
fn server(
    words: &[&str],
    operands: &[(usize, &str)],
    registries: &[managers::Registry],
    found: &mut Vec<Install>,
) {
    let Some((_, name)) = operands.first() else {
        return;
    };
    let option = |wanted: &str| {
        let at = words.iter().position(|word| *word == wanted)?;
        words.get(at + 1).copied()
    };
    let url = option("--url").or_else(|| words.iter().find_map(|word| word.strip_prefix("--url=")));
    let launch: Vec<&str> = match (url, operands.get(1)) {
        (Some(url), _) => vec![url],
        (None, Some((at, _))) => words.get(*at..).unwrap_or_default().to_vec(),
        // `mcp add PACKAGE`, as some products write it.
        (None, None) => vec![name],
    };
    // Some products take the server as JSON in the place of its command.
    let servers = match launch.first() {
        Some(first) if first.starts_with('{') => settings::servers(first, registries),
        _ => launched(&launch, registries),
    };
    found.extend(named(servers, name));
}

fn named(mut servers: Vec<Install>, name: &str) -> Vec<Install> {
    if servers.is_empty() {
        servers.push(into_agent(spec::blank(Ecosystem::Mcp)));
    }
    for server in servers.iter_mut().filter(|one| one.ecosystem == Ecosystem::Mcp) {
        name.clone_into(&mut server.name);
    }
    servers
}

/// The server that these words start, or whose address they are, and the packages that it is made of.
pub(super) fn launched(launch: &[&str], registries: &[managers::Registry]) -> Vec<Install> {
    let mut server = into_agent(spec::blank(Ecosystem::Mcp));
    let Some((first, words)) = launch.split_first() else {
        return vec![server];
    };
    if first.contains("://") {
        spec::located(&mut server, first);
        server.source = InstallSource::Url;
        server.name = String::new();
        server.known = known::extends_agents(&server.host);
        return vec![server];
    }
    let program = first.rsplit('/').next().unwrap_or_default();
    let mut packages = managers::read(program, words, registries)
        .unwrap_or_default()
        .installs;
    packages.iter_mut().for_each(|package| {
        known::tell(package);
        package.into = InstallInto::Agent;
    });
    match packages.first() {
        Some(package) => {
            server.source = package.source;
            server.from = if package.from.is_empty() {
                format!("{}:{}", package.ecosystem.as_str(), package.name)
            } else {
                package.from.clone()
            };
            server.host.clone_from(&package.host);
            server.version = package.version;
            server.asked.clone_from(&package.asked);
            let own_registry = package.registry.is_empty() && package.source == InstallSource::Registry;
            server.known = own_registry && known::extends_agents(&package.name);
        }
        None => {
            server.source = InstallSource::File;
            server.from = (*first).to_owned();
        }
    }
    packages.insert(0, server);
    packages
}

/// Each operand as something that is added to the agent.
fn each(ecosystem: Ecosystem, operands: &[(usize, &str)], found: &mut Vec<Install>) {
    /// Most of one command.
    const MOST: usize = 16;
    for (_, word) in operands.iter().take(MOST) {
        let Some(mut install) = spec::of(ecosystem, word) else {
            continue;
        };
        // `plugin@marketplace`: the marketplace says whose it is.
        if install.source == InstallSource::Registry && !install.asked.is_empty() {
            install.from = std::mem::take(&mut install.asked);
            install.version = spec::blank(ecosystem).version;
            install.known = known::extends_agents(&install.from);
        } else {
            let publisher = install
                .from
                .strip_prefix("https://github.com/")
                .unwrap_or_default();
            install.known = known::extends_agents(publisher) || known::extends_agents(&install.name);
        }
        found.push(into_agent(install));
    }
}

/// Editors' `--install-extension WHAT`, as often as it stands there.
fn extensions(words: &[&str]) -> Vec<Install> {
    let mut found = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let what = match word.strip_prefix("--install-extension") {
            Some("") => rest.next().copied(),
            Some(attached) => attached.strip_prefix('='),
            None => None,
        };
        found.extend(
            what.and_then(|what| spec::of(Ecosystem::Vscode, what))
                .map(|mut extension| {
                    extension.into = InstallInto::Host;
                    extension.scripts = true;
                    extension
                }),
        );
    }
    found
}

pub(super) fn into_agent(mut install: Install) -> Install {
    install.into = InstallInto::Agent;
    install
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let found = read(words[0], &words[1..], &[]);
        let tell = |one: Install| {
            let known = if one.known { " known" } else { "" };
            format!("{} {} < {}{known}", one.ecosystem.as_str(), one.name, one.from)
        };
        found.into_iter().map(tell).collect()
    }

    #[test]
    fn what_extends_an_agent_is_read() {
        for (line, expected) in [
            (
                "claude mcp add f -- npx -y @x/y",
                vec!["mcp f < npm:@x/y", "npm @x/y < "],
            ),
            (
                "claude mcp add --transport http c https://h.example/v1",
                vec!["mcp c < https://h.example/v1"],
            ),
            (
                "codex mcp add n --env A=b -- uvx n-mcp",
                vec!["mcp n < pypi:n-mcp", "pypi n-mcp < "],
            ),
            (
                "codex mcp add n --url https://mcp.linear.app/mcp",
                vec!["mcp n < https://mcp.linear.app/mcp known"],
            ),
            (
                "gemini mcp add f uvx f-mcp",
                vec!["mcp f < pypi:f-mcp", "pypi f-mcp < "],
            ),
            (
                "claude mcp add p -- npx @playwright/mcp@latest",
                vec![
                    "mcp p < npm:@playwright/mcp known",
                    "npm @playwright/mcp <  known",
                ],
            ),
            ("claude mcp add l -- node ./s.js", vec!["mcp l < node"]),
            (
                "claude mcp add-json s {\"command\":\"uvx\",\"args\":[\"s-mcp\"]}",
                vec!["mcp s < pypi:s-mcp", "pypi s-mcp < "],
            ),
            ("claude mcp add-from-claude-desktop", vec!["mcp  < "]),
            ("claude plugin install a@b", vec!["plugin a < b"]),
            (
                "claude plugin marketplace add o/r",
                vec!["plugin r < https://github.com/o/r"],
            ),
            ("claude plugin marketplace list", vec![]),
            (
                "gemini extensions install https://github.com/o/r",
                vec!["plugin r < https://github.com/o/r"],
            ),
            ("openclaw skills install x", vec!["skill x < "]),
            ("clawhub install x", vec!["skill x < "]),
            ("clawhub search x", vec![]),
            ("skills add o/r", vec!["skill r < https://github.com/o/r"]),
            ("smithery install @o/x --client claude", vec!["mcp @o/x < "]),
            (
                "code --install-extension a.b --install-extension ./c.vsix",
                vec!["vscode a.b < ", "vscode c < ./c.vsix"],
            ),
            ("claude --plugin-dir /tmp/x -p hi", vec!["plugin x < /tmp/x"]),
            (
                "claude --mcp-config {\"mcpServers\":{\"x\":{\"command\":\"uvx\",\"args\":[\"y\"]}}}",
                vec!["mcp x < pypi:y", "pypi y < "],
            ),
            ("claude mcp list", vec![]),
            ("claude -p hello", vec![]),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }
}
