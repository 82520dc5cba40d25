//! Which paths are governed: the table of places, laid over the host, the homes and the projects that there are now.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::{Component, Path, PathBuf};

use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::config::GatePlace;
use defenseclaw_model::gate::GateScope;
use defenseclaw_places::{Level, Place, PlaceKind, fits};

/// Most homes: hosts with more people than this have them in a directory service, and their sessions name them.
pub const MAX_HOMES: usize = 256;
/// Most projects, the newest kept: each costs about forty look-ups when it comes.
pub const MAX_PROJECTS: usize = 256;
/// What the gate's own names in a place begin with: what is on its way into quarantine, or out of it.
pub const HIDDEN: &str = ".defenseclaw-";
/// Files that hold MCP servers and nothing else. Other settings files are read for much more: they are never refused, the
/// servers in them are refused at their calls.
const SERVER_FILES: [&str; 5] = [
    ".mcp.json",
    "mcp.json",
    "mcp-config.json",
    "mcp_config.json",
    "managed-mcp.json",
];

/// An artifact, by where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// What it is admitted as.
    pub kind: ArtifactKind,
    /// Whose place it stands in.
    pub connector: String,
    /// Its name there.
    pub name: String,
    /// Its path in the place.
    pub path: PathBuf,
    /// Where its content lies: the same, unless the place or the artifact is a link.
    pub physical: PathBuf,
    /// Whether an open of it waits for admission.
    pub holds: bool,
    /// Whether it may be moved into quarantine.
    pub movable: bool,
}

/// A place with its base: one row of the table for one home, project or the host.
#[derive(Debug, Clone)]
struct Ground {
    connector: String,
    kind: ArtifactKind,
    base: PathBuf,
    pattern: Vec<String>,
    /// How many components before the last one its artifacts are named by.
    named_above: usize,
}

/// What a path is to the gate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The artifact that it is, or lies in.
    pub artifact: Option<Which>,
    /// Names below it that lead to artifacts.
    pub next: BTreeSet<String>,
    /// Whether any name below it is an artifact or leads to some.
    pub any: bool,
    /// Whether an artifact that is a single file with a fixed name stands directly in it.
    pub parent: bool,
}

impl Look {
    /// Whether the gate has nothing to do with it.
    pub fn is_nothing(&self) -> bool {
        self.artifact.is_none() && self.next.is_empty() && !self.any
    }
}

/// All that is governed now.
#[derive(Debug, Default)]
pub struct Governed {
    /// By their base: a path is compared with those alone whose base it lies below.
    grounds: HashMap<PathBuf, Vec<Ground>>,
    /// Where links lead that stand in a place: from the folder or file they lead to, to where they stand.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Governed {
    /// Lays the table over what there is.
    pub fn new(table: &[Place], own: &[GatePlace], homes: &[PathBuf], scope: &GateScope) -> Self {
        let mut bases = BTreeMap::from([(Level::System, vec![PathBuf::from("/")])]);
        let real = |path: &str| Path::new(path).canonicalize().ok();
        let mut all: Vec<PathBuf> = homes.to_vec();
        all.extend(scope.homes.iter().filter_map(|home| real(home)));
        all.sort();
        all.dedup();
        all.truncate(MAX_HOMES);
        bases.insert(Level::User, all);
        let mut projects: VecDeque<PathBuf> = VecDeque::new();
        // The gateway names the newest last.
        for project in scope.projects.iter().rev().filter_map(|project| real(project)) {
            if projects.len() < MAX_PROJECTS && !projects.contains(&project) {
                projects.push_front(project);
            }
        }
        bases.insert(Level::Project, projects.into());
        let mut grounds: HashMap<PathBuf, Vec<Ground>> = HashMap::new();
        for place in table.iter().filter(|place| place.governed) {
            let Some(kind) = place.kind.gated_as() else {
                continue;
            };
            debug_assert!(!matches!(place.kind, PlaceKind::Memory));
            for base in bases.get(&place.level).into_iter().flatten() {
                grounds.entry(base.clone()).or_default().push(Ground {
                    connector: place.connector.clone(),
                    kind,
                    base: base.clone(),
                    pattern: place.components().to_vec(),
                    named_above: place.named_above(),
                });
            }
        }
        for place in own {
            let base = place
                .folder
                .canonicalize()
                .unwrap_or_else(|_| place.folder.clone());
            grounds.entry(base.clone()).or_default().push(Ground {
                connector: place.connector.clone(),
                kind: place.kind,
                base,
                pattern: vec!["*".to_owned()],
                named_above: 0,
            });
        }
        Self {
            grounds,
            links: BTreeMap::new(),
        }
    }

