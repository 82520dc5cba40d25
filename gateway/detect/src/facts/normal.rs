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
        ] {
            assert_eq!(normalise(path, cwd), expected, "{path} in {cwd:?}");
        }
    }
}
