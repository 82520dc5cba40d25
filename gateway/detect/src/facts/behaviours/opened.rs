//! Secrets that everyone on the host may read or change from now on: modes given to their files.

use defenseclaw_model::facts::BehaviourKind::Credential;

use super::super::{Analysis, normal};
use super::Invocation;
use crate::shell::Scope;

/// Notes each secret that this one `chmod` opens to others.
pub(super) fn modes(analysis: &mut Analysis, call: &Invocation<'_>, scope: &Scope<'_>) {
    let mut operands = call.operand_fields(&["--reference"]);
    let Some(mode) = operands.next() else { return };
    if !opens(&mode.text) || call.begins(&["--reference"]) {
        return;
    }
    let deep = call.short("R") || call.any(&["--recursive"]);
    for field in operands {
        let path = normal::normalise(&field.text, scope.cwd.as_deref());
        let class = match field.glob {
            true => analysis.rules.classify_glob(&path),
            false => analysis.rules.classify(&path),
        };
        let secret = matches!(
            class,
            Some("private-key" | "credential" | "system-auth" | "browser-store" | "password-manager")
        ) || class == Some("credential-folder") && deep
            || matches!(
                path.as_str(),
                "/etc/shadow" | "/etc/gshadow" | "/etc/sudoers" | "/etc/passwd"
            );
        // Everyone reads the list of accounts, and public keys are there to be shown.
        let shown = path.ends_with(".pub") || path == "/etc/passwd" && !lets(&mode.text, 'w');
        if secret && !shown {
            analysis.behave(Credential, "secret-opened", &path, None);
        }
    }
}

/// Whether a mode lets others read or write.
fn opens(mode: &str) -> bool {
    lets(mode, 'r') || lets(mode, 'w')
}

/// Whether a mode gives others the right `right` (`r` or `w`).
fn lets(mode: &str, right: char) -> bool {
    if !mode.is_empty() && mode.len() <= 5 && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        let bit = if right == 'r' { 4 } else { 2 };
        return mode.bytes().last().is_some_and(|digit| (digit - b'0') & bit != 0);
    }
    mode.split(',').any(|clause| {
        let Some((who, what)) = clause.split_once(['+', '=']) else {
            return false;
        };
        who.chars().all(|c| "ugoa".contains(c))
            && (who.is_empty() || who.contains(['o', 'a']))
            && (what.contains(right) || what.len() == 1 && what.contains(['u', 'g']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_let_others_in() {
        for (mode, expected) in [
            ("644", true),
            ("0666", true),
            ("777", true),
            ("604", true),
            ("600", false),
            ("0700", false),
            ("640", false),
            ("711", false),
            ("a+r", true),
            ("+r", true),
            ("u=rw,o=r", true),
            ("go+rw", true),
            ("g+r", false),
            ("u+x", false),
            ("o-r", false),
            ("o=g", true),
        ] {
            assert_eq!(opens(mode), expected, "{mode}");
        }
    }
}
