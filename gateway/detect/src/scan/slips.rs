//! Names of servers that are nearly those of well-known ones.

use super::names::is_look_alike;
use super::packages::{LEAST_NAME, Popular, TWO_SLIPS, slips};

impl Popular {
    /// The well-known server that `word`, as a command names it, is a slip of: of its scope, of one of its words, or of the
    /// dashes between them.
    pub(crate) fn server_slip(&self, word: &str) -> Option<&str> {
        let lower = word.to_lowercase();
        let name = without_version(&lower);
        if self.servers.iter().any(|known| known == name) {
            return None;
        }
        if !name.is_ascii() {
            let folded = crate::text::fold::fold(name).text;
            let mixed = name.chars().any(|c| c.is_ascii_alphabetic()) && name.chars().any(is_look_alike);
            let known = self
                .servers
                .iter()
                .map(String::as_str)
                .find(|known| *known == folded);
            return known.or_else(|| mixed.then(|| self.servers.first().map(String::as_str)).flatten());
        }
        // Of images under one name each is compared by itself.
        let agents = |known: &String| match known.strip_suffix('*') {
            Some(beginning) => beginning.starts_with("aws") && name.starts_with(beginning),
            None => known == name,
        };
        if self.agents.iter().any(agents)
            || self.others.contains(name)
            || self.npm.contains(name)
            || self.pypi.contains(name)
        {
            return None;
        }
        let slip = |known: &&String| is_server_slip(known, name);
        self.servers.iter().find(slip).map(String::as_str)
    }
}

/// A name without the version or tag behind it.
fn without_version(word: &str) -> &str {
    let from = usize::from(word.starts_with('@'));
    let end = word
        .get(from..)
        .and_then(|rest| rest.find(['@', '=', '<', '>', '~', '[', ':']))
        .map_or(word.len(), |at| at + from);
    word.get(..end).unwrap_or(word)
}

/// Whether a server's name is a slip of another's.
fn is_server_slip(known: &str, name: &str) -> bool {
    /// Words that whoever claims to be the official publisher puts into a scope.
    const CLAIMS: [&str; 4] = ["modelcontext", "anthropic", "official", "mcp"];
    match (known.split_once('/'), name.split_once('/')) {
        (Some((scope, rest)), Some((other, name))) => {
            let near = scope.len() >= LEAST_NAME
                && slips(scope, other) <= if scope.len() >= TWO_SLIPS { 2 } else { 1 };
            let claims = rest == name && CLAIMS.iter().any(|claim| other.contains(claim));
            (scope == other && (words_slip(rest, name) || is_word_slip(rest, name)))
                || (scope != other && scope.starts_with('@') == other.starts_with('@') && (near || claims))
        }
        (None, None) => words_slip(known, name),
        // `server-filesystem` without its scope is anybody's.
        (Some((scope, rest)), None) => {
            let plain = scope.trim_start_matches('@');
            scope.starts_with('@')
                && (name == format!("{plain}-{rest}") || (rest == name && rest.starts_with("server-")))
        }
        (None, Some(_)) => false,
    }
}

/// Whether two names of several words differ by a slip in one word, or only by what stands between the words.
fn words_slip(known: &str, name: &str) -> bool {
    if known == name {
        return false;
    }
    let plain = |name: &str| name.replace(['-', '_', '.'], "");
    if plain(known) == plain(name) {
        return known.replace('_', "-") != name.replace('_', "-");
    }
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (known.split('-').collect(), name.split('-').collect());
    if ours.len() != theirs.len() || ours.len() < 2 {
        return false;
    }
    let mut different = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs);
    let (Some((ours, theirs)), None) = (different.next(), different.next()) else {
        return false;
    };
    is_word_slip(ours, theirs)
}

/// Whether a word is a slip of another, long enough that this is no chance.
fn is_word_slip(known: &str, word: &str) -> bool {
    const LEAST_WORD: usize = 5;
    // One is the plural of the other: another thing by its own name.
    let plural = known.strip_suffix('s') == Some(word) || word.strip_suffix('s') == Some(known);
    known.len() >= LEAST_WORD && word.len() + 1 >= LEAST_WORD && !plural && slips(known, word) == 1
}

#[cfg(test)]
mod tests {
    use super::super::packages::EMBEDDED;
    use super::*;

    fn popular() -> Popular {
        Popular::load(EMBEDDED.0, EMBEDDED.1).unwrap()
    }

    #[test]
    fn servers_that_are_nearly_well_known_are_told() {
        let popular = popular();
        for name in [
            "figma-develper-mcp@latest",
            "mcp-server-fecth",
            "mcp-sever-fetch==1.0",
            "@modelcontextprotcol/server-filesystem",
            "@modelcontextprotocol-official/server-github",
            "server-filesystem",
            "@playwrigth/mcp@latest",
            "mcpserver-fetch",
            "mcp-server-fetсh",
        ] {
            assert!(popular.server_slip(name).is_some(), "{name}");
        }
        for name in [
            "figma-developer-mcp@0.1",
            "@modelcontextprotocol/server-filesystem",
            "@acme/server-filesystem",
            "mcp-server-mysql",
            "mcp-server-times",
            "weather-mcp",
            "mcp-remote",
            "-y",
            "acme-mcp-server",
        ] {
            assert_eq!(popular.server_slip(name), None, "{name}");
        }
    }
}
