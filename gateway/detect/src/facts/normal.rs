//! Paths as text: absolute and lexically normal where that is possible.

/// Joins `path` to `cwd` and takes out `.`, `..` and doubled slashes. Without `cwd` a relative path stays relative.
///
/// `..` is taken literally: what a symbolic link would change only the kernel can tell, and it reports real paths.
pub(super) fn normalise(path: &str, cwd: Option<&str>) -> String {
    let absolute = path.starts_with('/');
    let base = if absolute || path.starts_with('~') {
        None
    } else {
        cwd
    };
    if let Some(path) = already_normal(path, base) {
        return path;
    }
    let rooted = absolute || base.is_some_and(|base| base.starts_with('/'));
    let mut parts: Vec<&str> = Vec::new();
    for part in base.unwrap_or_default().split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != ".." && *last != "~") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let parts = without_proc_root(&parts, rooted);
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// What most paths are: already as they should be, but for the folder that they start from and a slash at their end.
fn already_normal(path: &str, base: Option<&str>) -> Option<String> {
    let plain = |text: &str| {
        let bytes = text.as_bytes();
        let doubtful = |pair: &[u8]| matches!(pair, b"//" | b"/.");
        !bytes.windows(2).any(doubtful) && !text.starts_with("/proc")
    };
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if trimmed.is_empty() || trimmed.starts_with('.') || trimmed.ends_with('/') || !plain(trimmed) {
        return None;
    }
    match base {
        None => Some(trimmed.to_owned()),
        Some(base) => {
            let base = base.strip_suffix('/').unwrap_or(base);
            let good = base.starts_with('/') && !trimmed.starts_with('/') && plain(base);
            good.then(|| [base, "/", trimmed].concat())
        }
    }
}

/// `/proc/PID/root/x` is `x` below a process's root, which for one's own processes is `/`.
fn without_proc_root<'p, 't>(parts: &'p [&'t str], rooted: bool) -> &'p [&'t str] {
    match parts {
        ["proc", _, "root", rest @ ..] if rooted => rest,
        parts => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_normal() {
        for (path, cwd, expected) in [
            ("a/../b", Some("/w"), "/w/b"),
            ("../../../etc/shadow", Some("/w/x"), "/etc/shadow"),
            ("//etc/./shadow", None, "/etc/shadow"),
            ("a/./b", None, "a/b"),
            ("../x", None, "../x"),
            ("", Some("/w"), "/w"),
            ("", None, "."),
            ("~/x", Some("/w"), "~/x"),
            ("/proc/self/root/etc/shadow", None, "/etc/shadow"),
            ("/proc/self/status", None, "/proc/self/status"),
            ("/", None, "/"),
            ("a/", Some("/"), "/a"),
            ("a/.b/", Some("/w/"), "/w/a/.b"),
            ("x", Some("/proc/self/root"), "/x"),
            ("a", Some("w"), "w/a"),
            ("a//", Some("/w"), "/w/a"),
        ] {
            assert_eq!(normalise(path, cwd), expected, "{path} in {cwd:?}");
        }
    }
}