    /// The folders below which everything governed lies, but for what links lead to.
    pub fn bases(&self) -> Vec<PathBuf> {
        let mut bases: Vec<PathBuf> = self.grounds.keys().cloned().collect();
        bases.sort();
        bases
    }

    /// Governs what `new` governs; where links lead is known from before.
    pub fn renew(&mut self, new: Self) {
        self.grounds = new.grounds;
    }

    /// Notes where a link in a place leads.
    pub fn link(&mut self, target: PathBuf, stands: PathBuf) {
        self.links.entry(target).or_insert(stands);
    }

    /// The links noted.
    pub fn links(&self) -> &BTreeMap<PathBuf, PathBuf> {
        &self.links
    }

    /// What `path` is, as a path in a place.
    pub fn look(&self, path: &Path) -> Look {
        let mut look = Look::default();
        let below = path.ancestors().filter_map(|base| self.grounds.get(base));
        for ground in below.flatten() {
            let Ok(below) = path.strip_prefix(&ground.base) else {
                continue;
            };
            let mut names = Vec::new();
            for part in below.components() {
                let Component::Normal(part) = part else { break };
                names.push(part.to_string_lossy());
                if names.len() > ground.pattern.len() {
                    break;
                }
            }
            let on_the_way = names.iter().zip(&ground.pattern);
            if !on_the_way.into_iter().all(|(name, pattern)| fits(pattern, name)) {
                continue;
            }
            match ground.pattern.get(names.len()) {
                None if look.artifact.is_none() => look.artifact = ground.artifact(below),
                None => {}
                Some(next) if next.contains('*') => look.any = true,
                Some(next) => {
                    look.parent |= names.len() + 1 == ground.pattern.len();
                    look.next.insert(next.clone());
                }
            }
        }
        look
    }

    /// The artifact that the file at `physical` belongs to.
    pub fn artifact_at(&self, physical: &Path) -> Option<Which> {
        if let Some(artifact) = self.look(physical).artifact {
            return Some(artifact);
        }
        let stands = self.stands(physical)?;
        let mut artifact = self.look(&stands).artifact?;
        artifact.physical = self.physical_of(&artifact.path, physical, &stands)?;
        Some(artifact)
    }

    /// Where, in a place, the content at `physical` stands, if a link leads to it.
    fn stands(&self, physical: &Path) -> Option<PathBuf> {
        physical.ancestors().find_map(|ancestor| {
            let stands = self.links.get(ancestor)?;
            let below = physical.strip_prefix(ancestor).ok()?;
            Some(if below.as_os_str().is_empty() {
                stands.clone()
            } else {
                stands.join(below)
            })
        })
    }

    /// `physical`, which stands at `stands`, cut to where the artifact at `artifact` begins.
    fn physical_of(&self, artifact: &Path, physical: &Path, stands: &Path) -> Option<PathBuf> {
        let below = stands.strip_prefix(artifact).ok()?.components().count();
        physical.ancestors().nth(below).map(Path::to_owned)
    }
}

impl Ground {
    fn artifact(&self, below: &Path) -> Option<Which> {
        let kept: PathBuf = below.components().take(self.pattern.len()).collect();
        // What the artifact says of itself is not read here: the gateway weighs that claim.
        let named = kept.ancestors().nth(self.named_above)?;
        let name = named.file_name()?.to_string_lossy().into_owned();
        let path = self.base.join(kept);
        let server_file = SERVER_FILES.contains(&name.as_str());
        let any = self.pattern.last().is_some_and(|last| last.contains('*'));
        Some(Which {
            kind: self.kind,
            connector: self.connector.clone(),
            name,
            physical: path.clone(),
            path,
            holds: self.kind != ArtifactKind::Mcp || server_file || any,
            movable: self.kind != ArtifactKind::Mcp,
        })
    }
}

/// Homes of the people of this host: uid 0 and from 1000 on, where the folder is there.
pub fn homes() -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut homes: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, home) = (fields.get(2)?.parse::<u32>().ok()?, *fields.get(5)?);
            // 65534 is nobody, whose home is none.
            let person = uid == 0 || (uid >= 1000 && uid != 65534);
            (person && home.len() > 1).then(|| Path::new(home).canonicalize().ok())?
        })
        .filter(|home| home.is_dir() && home != Path::new("/"))
        .collect();
    homes.sort();
    homes.dedup();
    homes.truncate(MAX_HOMES);
    homes
}

