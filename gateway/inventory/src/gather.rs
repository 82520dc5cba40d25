//! What lies in the places of the table, before anything of it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use defenseclaw_places::{Level, Place, PlaceKind};

use crate::files::{Bounds, Stat};
use crate::item::{Scope, Trouble};
use crate::survey::Base;
use crate::walk;

/// What is done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reading {
    /// A folder with `SKILL.md`, or an archive of one.
    Skill,
    /// A plugin: folder or script.
    Plugin,
    /// A document that is followed when it is called.
    Prompt,
    /// A file that is read into every session.
    Memory,
    /// A hook that is a folder of its own.
    HookFolder,
    /// Settings.
    Settings,
}

/// Something that lies in a place.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) reading: Reading,
    pub(crate) path: PathBuf,
    /// What the identity goes by: the path, or a part of it that does not change with the version.
    pub(crate) named: PathBuf,
    pub(crate) scope: Scope,
    pub(crate) stat: Stat,
    /// What its place calls it, which is what the gate goes by.
    pub(crate) lies_as: String,
    /// Where its place says that it comes from.
    pub(crate) origin: Option<String>,
    /// Names that stood for a `*` in the pattern.
    pub(crate) stars: Vec<String>,
    /// Who reads it there, and for which kinds of settings.
    pub(crate) readers: BTreeSet<(String, PlaceKind)>,
    pub(crate) bounds: Bounds,
}

impl Candidate {
    /// The harnesses that read it, each once.
    pub(crate) fn connectors(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.readers.iter().map(|(connector, _)| connector).collect();
        all.into_iter().cloned().collect()
    }

    /// The harnesses that read settings of that kind from it.
    pub(crate) fn readers_of(&self, kind: PlaceKind) -> Vec<String> {
        let own = self.readers.iter().filter(|(_, own)| *own == kind);
        own.map(|(connector, _)| connector.clone()).collect()
    }
}

/// Looks into every place of the bases.
pub(crate) fn candidates(places: &[Place], bases: &[Base], troubles: &mut Vec<Trouble>) -> Vec<Candidate> {
    let mut found: BTreeMap<(Reading, PathBuf), Candidate> = BTreeMap::new();
    for base in bases {
        // Several harnesses share folders: each is listed once.
        let mut expanded: BTreeMap<&[String], Vec<walk::Found>> = BTreeMap::new();
        let own = places.iter().filter(|place| is_of(place.level, base.scope));
        for place in own {
            let paths = expanded
                .entry(place.components())
                .or_insert_with(|| walk::expand(&base.path, place.components(), &base.bounds, troubles));
            for one in paths.iter() {
                add(place, base, one, &mut found, troubles);
            }
        }
    }
    let mut found: Vec<Candidate> = found.into_values().collect();
    name_by_newest(&mut found);
    found
}

fn is_of(level: Level, scope: Scope) -> bool {
    Scope::from(level) == scope
}

fn add(
    place: &Place,
    base: &Base,
    one: &walk::Found,
    found: &mut BTreeMap<(Reading, PathBuf), Candidate>,
    troubles: &mut Vec<Trouble>,
) {
    let stat = match base.bounds.stat(&one.path) {
        Ok(Some(stat)) => stat,
        Ok(None) => return,
        Err(trouble) => {
            if !troubles.contains(&trouble) {
                troubles.push(trouble);
            }
            return;
        }
    };
    for (reading, path, stat) in readings(place, base, one, stat, troubles) {
        let reader = (place.connector.clone(), place.kind);
        let known = found.entry((reading, path.clone())).or_insert_with(|| Candidate {
            reading,
            named: path.clone(),
            lies_as: place.name_of(&path).unwrap_or_default(),
            origin: place.origin_of(&path),
            path,
            scope: base.scope,
            stat,
            stars: one.stars.clone(),
            readers: BTreeSet::new(),
            bounds: base.bounds.clone(),
        });
        known.readers.insert(reader);
    }
}

/// As what something is read; nothing, where a harness would not read it either.
fn readings(
    place: &Place,
    base: &Base,
    one: &walk::Found,
    stat: Stat,
    troubles: &mut Vec<Trouble>,
) -> Vec<(Reading, PathBuf, Stat)> {
    let path = one.path.clone();
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let single = |reading: Reading, stat: Stat| vec![(reading, path.clone(), stat)];
    match place.kind {
        PlaceKind::Skill if stat.is_dir => skills(base, &path, stat, troubles),
        PlaceKind::Skill if matches!(ending.as_str(), "skill" | "zip") => single(Reading::Skill, stat),
        PlaceKind::Plugin if stat.is_dir => single(Reading::Plugin, stat),
        PlaceKind::Plugin if matches!(ending.as_str(), "js" | "mjs" | "cjs" | "ts" | "mts" | "py") => {
            single(Reading::Plugin, stat)
        }
        PlaceKind::Prompt => single(Reading::Prompt, stat),
        PlaceKind::Memory if !stat.is_dir => single(Reading::Memory, stat),
        PlaceKind::Hooks if stat.is_dir => single(Reading::HookFolder, stat),
        PlaceKind::Mcp | PlaceKind::Hooks | PlaceKind::Model if !stat.is_dir => {
            single(Reading::Settings, stat)
        }
        // Other files beside skills and plugins, such as a README, are read by no harness.
        _ => Vec::new(),
    }
}

