use super::*;

fn class(path: &str) -> Option<&'static str> {
    PathRules::embedded().classify(path)
}

#[test]
fn the_embedded_rules_are_valid() {
    let rules = PathRules::parse(EMBEDDED).unwrap();
    assert!(rules.classes().count() > 10);
    for id in rules.classes() {
        assert!(rules.severity(id) > Severity::None, "{id}");
        assert!(!rules.describes(id).is_empty(), "{id}");
    }
}

#[test]
fn paths_have_the_class_that_a_person_would_expect() {
    for (path, expected) in [
        ("/root/.ssh/id_ed25519", "private-key"),
        ("/home/u/.ssh/id_rsa", "private-key"),
        ("/srv/backup/u/.ssh/id_rsa.old", "private-key"),
        ("/home/u/.aws/credentials", "credential"),
        ("/tmp/x/home/.aws/credentials", "credential"),
        ("/home/u/.aws/sso/cache/abc.json", "credential"),
        (
            "/home/u/.config/gcloud/legacy_credentials/a@b/adc.json",
            "credential",
        ),
        ("/home/u/.kube/config", "credential"),
        ("/home/u/.docker/config.json", "credential"),
        ("/home/u/.netrc", "credential"),
        ("/home/u/.npmrc", "credential"),
        ("/home/u/project/.npmrc", "env-file"),
        ("/home/u/.ssh", "credential-folder"),
        (
            "/home/u/.mozilla/firefox/abc.default/logins.json",
            "browser-store",
        ),
        (
            "/home/u/.config/google-chrome/Default/Login Data",
            "browser-store",
        ),
        ("/home/u/.password-store/mail/work.gpg", "password-manager"),
        ("/home/u/vault.kdbx", "password-manager"),
        ("/etc/shadow", "system-auth"),
        ("/proc/1/environ", "process-secrets"),
        ("/etc/sudoers.d/90-x", "privilege-config"),
        ("/root/.ssh/authorized_keys", "ssh-access"),
        ("/etc/claude-code/managed-settings.json", "harness-managed"),
        ("/home/u/.claude/settings.json", "harness-settings"),
        ("/home/u/project/.claude/settings.local.json", "harness-settings"),
        ("/home/u/.codex/config.toml", "harness-settings"),
        ("/home/u/project/CLAUDE.md", "agent-memory"),
        ("/home/u/.bashrc", "shell-startup"),
        ("/etc/profile.d/x.sh", "shell-startup"),
        ("/etc/cron.d/job", "persistence"),
        ("/home/u/.config/systemd/user/x.service", "persistence"),
        ("/home/u/p/.git/hooks/pre-commit", "git-hooks"),
        ("/home/u/p/.env", "env-file"),
        ("/home/u/p/.env.production", "env-file"),
        ("/dev/sda", "block-device"),
        ("/", "system-tree"),
        ("/home/u", "system-tree"),
        ("/etc/defenseclaw/config.yaml", "defenseclaw"),
        ("/usr/bin/defenseclaw-agent", "defenseclaw"),
        ("/etc/systemd/system/defenseclaw-agent.service", "defenseclaw"),
        ("~/.aws/credentials", "credential"),
        (".aws/credentials", "credential"),
    ] {
        assert_eq!(class(path), Some(expected), "{path}");
    }
}

#[test]
fn neighbours_of_sensitive_paths_have_no_class() {
    for path in [
        "/home/u/.ssh/id_ed25519.pub",
        "/home/u/.ssh/known_hosts",
        "/home/u/.aws/config",
        "/home/u/.kube/cache/x",
        "/home/u/project/config.json",
        "/home/u/project/credentials",
        "/home/u/project/src/shadow",
        "/home/u/p/.env.example",
        "/home/u/p/.git/hooks/pre-commit.sample",
        "/home/u/p/.git/config",
        "/home/u/.claude/projects/x.jsonl",
        "/etc/shadow/x",
        "/srv/etc/shadow",
        "etc/shadow",
        "/home/u/project",
        "/home/u/.sshx/id_rs",
        "/dev/null",
        "/var/lib/x",
        "",
        "///",
    ]
    .into_iter()
    .filter(|path| !path.trim_matches('/').is_empty())
    {
        assert_eq!(class(path), None, "{path}");
    }
}

