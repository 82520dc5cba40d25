//! What a call itself has written into files before it runs or reads them, and the links that it has made.

use super::normal;
use crate::shell::{Field, Scope};

/// Most files whose content is kept, and most bytes of one: a command line writes a script or two.
const MAX_FILES: usize = 16;
const MAX_CONTENT: usize = 64 << 10;
/// Most links.
const MAX_LINKS: usize = 16;

/// Files by path.
#[derive(Debug, Default)]
pub(super) struct Contents {
    files: Vec<(String, String)>,
    links: Vec<(String, String)>,
}

impl Contents {
    /// Keeps `text` as the content of the one file that `targets` name, behind what is already there: `>` and `>>` are
    /// not told apart, so that nothing that may run is missed.
    pub(super) fn keep(&mut self, targets: &[Field], text: String, scope: &Scope<'_>) {
        let [target] = targets else { return };
        if !target.exact || text.len() > MAX_CONTENT {
            return;
        }
        let path = normal::normalise(&target.text, scope.cwd.as_deref());
        let room = self.files.len() < MAX_FILES;
        match self.files.iter_mut().find(|(known, _)| *known == path) {
            Some((_, content)) if content.len() + text.len() < MAX_CONTENT => {
                content.push('\n');
                content.push_str(&text);
            }
            Some(_) => {}
            None if room => self.files.push((path, text)),
            None => {}
        }
    }

    /// The content of the file that `field` names, if the call has written it.
    pub(super) fn of(&self, field: &Field, scope: &Scope<'_>) -> Option<String> {
        if self.files.is_empty() || !field.exact {
            return None;
        }
        let path = self.resolve(normal::normalise(&field.text, scope.cwd.as_deref()));
        let file = self.files.iter().find(|(known, _)| *known == path);
        file.map(|(_, content)| content.clone())
    }

    /// Notes that `link` now stands for `target`.
    pub(super) fn link(&mut self, link: String, target: String) {
        if self.links.len() < MAX_LINKS && link != target && link != "/" {
            self.links.push((link, target));
        }
    }

    /// `path` behind the links of the call.
    pub(super) fn resolve(&self, path: String) -> String {
        for (link, target) in &self.links {
            if let Some(rest) = path.strip_prefix(link.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return format!("{}{rest}", target.trim_end_matches('/'));
            }
        }
        path
    }
}
