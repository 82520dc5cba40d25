//! Files that are made to stop, mislead or burden whoever lists them. Each is told, and the rest is listed all the same.

use std::path::Path;

use defenseclaw_inventory::{Inventory, ItemKind, Trouble};

use crate::host::{Host, JUDGE, link, of, one, skill};

/// The host with one harmless skill, which every inventory must have.
fn host() -> Host {
    let host = Host::new();
    host.write("~/.claude/skills/harmless/SKILL.md", skill("harmless"));
    host
}

/// The harmless skill is there, and so is what is told about the path.
fn told<'i>(inventory: &'i Inventory, path: &Path) -> &'i Trouble {
    one(inventory, ItemKind::Skill, "harmless");
    let path = path.display().to_string();
    let found = inventory.troubles.iter().find(|trouble| trouble.path == path);
    found.unwrap_or_else(|| panic!("{path}: {:#?}", inventory.troubles))
}

#[test]
fn without_an_attack_nothing_is_told() {
    let inventory = host().survey(Some(&JUDGE));
    one(&inventory, ItemKind::Skill, "harmless");
    assert_eq!(inventory.troubles, []);
}

#[test]
fn names_that_act_on_terminals_stay_names() {
    let host = host();
    let folder = "a\u{1b}[2J\nb\u{202e}c";
    host.write(
        &format!("~/.claude/skills/{folder}/SKILL.md"),
        "---\nname: \"x\\e[31m\\ny\"\n---\nText\n",
    );
    host.write(
        "~/.claude.json",
        "{\"mcpServers\": {\"s\\u001b]0;owned\\u0007\": {\"command\": \"x\\ny\"}}}",
    );
    let inventory = host.survey(Some(&JUDGE));
    one(&inventory, ItemKind::Skill, "harmless");
    let hostile = one(&inventory, ItemKind::Skill, "x\u{1b}[31m\ny");
    assert!(hostile.path.ends_with(folder));
    one(&inventory, ItemKind::McpServer, "s\u{1b}]0;owned\u{7}");
    let mut csv = Vec::new();
    defenseclaw_inventory::export::csv(&inventory, &mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(!csv.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{csv}");
    assert_eq!(
        csv.lines().count(),
        inventory.items.len() + 1,
        "a name with a line break is still one line"
    );
}

#[test]
fn names_that_are_no_utf8_are_listed() {
    use std::os::unix::ffi::OsStrExt;
    let host = host();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let folder = host.place("~/.claude/skills").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("SKILL.md"), "Text\n").unwrap();
    let inventory = host.survey(None);
    assert_eq!(of(&inventory, ItemKind::Skill).len(), 2);
}

#[test]
fn ten_thousand_skills_are_ten_thousand_items() {
    let host = host();
    for n in 0..10_000 {
        host.write(&format!("~/.claude/skills/s{n}/SKILL.md"), "Text\n");
    }
    let inventory = host.survey(None);
    assert_eq!(of(&inventory, ItemKind::Skill).len(), 10_001);
    assert_eq!(inventory.troubles, []);
}

#[test]
fn more_entries_than_are_looked_at_are_told() {
    let host = host();
    let folder = host.place("~/.claude/commands");
    std::fs::create_dir_all(&folder).unwrap();
    for n in 0..=20_000 {
        std::fs::write(folder.join(format!("{n}.md")), "").unwrap();
    }
    let inventory = host.survey(None);
    assert_eq!(told(&inventory, &folder).kind, "limit");
    assert_eq!(of(&inventory, ItemKind::Prompt).len(), 20_000);
}

#[test]
fn links_in_circles_end() {
    let host = host();
    let skills = host.place("~/.claude/skills");
    link("loop", &skills.join("loop"));
    link("..", &skills.join("up"));
    link("/", &skills.join("everything"));
    link("gone", &skills.join("dangling"));
    host.write("~/.claude/skills/inner/SKILL.md", skill("inner"));
    link("..", &skills.join("inner/up"));
    let inventory = host.survey(Some(&JUDGE));
    assert_eq!(told(&inventory, &skills.join("loop")).kind, "unreadable");
    assert_eq!(told(&inventory, &skills.join("dangling")).kind, "unreadable");
    let inner = one(&inventory, ItemKind::Skill, "inner");
    let rules: Vec<_> = inner
        .scan
        .as_ref()
        .unwrap()
        .findings
        .iter()
        .map(|finding| finding.rule.as_str())
        .collect();
    assert!(rules.contains(&"artifact.link-out"), "{rules:?}");
    assert_eq!(
        of(&inventory, ItemKind::Skill).len(),
        2,
        "no link leads to more skills"
    );
}

#[test]
fn ten_thousand_links_to_one_folder_are_one_reading() {
    let host = host();
    let target = host.at("big");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::write(target.join("SKILL.md"), skill("big")).unwrap();
    // Ten thousand readings of this are 80 GB, which no test has the time for.
    std::fs::write(target.join("data.bin"), vec![b'x'; 8 << 20]).unwrap();
    for n in 0..10_000 {
        link(&target, &host.place(&format!("~/.claude/skills/l{n}")));
    }
    let inventory = host.survey(None);
    let skills = of(&inventory, ItemKind::Skill);
    assert_eq!(skills.len(), 10_001);
    assert!(skills.iter().filter(|item| item.link.is_some()).count() == 10_000);
}

#[test]
fn a_fifo_as_a_skill_is_told_and_not_waited_for() {
    let host = host();
    for path in [
        "~/.claude/skills/fifo/SKILL.md",
        "~/.claude.json",
        "~/.claude/CLAUDE.md",
    ] {
        let path = host.place(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let inventory = host.survey(Some(&JUDGE));
    for path in [
        "~/.claude/skills/fifo/SKILL.md",
        "~/.claude.json",
        "~/.claude/CLAUDE.md",
    ] {
        assert_eq!(told(&inventory, &host.place(path)).kind, "special", "{path}");
    }
    let fifo = one(&inventory, ItemKind::Skill, "fifo");
    assert!(fifo.severity() >= Some(defenseclaw_model::decision::Severity::High));
}

#[test]
fn settings_without_end_are_told() {
    let host = host();
    let mut giant = String::from("{\"mcpServers\": {\"a\": {\"command\": \"x\"}}, \"history\": \"");
    giant.push_str(&"x".repeat(17 << 20));
    giant.push_str("\"}");
    host.write("~/.claude.json", giant);
    host.write("~/.cursor/mcp.json", format!("// {}\n{{}}", "x".repeat(5 << 20)));
    let inventory = host.survey(None);
    for path in ["~/.claude.json", "~/.cursor/mcp.json"] {
        assert_eq!(told(&inventory, &host.place(path)).kind, "limit", "{path}");
    }
    let files: Vec<_> = of(&inventory, ItemKind::Settings)
        .iter()
        .map(|item| item.name.as_str())
        .collect();
    assert_eq!(
        files,
        [".claude.json", "mcp.json"],
        "that they are there is known"
    );
}

#[test]
fn settings_that_are_not_valid_are_told_with_their_line_and_without_what_stands_there() {
    let host = host();
    let secret = "ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2";
    for (path, text) in [
        ("~/.claude.json", format!("{{\"a\": \"{secret}\n}}")),
        (
            "~/.codex/config.toml",
            format!("model = \"m\"\ntoken = {secret}\n"),
        ),
        ("~/.hermes/config.yaml", format!("model: [\n{secret}: {{\n")),
        ("~/.gemini/settings.json", "[".repeat(100_000)),
        ("~/.openhands/mcp.json", "\u{0}\u{1}".to_owned()),
    ] {
        host.write(path, text);
    }
    host.write("~/.cursor/mcp.json", [0xff, 0xfe, 0x00]);
    let inventory = host.survey(Some(&JUDGE));
    for path in [
        "~/.claude.json",
        "~/.codex/config.toml",
        "~/.hermes/config.yaml",
        "~/.gemini/settings.json",
        "~/.openhands/mcp.json",
        "~/.cursor/mcp.json",
    ] {
        let trouble = told(&inventory, &host.place(path));
        assert_eq!(trouble.kind, "invalid", "{path}");
        assert!(!trouble.message.contains(secret), "{}", trouble.message);
    }
}

#[test]
fn a_plugin_s_broken_manifest_leaves_the_rest_of_it() {
    let host = host();
    host.write("~/.gemini/extensions/e/gemini-extension.json", "{\"name\": ")
        .write("~/.gemini/extensions/e/skills/s/SKILL.md", skill("s"));
    let inventory = host.survey(Some(&JUDGE));
    told(
        &inventory,
        &host.place("~/.gemini/extensions/e/gemini-extension.json"),
    );
    one(&inventory, ItemKind::Skill, "s");
    one(&inventory, ItemKind::Plugin, "e");
}

#[test]
fn another_user_s_links_do_not_make_root_read_what_they_may_not() {
    if !nix::unistd::geteuid().is_root() {
        // Only root reads on behalf of others: for anyone else the kernel refuses it.
        return;
    }
    let host = host();
    let home = host.at("home/ada");
    host.write(
        "/etc/secret.json",
        r#"{"mcpServers": {"hidden": {"command": "x"}}}"#,
    );
    link(host.at("etc/secret.json"), &home.join(".cursor/mcp.json"));
    link(host.at("etc"), &home.join(".cursor/skills"));
    let own = host.survey(None);
    one(&own, ItemKind::McpServer, "hidden");
    nix::unistd::chown(&home, Some(1000.into()), None).unwrap();
    let inventory = host.survey(None);
    assert_eq!(told(&inventory, &home.join(".cursor/mcp.json")).kind, "outside");
    assert_eq!(told(&inventory, &home.join(".cursor/skills")).kind, "outside");
    assert_eq!(of(&inventory, ItemKind::McpServer).len(), 0);
}
