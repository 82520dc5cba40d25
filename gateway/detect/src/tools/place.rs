//! Relative paths made absolute.

/// The folders against which a harness reads relative paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place<'a> {
    /// Its working directory; only an absolute one helps.
    pub cwd: Option<&'a str>,
    /// What `~` means to it.
    pub home: Option<&'a str>,
}

impl Place<'_> {
    /// The absolute path; `None` for a relative one where no working directory is known.
    pub fn absolute(&self, path: &str) -> Option<String> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        if path.starts_with('/') {
            return Some(normal(path));
        }
        let below_home = path
            .strip_prefix('~')
            .filter(|below| below.is_empty() || below.starts_with('/'));
        if let (Some(below), Some(home)) = (below_home, self.home) {
            return Some(normal(&format!("{home}{below}")));
        }
        let cwd = self.cwd.filter(|cwd| cwd.starts_with('/'))?;
        Some(normal(&format!("{cwd}/{path}")))
    }
}

/// An absolute path without `.`, `..` and empty components, by its text alone.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
