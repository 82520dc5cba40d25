//! What to look at, what changed since the last round, and what to record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use defenseclaw_harness::install::{Health, Installed, Manifest, Scope, Stage, Store, check, repair};
use defenseclaw_model::decision::{Finding, Severity};
use defenseclaw_model::record::RecordBody;

/// How often a hook is put back within [`WINDOW`]. Who takes it away more often than that is not beaten by putting it back;
/// the records say so, and a person has to act.
const MOST_REPAIRS: usize = 5;
/// How many changes of one installation are recorded within [`WINDOW`]: someone who toggles a hook must not fill the ledger.
const MOST_REPORTS: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// An installation, by what tells it from others.
type Key = (String, Scope, PathBuf);
/// What of a file changes whenever its content, place or rights do. The change time cannot be set back.
type Look = Option<(u64, u64, u64, i64, i64, u32, u32)>;

/// The rounds so far.
pub(super) struct Rounds {
    store: Store,
    manifest: Manifest,
    manifest_look: Look,
    /// Why the manifest is not believed at present.
    distrusted: Option<String>,
    watched: BTreeMap<Key, Watched>,
    /// Whether there was a round: what was installed before the first is no news.
    begun: bool,
}

struct Watched {
    installed: Installed,
    looks: Vec<Look>,
    health: BTreeMap<PathBuf, Health>,
    repairs: VecDeque<Instant>,
    reports: VecDeque<Instant>,
    held_back: u64,
}

impl Rounds {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            store: Store::new(state),
            manifest: Manifest::default(),
            manifest_look: None,
            distrusted: None,
            watched: BTreeMap::new(),
            begun: false,
        }
    }

    /// The folders in which something may change that matters: of each file, the deepest that is there.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let files = self
            .watched
            .values()
            .flat_map(|watched| paths(&watched.installed));
        let mut folders = BTreeSet::new();
        for path in files.chain(std::iter::once(self.store.file())) {
            let real = path.canonicalize().ok();
            // Of a link, also where it leads: the file there can be replaced under it.
            let both = [path.parent(), real.as_deref().and_then(Path::parent)];
            folders.extend(both.into_iter().flatten().map(existing));
        }
        folders
    }

    /// One round: what there is to record, each list belonging together.
    pub(super) fn round(&mut self, now: Instant) -> Vec<Vec<RecordBody>> {
        let mut news = self.read_manifest();
        self.begun = true;
        for watched in self.watched.values_mut() {
            news.extend(watched.round(now));
        }
        news
    }

    fn read_manifest(&mut self) -> Vec<Vec<RecordBody>> {
        let file = self.store.file();
        let seen = look(&file);
        if self.begun && seen == self.manifest_look {
            return Vec::new();
        }
        self.manifest_look = seen;
        // Teardown leaves an empty list behind. A list that is gone altogether was taken away by someone else.
        if seen.is_none() && !self.watched.is_empty() {
            return self
                .distrust("it is gone; what it named is still watched until the gateway stops".into());
        }
        match self.store.load() {
            Ok(manifest) => {
                self.distrusted = None;
                let news = self.compare(&manifest);
                self.manifest = manifest;
                news
            }
            Err(error) => self.distrust(error.to_string()),
        }
    }

    fn distrust(&mut self, why: String) -> Vec<Vec<RecordBody>> {
        if self.distrusted.as_ref() == Some(&why) {
            return Vec::new();
        }
        self.distrusted = Some(why.clone());
        let file = self.store.file().display().to_string();
        tracing::error!("the list of installed hooks, {file}: {why}");
        vec![vec![finding(
            "tamper.install-manifest",
            format!("the list of installed hooks is not to be believed: {why}"),
            "find out who changed it, move it away and set the harnesses up again".into(),
            vec![file],
        )]]
    }

    /// What was installed or removed since the last round.
    fn compare(&mut self, manifest: &Manifest) -> Vec<Vec<RecordBody>> {
        let mut news = Vec::new();
        let mut left = std::mem::take(&mut self.watched);
        for installed in manifest
            .installed
            .iter()
            .filter(|installed| installed.stage == Stage::Installed)
        {
            let key = key(installed);
            let watched = match left.remove(&key) {
                Some(mut watched) => {
                    if watched.installed.files != installed.files {
                        watched.looks.clear();
                    }
                    watched.installed = installed.clone();
                    watched
                }
                None => {
                    if self.begun {
                        news.push(vec![told(installed, "installed", "by set-up".into())]);
                    }
                    Watched::new(installed.clone())
                }
            };
            self.watched.insert(key, watched);
        }
        for (key, watched) in left {
            // On its way in or out: neither there nor gone.
            let moving = manifest
                .installed
                .iter()
                .any(|installed| self::key(installed) == key);
            if moving {
                self.watched.insert(
                    key,
                    Watched {
                        looks: Vec::new(),
                        ..watched
                    }
                    .paused(manifest),
                );
            } else {
                news.push(vec![told(&watched.installed, "removed", "by teardown".into())]);
            }
        }
        news
    }
}

impl Watched {
    fn new(installed: Installed) -> Self {
        Self {
            installed,
            looks: Vec::new(),
            health: BTreeMap::new(),
            repairs: VecDeque::new(),
            reports: VecDeque::new(),
            held_back: 0,
        }
    }

    /// The same, in the stage that the manifest gives it.
    fn paused(mut self, manifest: &Manifest) -> Self {
        self.looks.clear();
        let own = key(&self.installed);
        if let Some(now) = manifest.installed.iter().find(|installed| key(installed) == own) {
            self.installed = now.clone();
        }
        self
    }