#[test]
fn a_shell_glob_has_the_class_of_what_it_can_stand_for() {
    let rules = PathRules::embedded();
    for (glob, expected) in [
        ("/home/u/.ssh/*", Some("private-key")),
        ("/home/u/.ssh/id_*", Some("private-key")),
        ("/home/u/.ssh/*.pub", None),
        ("/home/*/.aws/cred*", Some("credential")),
        ("/etc/shad?w", Some("system-auth")),
        ("/home/u/p/.env*", Some("env-file")),
        ("/home/u/p/id_rs*", Some("private-key")),
        ("/home/u/p/*.*", None),
        ("/home/u/p/*.rs", None),
        ("/home/u/p/*", None),
        ("src/*.rs", None),
        ("/home/u/p/docs/**/*.md", Some("agent-memory")),
        ("/home/u/p/**/*.ts", None),
        ("/srv/app/**/*", None),
        ("/home/u/.s*h/id_*", Some("private-key")),
        ("~/.*/id_*", Some("private-key")),
    ] {
        assert_eq!(rules.classify_glob(glob), expected, "{glob}");
    }
}

#[test]
fn every_secret_path_passes_the_kernel_filter() {
    let rules = PathRules::embedded();
    let names = rules.watched_names();
    assert!(
        names
            .iter()
            .all(|name| !name.name.is_empty() && name.name.len() <= MAX_WATCHED_NAME)
    );
    for path in [
        "/root/.ssh/id_ed25519",
        "/home/u/.aws/credentials",
        "/home/u/.kube/config",
        "/home/u/.docker/config.json",
        "/home/u/.aws/sso/cache/abc.json",
        "/home/u/.password-store/a/b/c.gpg",
        "/home/u/.config/google-chrome/Default/Login Data",
        "/etc/shadow",
        "/etc/ssl/private/x.key",
    ] {
        let (folders, last) = path.rsplit_once('/').unwrap();
        let passes = names.iter().any(|name| match name.place {
            NamePlace::Last => name.name == last,
            NamePlace::Directory => folders.split('/').any(|folder| folder == name.name),
        });
        assert!(passes, "{path}");
        assert!(class(path).is_some_and(|class| rules.is_secret(class)), "{path}");
    }
}

#[test]
fn watched_read_paths_stand_below_the_home() {
    let paths = PathRules::embedded().watched_read_paths("/home/u/");
    for expected in [
        "/home/u/.aws/credentials",
        "/home/u/.ssh",
        "/etc/shadow",
        "/home/u/.aws/sso/cache",
    ] {
        assert!(
            paths.iter().any(|path| path == expected),
            "{expected} in {paths:?}"
        );
    }
    assert!(
        !paths
            .iter()
            .any(|path| path == "/home" || path == "/home/u/.mozilla/firefox"),
        "{paths:?}"
    );
    assert!(
        paths
            .iter()
            .all(|path| path.starts_with('/') && !path.contains(['*', '?']))
    );
}

#[test]
fn malformed_rules_say_what_is_wrong() {
    let with = |body: &str| PathRules::parse(&format!("version: 1\nclasses:\n{body}")).unwrap_err();
    let entry = |pattern: &str| {
        format!("- {{id: a, severity: LOW, description: d, secret: true, patterns: [\"{pattern}\"]}}\n")
    };
    assert!(matches!(
        PathRules::parse("version: 2\nclasses: []"),
        Err(PathRulesError::Version(2))
    ));
    assert!(matches!(
        PathRules::parse("version: 1\nclasses: []\nextra: 1"),
        Err(PathRulesError::Syntax(_))
    ));
    assert!(matches!(with(&entry("x")), PathRulesError::BadPattern { .. }));
    assert!(matches!(
        with(&entry("/a/**/b")),
        PathRulesError::BadPattern { .. }
    ));
    assert!(matches!(
        with(&entry("~/../b")),
        PathRulesError::BadPattern { .. }
    ));
    assert!(matches!(
        with(&entry("**/*.x")),
        PathRulesError::BadPattern { .. }
    ));
    assert!(matches!(
        with(&entry("**/*a*b*c")),
        PathRulesError::BadPattern { .. }
    ));
    let twice = format!("{}{}", entry("/a"), entry("/b"));
    assert!(matches!(with(&twice), PathRulesError::Duplicate(_)));
}

#[test]
fn classify_takes_any_text_in_linear_time() {
    let deep = "/a".repeat(1 << 20);
    let started = std::time::Instant::now();
    assert_eq!(class(&deep), None);
    assert_eq!(class(&format!("/{}", "x".repeat(1 << 21))), None);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
