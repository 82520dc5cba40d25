//! Where what is copied, unpacked or downloaded lands: a file keeps its name in the folder that it is put into, and of a
//! whole tree or an archive nobody knows what it holds.

use super::{Access, Analysis, normal};
use crate::shell::{Field, Scope};

/// How a program copies.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// The target is a folder, however it is written.
    pub(super) into: bool,
    /// The target is what is replaced, even where it is a folder: `cp -T`, `ln -n`.
    pub(super) replaces: bool,
    /// A source with a slash at its end stands for what it holds: rsync.
    pub(super) contents: bool,
    /// The sources' folders are kept: `cp --parents`, `rsync -R`.
    pub(super) parents: bool,
}

/// Notes that `sources` are copied to `target`.
pub(super) fn copied(
    analysis: &mut Analysis,
    sources: &[&Field],
    target: &Field,
    manner: Manner,
    scope: &Scope<'_>,
) {
    let several = sources.len() > 1;
    let into = manner.into || several || is_folder(analysis, target, scope);
    if manner.replaces && !manner.into && !several || !into {
        return landed(analysis, target, scope);
    }
    for source in sources {
        match name_of(&source.text, manner) {
            Some(name) => landed(analysis, &within(target, source, name), scope),
            None => filled(analysis, target, scope),
        }
    }
}

/// Notes that files whose names nobody said are put into `folder`.
///
/// What lies in most folders matters little. Where files of any name do, `FOLDER/*` is written.
pub(super) fn filled(analysis: &mut Analysis, folder: &Field, scope: &Scope<'_>) {
    let path = resolved(folder, scope);
    if !any_name_matters(analysis, &path) {
        return analysis.path(Access::Write, folder, scope);
    }
    let inside = Field {
        text: format!("{}/*", path.trim_end_matches('/')),
        glob: true,
        ..folder.clone()
    };
    analysis.path(Access::Write, &inside, scope);
}

/// Notes that `member` is put into `folder`.
pub(super) fn member(analysis: &mut Analysis, folder: &Field, member: &Field, scope: &Scope<'_>) {
    landed(
        analysis,
        &within(folder, member, member.text.trim_start_matches('/')),
        scope,
    );
}

/// Whether it matters that files of any name are put into `folder`.
pub(super) fn matters(analysis: &Analysis, folder: &Field, scope: &Scope<'_>) -> bool {
    any_name_matters(analysis, &resolved(folder, scope))
}

/// Whether a file of any name in `folder` is run by itself or says who may do what.
pub(super) fn is_guarded_folder(analysis: &Analysis, folder: &Field, scope: &Scope<'_>) -> bool {
    is_guarded(analysis, &format!("{}/any", resolved(folder, scope)))
}

/// What lands at `target`. A folder of credentials comes with what it holds.
fn landed(analysis: &mut Analysis, target: &Field, scope: &Scope<'_>) {
    let path = resolved(target, scope);
    if analysis.rules.classify(&path) == Some("credential-folder") {
        filled(analysis, target, scope);
    }
    analysis.path(Access::Write, target, scope);
}

/// Whether `target` is a folder: it is written as one, or it is one on every host.
fn is_folder(analysis: &Analysis, target: &Field, scope: &Scope<'_>) -> bool {
    let text = target.text.as_str();
    if text.ends_with('/') || matches!(text.rsplit('/').next(), Some("." | ".." | "~")) {
        return true;
    }
    let path = resolved(target, scope);
    match analysis.rules.classify(&path) {
        Some(class) => matches!(class, "credential-folder" | "system-tree"),
        None => is_guarded(analysis, &format!("{path}/any")),
    }
}

/// Whether a file of any name in the folder at `path` is a credential, says who may do what, or is run by itself.
fn any_name_matters(analysis: &Analysis, path: &str) -> bool {
    let rules = analysis.rules;
    let path = path.trim_end_matches('/');
    let settings = || {
        matches!(
            rules.classify_glob(&format!("{path}/*")),
            Some("harness-settings" | "harness-managed")
        )
    };
    rules.classify(path) == Some("credential-folder")
        || is_guarded(analysis, &format!("{path}/any"))
        || settings()
}

fn is_guarded(analysis: &Analysis, path: &str) -> bool {
    let class = analysis.rules.classify(path);
    class.is_some_and(|class| analysis.rules.is_guarded(class))
}

fn resolved(field: &Field, scope: &Scope<'_>) -> String {
    let cwd = if field.exact { scope.cwd.as_deref() } else { None };
    normal::normalise(&field.text, cwd)
}

/// The name that a source keeps; `None` where it stands for many.
fn name_of(source: &str, manner: Manner) -> Option<&str> {
    let path = far_path(source);
    if manner.contents && path.ends_with('/') {
        return None;
    }
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    // `find -exec cp {} FOLDER`: whatever is found.
    let said = !matches!(name, "" | "." | ".." | "~" | "{}")
        && name.bytes().any(|byte| !matches!(byte, b'*' | b'?'));
    match manner.parents && !path.starts_with(['/', '~']) {
        true => said.then_some(path.trim_start_matches("./")),
        false => said.then_some(name),
    }
}

/// The path of `host:path`, and any other as it is.
fn far_path(source: &str) -> &str {
    match source.split_once(':') {
        Some((far, path)) if !far.contains('/') => path,
        _ => source,
    }
}

fn within(folder: &Field, source: &Field, name: &str) -> Field {
    Field {
        text: format!("{}/{name}", folder.text.trim_end_matches('/')),
        exact: folder.exact && source.exact,
        glob: folder.glob || source.glob,
        substitution: folder.substitution || source.substitution,
    }
}