    fn round(&mut self, now: Instant) -> Vec<Vec<RecordBody>> {
        if self.installed.stage != Stage::Installed {
            return Vec::new();
        }
        let looks: Vec<_> = paths(&self.installed).map(|path| look(&path)).collect();
        if looks == self.looks {
            return Vec::new();
        }
        let mut news = Vec::new();
        for (path, health) in check(&self.installed) {
            let before = self
                .health
                .insert(path.clone(), health.clone())
                .unwrap_or(Health::Whole);
            if before != health {
                news.extend(self.changed(&path, &health, now));
            }
        }
        self.looks = paths(&self.installed).map(|path| look(&path)).collect();
        news
    }

    /// Records a change, and puts the hook back where that is needed and allowed.
    fn changed(&mut self, path: &Path, health: &Health, now: Instant) -> Option<Vec<RecordBody>> {
        let (state, what) = match health {
            Health::Whole => ("repaired", "someone else put it back".to_owned()),
            Health::Unknown(why) => ("unwatched", why.clone()),
            Health::Missing(what) => ("missing", what.clone()),
            Health::Altered(what) => ("changed", what.clone()),
        };
        if !within(&mut self.reports, MOST_REPORTS, now) {
            self.held_back += 1;
            self.put_back(path, now);
            return None;
        }
        let mut detail = what.clone();
        if self.held_back > 0 {
            detail.push_str(&format!(
                "; {} changes before this were only counted",
                self.held_back
            ));
            self.held_back = 0;
        }
        let mut news = vec![self.told(path, state, detail)];
        if matches!(health, Health::Missing(_) | Health::Altered(_)) {
            tracing::warn!(
                "the hook of {} in {}: {what}",
                self.installed.connector,
                path.display()
            );
            news.push(finding(
                "tamper.hook-removed",
                format!("the DefenseClaw hook of {} is not as it was installed: {what}", self.installed.connector),
                format!(
                    "see in the records before this one who did it, and run `defenseclaw-cli setup {}` again if it was not put back",
                    self.installed.connector
                ),
                vec![path.display().to_string()],
            ));
            let (state, detail) = self.put_back(path, now);
            news.push(self.told(path, state, detail));
        }
        Some(news)
    }

    fn put_back(&mut self, path: &Path, now: Instant) -> (&'static str, String) {
        if path == self.installed.client {
            return (
                "unrepaired",
                "the hook client cannot be put back: install the package anew".into(),
            );
        }
        if !within(&mut self.repairs, MOST_REPAIRS, now) {
            let seconds = WINDOW.as_secs();
            return (
                "unrepaired",
                format!("it was put back {MOST_REPAIRS} times within {seconds} s and taken away again"),
            );
        }
        let privileged = nix::unistd::geteuid().is_root() && self.installed.uid != 0;
        if let Err(error) = repair(&self.installed, privileged) {
            return ("unrepaired", error.to_string());
        }
        let after = check(&self.installed).into_iter().find(|(file, _)| file == path);
        match after {
            Some((_, Health::Whole)) => {
                self.health.insert(path.to_owned(), Health::Whole);
                (
                    "repaired",
                    "its entries were put back; sessions that run keep what they began with".into(),
                )
            }
            Some((_, Health::Missing(what) | Health::Altered(what) | Health::Unknown(what))) => {
                ("unrepaired", what)
            }
            None => ("unrepaired", "it is no longer watched".into()),
        }
    }

    fn told(&self, path: &Path, state: &str, detail: String) -> RecordBody {
        RecordBody::Harness {
            connector: self.installed.connector.clone(),
            file: path.display().to_string(),
            state: state.to_owned(),
            detail,
        }
    }
}

fn key(installed: &Installed) -> Key {
    (
        installed.connector.clone(),
        installed.scope,
        installed.home.clone(),
    )
}

fn paths(installed: &Installed) -> impl Iterator<Item = PathBuf> {
    let files = installed.files.iter().map(|file| file.planned.path.clone());
    files.chain(std::iter::once(installed.client.clone()))
}

fn told(installed: &Installed, state: &str, detail: String) -> RecordBody {
    let file = installed
        .files
        .first()
        .map(|file| file.planned.path.display().to_string());
    RecordBody::Harness {
        connector: installed.connector.clone(),
        file: file.unwrap_or_default(),
        state: state.to_owned(),
        detail,
    }
}

fn finding(rule: &str, message: String, remedy: String, evidence: Vec<String>) -> RecordBody {
    RecordBody::Finding {
        finding: Finding {
            rule: rule.into(),
            category: "trust-exploit".into(),
            severity: Severity::High,
            message,
            remedy,
            evidence,
            confidence: 90,
        },
        about_seq: None,
    }
}

/// Whether one more within the window is allowed; counts it if so.
fn within(times: &mut VecDeque<Instant>, most: usize, now: Instant) -> bool {
    while times
        .front()
        .is_some_and(|first| now.duration_since(*first) >= WINDOW)
    {
        times.pop_front();
    }
    let allowed = times.len() < most;
    if allowed {
        times.push_back(now);
    }
    allowed
}

/// Of what a link leads to: that is what the harness reads.
fn look(path: &Path) -> Look {
    let meta = std::fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.ctime(),
        meta.ctime_nsec(),
        meta.mode(),
        meta.uid(),
    ))
}

fn existing(folder: &Path) -> PathBuf {
    let mut folder = folder;
    while folder.symlink_metadata().is_err() {
        match folder.parent() {
            Some(parent) => folder = parent,
            None => break,
        }
    }
    folder.to_owned()
}
