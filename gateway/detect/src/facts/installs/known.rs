//! Well-known names, and the slips from them.

use std::sync::LazyLock;

use defenseclaw_model::facts::{Ecosystem, Install, InstallSource};

use crate::scan::packages::{EMBEDDED, Popular, Registry};

static POPULAR: LazyLock<Popular> = LazyLock::new(|| {
    // What is built in is checked by a test; without it no name is known, and none is a slip.
    Popular::load(EMBEDDED.0, EMBEDDED.1).unwrap_or_default()
});

/// Official images, which stand in no one's folder, are the registry's own.
fn official_image(name: &str) -> bool {
    !name.contains('/')
}

/// Says of an install whether its name is known, or a slip from one that is.
pub(super) fn tell(install: &mut Install) {
    let popular = &*POPULAR;
    // What an alias stands for is what is installed.
    let name = if install.source == InstallSource::Alias {
        install.from.clone()
    } else {
        install.name.clone()
    };
    if name.is_empty() || matches!(install.source, InstallSource::File | InstallSource::Inline) {
        return;
    }
    let names = match install.ecosystem {
        Ecosystem::Npm => popular.names(Registry::Npm),
        Ecosystem::Pypi => popular.names(Registry::Pypi),
        Ecosystem::Crates => &popular.crates,
        Ecosystem::Gem => &popular.gem,
        Ecosystem::Docker => {
            install.known = official_image(&name) || extends_agents(&name);
            return;
        }
        _ => {
            install.known = extends_agents(&name) || extends_agents(&install.host);
            return;
        }
    };
    if install.source == InstallSource::Registry || install.source == InstallSource::Alias {
        let other =
            matches!(install.ecosystem, Ecosystem::Npm | Ecosystem::Pypi) && popular.others.contains(&name);
        install.known = other || names.contains(name.as_str()) || extends_agents(&name);
        if !install.known {
            let scoped = install.ecosystem == Ecosystem::Npm && name.starts_with('@');
            let slip = if scoped {
                popular.scope_slip(&name)
            } else {
                Popular::slip_among(names, &name)
            };
            slip.unwrap_or_default().clone_into(&mut install.like);
        }
    }
}

/// Whether a package, image or host is one of those that the harnesses' own documentation names.
pub(super) fn extends_agents(name: &str) -> bool {
    !name.is_empty()
        && POPULAR.agents.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == known,
        })
}

#[cfg(test)]
mod tests {
    use super::super::spec;
    use super::*;

    fn told(ecosystem: Ecosystem, word: &str) -> (bool, String) {
        let mut install = spec::of(ecosystem, word).unwrap();
        tell(&mut install);
        (install.known, install.like)
    }

    #[test]
    fn well_known_names_slips_and_others() {
        for (ecosystem, word, known, like) in [
            (Ecosystem::Npm, "express@4", true, ""),
            (Ecosystem::Npm, "expresss", false, "express"),
            (Ecosystem::Npm, "x@npm:lodahs", false, "lodash"),
            (Ecosystem::Npm, "react-hook-form", true, ""),
            (Ecosystem::Npm, "react-spring-carousel", false, ""),
            (Ecosystem::Npm, "@antropic-ai/sdk", false, "anthropic-ai"),
            (Ecosystem::Npm, "@biomesjs/biome", false, "biomejs"),
            (Ecosystem::Npm, "@acme/biome", false, ""),
            (Ecosystem::Pypi, "faiss-gpu", false, ""),
            (Ecosystem::Pypi, "pytest-env", true, ""),
            (Ecosystem::Pypi, "crypotgraphy", false, "cryptography"),
            (Ecosystem::Crates, "serede", false, "serde"),
            (Ecosystem::Crates, "serde_json", true, ""),
            (Ecosystem::Gem, "nokogirii", false, "nokogiri"),
            (Ecosystem::Docker, "postgres:16", true, ""),
            (Ecosystem::Docker, "unknown-dev/mcp-x", false, ""),
            (Ecosystem::Npm, "@modelcontextprotocol/server-git", true, ""),
        ] {
            assert_eq!(told(ecosystem, word), (known, like.to_owned()), "{word}");
        }
    }
}
