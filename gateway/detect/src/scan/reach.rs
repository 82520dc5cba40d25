//! How much of a person's machine a path or a mount is.

/// Folders of a person that hold keys, settings that run, or what others wrote to them.
const PRIVATE: &[&str] = &[
    "/.ssh",
    "/.aws",
    "/.gnupg",
    "/.kube",
    "/.docker",
    "/.config",
    "/.claude",
    "/.codex",
    "/.netrc",
    "/.npmrc",
    "/.azure",
    "/.mozilla",
    "/library/keychains",
    "/.password-store",
    "/.local/share/keyrings",
    "/.gitconfig",
    "/.git-credentials",
    "/library/application support",
];

/// How much of a machine a path is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every folder, or those of all people.
    All,
    /// Folders that hold keys.
    Private,
    /// The whole home of a person.
    Home,
    /// A part that is nobody's secret.
    Some,
}

/// How much of a machine a path is, as settings write it.
pub(super) fn reach_of(path: &str) -> Reach {
    let plain = path
        .trim_end_matches("/*")
        .trim_end_matches("/**")
        .to_ascii_lowercase();
    let plain = plain.replace('\\', "/");
    if matches!(
        path,
        "/" | "/*" | "/**" | "C:\\" | "c:\\" | "C:/" | "C:" | "//" | "file:///"
    ) {
        return Reach::All;
    }
    if matches!(
        plain.as_str(),
        "/etc" | "/root" | "/var/run" | "/proc" | "/home" | "/users" | "c:/users"
    ) {
        return Reach::All;
    }
    let in_home = plain.starts_with(['~', '$', '/']) || plain.starts_with("c:/");
    if in_home
        && PRIVATE
            .iter()
            .any(|private| plain.ends_with(private) || plain.contains(&format!("{private}/")))
    {
        // What a server keeps of its own lies there, too.
        let own = [
            "/.config/",
            "/.docker/",
            "/library/application support/",
            "/.claude/",
        ];
        return if own.iter().any(|own| plain.contains(own)) {
            Reach::Some
        } else {
            Reach::Private
        };
    }
    let home = [
        "~",
        "~/",
        "$home",
        "${home}",
        "$home/",
        "${home}/",
        "${env:home}",
        "${userhome}",
        "${localenv:home}",
        "%userprofile%",
    ];
    let user = plain
        .strip_prefix("/home/")
        .or_else(|| plain.strip_prefix("/users/"))
        .or_else(|| plain.strip_prefix("c:/users/"));
    let whole = user.is_some_and(|rest| !rest.is_empty() && !rest.trim_end_matches('/').contains('/'));
    if home.contains(&plain.as_str()) || whole {
        Reach::Home
    } else {
        Reach::Some
    }
}

/// What a mount gives of the machine.
pub(super) fn given_by_mount(mount: &str) -> Option<&'static str> {
    let source = mount
        .split(',')
        .find_map(|part| part.strip_prefix("src=").or_else(|| part.strip_prefix("source=")))
        .or_else(|| {
            // `${HOME}:/x` and `C:\x:/y` have a colon of their own.
            let from = if mount.starts_with("${") {
                mount.find('}').unwrap_or(0)
            } else {
                0
            };
            let from = if mount.get(1..3) == Some(":\\") { 3 } else { from };
            let at = mount.get(from..)?.find(':')? + from;
            mount.get(..at)
        })?;
    if source.contains("docker.sock") || source.contains("podman.sock") || source.contains("containerd.sock")
    {
        return Some("the engine that runs all containers");
    }
    match reach_of(source) {
        Reach::All => Some("the root"),
        Reach::Private => Some("folders that hold keys"),
        Reach::Home => Some("the person's whole home"),
        Reach::Some => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_by_how_much_of_a_machine_they_are() {
        for (path, reach) in [
            ("/", Reach::All),
            ("/home", Reach::All),
            ("~", Reach::Home),
            ("/Users/ana", Reach::Home),
            ("${HOME}", Reach::Home),
            ("~/.ssh", Reach::Private),
            ("/home/ana/.aws/credentials", Reach::Private),
            ("/home/ana/projects", Reach::Some),
            ("~/.config/weather/cache", Reach::Some),
            ("./data", Reach::Some),
        ] {
            assert_eq!(reach_of(path), reach, "{path}");
        }
        assert!(given_by_mount("${HOME}/.ssh:/root/.ssh").is_some());
        assert!(given_by_mount("type=bind,src=/,dst=/host").is_some());
        assert!(given_by_mount("/home/ana/notes:/notes:ro").is_none());
        assert!(given_by_mount("data:/data").is_none());
    }
}