/// A folder with `SKILL.md`; else the folders in it that have one: some harnesses keep skills in folders of categories.
fn skills(
    base: &Base,
    folder: &Path,
    stat: Stat,
    troubles: &mut Vec<Trouble>,
) -> Vec<(Reading, PathBuf, Stat)> {
    let has_skill = |folder: &Path| {
        ["SKILL.md", "skill.md", "Skill.md"]
            .iter()
            .any(|name| folder.join(name).symlink_metadata().is_ok())
    };
    if has_skill(folder) {
        return vec![(Reading::Skill, folder.to_owned(), stat)];
    }
    let (names, trouble) = base.bounds.names(folder);
    troubles.extend(trouble);
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        if !has_skill(&path) {
            continue;
        }
        match base.bounds.stat(&path) {
            Ok(Some(stat)) if stat.is_dir => found.push((Reading::Skill, path, stat)),
            Ok(_) => {}
            Err(trouble) => troubles.push(trouble),
        }
    }
    // A folder without any is still something that lies there, and the gate holds it as a skill; a link is not followed further.
    if found.is_empty() && stat.link.is_none() {
        found.push((Reading::Skill, folder.to_owned(), stat));
    }
    found
}

/// Of several versions of a plugin the newest keeps the identity that goes without the version.
fn name_by_newest(found: &mut [Candidate]) {
    let mut newest: BTreeMap<PathBuf, (u64, usize)> = BTreeMap::new();
    let versioned = |one: &Candidate| one.reading == Reading::Plugin && one.stars.len() >= 3;
    for (at, one) in found.iter().enumerate().filter(|(_, one)| versioned(one)) {
        let Some(parent) = one.path.parent() else { continue };
        let own = (one.stat.modified_ns, at);
        let known = newest.entry(parent.to_owned()).or_insert(own);
        *known = own.max(*known);
    }
    for (parent, (_, at)) in newest {
        if let Some(one) = found.get_mut(at) {
            one.named = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(table: &str, home: &Path) -> (Vec<Candidate>, Vec<Trouble>) {
        let places = defenseclaw_places::load("t.yaml", table).unwrap();
        let base = Base {
            path: home.to_owned(),
            scope: Scope::User,
            bounds: Bounds::default(),
        };
        let mut troubles = Vec::new();
        (candidates(&places, &[base], &mut troubles), troubles)
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_that_harnesses_share_is_one_thing_with_several_readers() {
        let home = folder(&[".agents/skills/a/SKILL.md", ".agents/skills/README.md", "s.json"]);
        let (found, troubles) = look(
            "version: 1\nconnectors:\n  x:\n    - { kind: skill, path: ~/.agents/skills/* }\n    - { kind: mcp, path: ~/s.json }\n    \
             - { kind: hooks, path: ~/s.json }\n  y:\n    - { kind: skill, path: ~/.agents/skills/* }\n",
            home.path(),
        );
        assert_eq!((found.len(), troubles.len()), (2, 0));
        assert_eq!(found[0].connectors(), ["x", "y"]);
        assert_eq!(found[1].readers_of(PlaceKind::Hooks), ["x"]);
        assert_eq!(found[1].readers_of(PlaceKind::Model), Vec::<String>::new());
    }

    #[test]
    fn skills_in_categories_are_found_and_a_folder_without_any_stays() {
        let home = folder(&[
            "s/ops/deploy/SKILL.md",
            "s/ops/watch/SKILL.md",
            "s/plain/SKILL.md",
            "s/empty/x.txt",
        ]);
        let (found, _) = look(
            "version: 1\nconnectors:\n  x:\n    - { kind: skill, path: ~/s/* }\n",
            home.path(),
        );
        let paths: Vec<_> = found
            .iter()
            .map(|one| one.path.strip_prefix(home.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(paths, ["s/empty", "s/ops/deploy", "s/ops/watch", "s/plain"]);
    }

    #[test]
    fn the_newest_version_of_a_plugin_has_the_plugin_s_identity() {
        let home = folder(&["c/m/p/1.0/x", "c/m/p/2.0/x", "c/m/q/1.0/x"]);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
        std::fs::File::open(home.path().join("c/m/p/2.0"))
            .unwrap()
            .set_modified(later)
            .unwrap();
        let (found, _) = look(
            "version: 1\nconnectors:\n  x:\n    - { kind: plugin, path: ~/c/*/*/* }\n",
            home.path(),
        );
        let named: Vec<_> = found
            .iter()
            .map(|one| one.named.strip_prefix(home.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(named, ["c/m/p/1.0", "c/m/p", "c/m/q"]);
        assert_eq!(found[1].stars, ["m", "p", "2.0"]);
    }
}