/// Files by inode, so that another name of one is known.
pub type Inodes = HashMap<(u64, u64), PathBuf>;

#[cfg(test)]
mod tests {
    use super::*;

    fn governed() -> Governed {
        let table = defenseclaw_places::embedded().unwrap();
        let home = std::env::temp_dir().canonicalize().unwrap();
        Governed::new(&table, &[], &[home], &GateScope::default())
    }

    fn home() -> PathBuf {
        std::env::temp_dir().canonicalize().unwrap()
    }

    #[test]
    fn a_path_is_told_from_its_place() {
        let governed = governed();
        let look = governed.look(&home().join(".claude"));
        assert!(look.artifact.is_none() && look.next.contains("skills") && !look.parent);
        let look = governed.look(&home().join(".claude/skills"));
        assert!(look.any && look.artifact.is_none());
        let look = governed.look(&home().join(".claude/skills/x/lib/y.py"));
        let artifact = look.artifact.unwrap();
        assert_eq!(
            (artifact.kind, artifact.name.as_str(), artifact.path),
            (ArtifactKind::Skill, "x", home().join(".claude/skills/x"))
        );
        assert!(governed.look(&home()).parent);
        assert!(governed.look(Path::new("/usr/lib/x")).is_nothing());
        assert!(governed.look(&home().join(".bashrc")).is_nothing());
    }

    #[test]
    fn only_files_that_hold_servers_alone_are_held() {
        let governed = governed();
        let holds = |path: &str| governed.look(&home().join(path)).artifact.unwrap().holds;
        assert!(!holds(".claude.json") && !holds(".codex/config.toml") && !holds(".gemini/settings.json"));
        assert!(holds(".cursor/mcp.json") && holds(".claude/skills/x"));
        let file = governed.look(&home().join(".cursor/mcp.json")).artifact.unwrap();
        assert!(!file.movable);
    }

    #[test]
    fn a_cached_plugin_is_named_by_its_folder_and_not_by_its_version() {
        let governed = governed();
        let which = |path: &str| governed.look(&home().join(path)).artifact.unwrap();
        for harness in [".claude", ".codex", ".cursor"] {
            let path = format!("{harness}/plugins/cache/market/formatter/1.2.0");
            let plugin = which(&format!("{path}/hooks/hooks.json"));
            assert_eq!(
                (plugin.name.as_str(), plugin.path),
                ("formatter", home().join(path))
            );
        }
        // Elsewhere the folder itself is the name.
        assert_eq!(which(".claude/plugins/marketplaces/market/x").name, "market");
        assert_eq!(which(".claude/skills/cache").name, "cache");
    }

    #[test]
    fn what_a_link_leads_to_stands_where_the_link_stands() {
        let mut governed = governed();
        governed.link("/srv/tools".into(), home().join(".claude/skills/x"));
        governed.link("/srv/all".into(), home().join(".codex/skills"));
        let one = governed.artifact_at(Path::new("/srv/tools/a/b.py")).unwrap();
        assert_eq!(
            (one.path, one.physical),
            (home().join(".claude/skills/x"), "/srv/tools".into())
        );
        let two = governed.artifact_at(Path::new("/srv/all/y/b.py")).unwrap();
        assert_eq!(
            (two.path, two.physical),
            (home().join(".codex/skills/y"), "/srv/all/y".into())
        );
        assert_eq!(governed.artifact_at(Path::new("/srv/toolsmith/a")), None);
    }

    #[test]
    fn the_newest_projects_are_kept() {
        let table = defenseclaw_places::embedded().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let projects: Vec<String> = (0..=MAX_PROJECTS)
            .map(|n| {
                let path = folder.path().join(n.to_string());
                std::fs::create_dir(&path).unwrap();
                path.to_string_lossy().into_owned()
            })
            .collect();
        let scope = GateScope {
            projects: projects.clone(),
            ..GateScope::default()
        };
        let governed = Governed::new(&table, &[], &[], &scope);
        let look = |n: usize| {
            governed.look(
                &folder
                    .path()
                    .canonicalize()
                    .unwrap()
                    .join(n.to_string())
                    .join(".mcp.json"),
            )
        };
        assert!(
            look(0).artifact.is_none() && look(1).artifact.is_some() && look(MAX_PROJECTS).artifact.is_some()
        );
    }
}
