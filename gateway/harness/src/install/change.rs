//! Setting up and tearing down.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::InstallError;
use super::edit::{self, Format, Ours, Trace};
use super::files::{self, Acting, Found};
use super::manifest::{Installed, InstalledFile, Locked, Manifest, Stage, Store};
use super::site::{PlannedFile, Site};
use super::spec::{Scope, Spec};

/// In place of a hash: the file holds more than what set-up put there, so that only our entries can be taken back.
const NOT_AS_LEFT: &str = "changed";

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file, where it really lies.
    pub file: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
    /// The lines that went (`-`) and came (`+`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
    /// Where it is kept as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<PathBuf>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not there and is now.
    Created,
    /// It was changed.
    Changed,
    /// It was as it should be.
    Unchanged,
    /// It is again, byte for byte, as it was before set-up.
    Restored,
    /// Our entries were taken out; what came after us stays.
    Cleaned,
    /// It is gone, as it was before set-up.
    Removed,
}

/// A file, what it should hold, and how it came to that.
struct Draft {
    planned: PlannedFile,
    found: Found,
    new: String,
    trace: Trace,
}

/// Puts a harness's hooks in place. Doing it again changes nothing. With `dry_run` nothing is written at all.
///
/// Every file is read and its new text made before the first one is written, so that a file that cannot be edited leaves the
/// others alone.
pub fn setup(
    site: &Site,
    spec: &Spec,
    scope: Scope,
    dry_run: bool,
    time_ns: u64,
) -> Result<Vec<Change>, InstallError> {
    let store = Store::new(&site.state);
    let planned = site.plan(spec, scope)?;
    let drafts = planned
        .into_iter()
        .map(|planned| draft(site, spec, scope, planned))
        .collect::<Result<Vec<_>, _>>()?;
    if dry_run {
        return Ok(drafts.iter().map(Draft::change).collect());
    }
    let lock = store.lock()?;
    let mut manifest = store.load()?;
    let previous = take(&mut manifest, &spec.connector, scope, &site.user.home);
    let (old, obsolete): (Vec<_>, Vec<_>) = previous
        .map(|installed| installed.files)
        .unwrap_or_default()
        .into_iter()
        .partition(|file| drafts.iter().any(|draft| draft.planned.path == file.planned.path));
    let mut installed = Installed {
        connector: spec.connector.clone(),
        scope,
        home: site.user.home.clone(),
        uid: site.user.uid,
        gid: site.user.gid,
        client: site.client.clone(),
        files: drafts.iter().map(|draft| draft.record(&old)).collect(),
        stage: Stage::Arriving,
        time_ns,
    };
    for draft in &drafts {
        store.back_up(&lock, &draft.found)?;
    }
    save_with(&store, &lock, &manifest, &installed)?;
    for file in &obsolete {
        take_back(&store, &installed, file, site.privileged, false)?;
    }
    let changes = write(site, scope, &store, &drafts, &mut installed.files)?;
    installed.stage = Stage::Installed;
    save_with(&store, &lock, &manifest, &installed)?;
    Ok(changes)
}

/// Whether an earlier set-up put a value into a file that this one would not: then that one is to be taken back first.
pub fn leaves_something(site: &Site, spec: &Spec, scope: Scope) -> Result<bool, InstallError> {
    let known = take(
        &mut Store::new(&site.state).load()?,
        &spec.connector,
        scope,
        &site.user.home,
    );
    let planned = site.plan(spec, scope)?;
    let wanted: Vec<_> = planned
        .iter()
        .flat_map(|file| &file.edits)
        .map(edit::Edit::at)
        .collect();
    let files = known.map(|installed| installed.files).unwrap_or_default();
    let mut edits = files.iter().flat_map(|file| &file.planned.edits);
    Ok(edits.any(|old| matches!(old, edit::Edit::Set { at, .. } if !wanted.contains(&at.as_slice()))))
}

/// Writes what the drafts say, and notes in the manifest's records which folders that made.
fn write(
    site: &Site,
    scope: Scope,
    store: &Store,
    drafts: &[Draft],
    records: &mut [InstalledFile],
) -> Result<Vec<Change>, InstallError> {
    let mut changes = Vec::new();
    for (draft, file) in drafts.iter().zip(records) {
        let mut change = draft.change();
        if change.kind != ChangeKind::Unchanged {
            let _acting = act(&site.user, scope, site.privileged);
            let public = scope == Scope::System;
            let made = files::make_folders(&draft.found.path, public)?;
            file.folders.extend(
                made.into_iter()
                    .filter(|folder| !file.folders.contains(folder))
                    .collect::<Vec<_>>(),
            );
            files::replace(&draft.found, draft.new.as_bytes(), public)?;
        }
        change.backup = file.before.as_ref().map(|hash| store.backup(hash));
        changes.push(change);
    }
    Ok(changes)
}

/// What became of taking a harness's hooks away.
#[derive(Debug, Default)]
pub struct Withdrawn {
    /// The files that are without our hooks now.
    pub changes: Vec<Change>,
    /// Those that are not, and why. The manifest still names them, so that it can be tried again.
    pub failed: Vec<(PathBuf, InstallError)>,
}

/// Takes a harness's hooks away again. A file that nobody changed since becomes, byte for byte, what it was before set-up;
/// from another one only our entries are taken. The first file that is refused is told.
pub fn teardown(site: &Site, spec: &Spec, scope: Scope, dry_run: bool) -> Result<Vec<Change>, InstallError> {
    let withdrawn = withdraw(site, spec, scope, dry_run)?;
    match withdrawn.failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(withdrawn.changes),
    }
}

/// The same for as many of its files as possible: one that is refused does not keep the others hooked.
pub fn withdraw(site: &Site, spec: &Spec, scope: Scope, dry_run: bool) -> Result<Withdrawn, InstallError> {
    let store = Store::new(&site.state);
    let mut manifest = store.load()?;
    let known = take(&mut manifest, &spec.connector, scope, &site.user.home);
    let mut installed = match known {
        Some(installed) => installed,
        None => without_manifest(site, spec, scope)?,
    };
    // What no manifest names needs none to be taken away.
    if dry_run || !store.is_there() {
        return Ok(take_all_back(&store, &installed, site.privileged, dry_run));
    }
    let lock = store.lock()?;
    // Nobody else came between: whoever writes the manifest holds the lock.
    let mut manifest = store.load()?;
    let _ = take(&mut manifest, &spec.connector, scope, &site.user.home);
    installed.stage = Stage::Leaving;
    save_with(&store, &lock, &manifest, &installed)?;
    let withdrawn = take_all_back(&store, &installed, site.privileged, false);
    let left = |file: &InstalledFile| {
        let mut failed = withdrawn.failed.iter();
        failed.any(|(path, _)| *path == file.planned.path)
    };
    installed.files.retain(left);
    if !installed.files.is_empty() {
        manifest.installed.push(installed);
    }
    store.save(&lock, &manifest)?;
    store.sweep(&lock, &manifest);
    Ok(withdrawn)
}

fn take_all_back(store: &Store, installed: &Installed, privileged: bool, dry_run: bool) -> Withdrawn {
    let mut withdrawn = Withdrawn::default();
    for file in installed.files.iter().rev() {
        match take_back(store, installed, file, privileged, dry_run) {
            Ok(change) => withdrawn.changes.push(change),
            // Its folder, or the whole home, is gone: there is nothing left to take back.
            Err(InstallError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                withdrawn.changes.push(Change {
                    file: file.planned.path.clone(),
                    kind: ChangeKind::Unchanged,
                    diff: String::new(),
                    backup: None,
                });
            }
            Err(error) => withdrawn.failed.push((file.planned.path.clone(), error)),
        }
    }
    withdrawn
}

/// Entries of ours that no manifest knows of: it was lost, or someone put them there by hand.
fn without_manifest(site: &Site, spec: &Spec, scope: Scope) -> Result<Installed, InstallError> {
    let mut files = Vec::new();
    for planned in site.plan(spec, scope)? {
        let _acting = act(&site.user, scope, site.privileged);
        let found = files::find(&planned.path, boundary(site, scope).as_deref())?;
        let ours = Ours {
            connector: &spec.connector,
        };
        let present = match (&found.bytes, planned.format) {
            (None, _) => false,
            (Some(bytes), Format::Whole) => planned
                .content
                .as_ref()
                .is_some_and(|text| text.as_bytes() == bytes),
            (Some(_), format) => {
                let edits = resolved(&planned, &found)?;
                let presence = edit::presence(found.text()?, format, &edits, ours);
                presence.map_err(|source| refused(&found.path, source))? != edit::Presence::Missing
            }
        };
        if present {
            files.push(InstalledFile {
                planned: PlannedFile {
                    edits: resolved(&planned, &found)?,
                    ..planned
                },
                trace: Trace::default(),
                before: None,
                after: String::new(),
                folders: Vec::new(),
            });
        }
    }
    if files.is_empty() {
        return Err(InstallError::NotInstalled {
            connector: spec.connector.clone(),
            scope: scope.as_str(),
        });
    }
    Ok(Installed {
        connector: spec.connector.clone(),
        scope,
        home: site.user.home.clone(),
        uid: site.user.uid,
        gid: site.user.gid,
        client: site.client.clone(),
        files,
        stage: Stage::Leaving,
        time_ns: 0,
    })
}

fn draft(site: &Site, spec: &Spec, scope: Scope, planned: PlannedFile) -> Result<Draft, InstallError> {
    let _acting = act(&site.user, scope, site.privileged);
    let found = files::find(&planned.path, boundary(site, scope).as_deref())?;
    let (planned, new, trace) = renewed(&spec.connector, planned, &found)?;
    Ok(Draft {
        planned,
        found,
        new,
        trace,
    })
}

/// What a file has to hold so that ours is in it.
pub(super) fn renewed(
    connector: &str,
    planned: PlannedFile,
    found: &Found,
) -> Result<(PlannedFile, String, Trace), InstallError> {
    if let Some(text) = planned.content.clone() {
        return Ok((planned, text, Trace::default()));
    }
    let edits = resolved(&planned, found)?;
    let (new, trace) = edit::apply(found.text()?, planned.format, &edits, Ours { connector })
        .map_err(|source| refused(&found.path, source))?;
    let planned = PlannedFile {
        edits,
        wrapper: None,
        ..planned
    };
    Ok((planned, new, trace))
}

fn resolved(planned: &PlannedFile, found: &Found) -> Result<Vec<edit::Edit>, InstallError> {
    if planned.wrapper.is_none() || planned.format == Format::Whole {
        return Ok(planned.edits.clone());
    }
    let value = edit::read(found.text()?, planned.format).map_err(|source| refused(&found.path, source))?;
    Ok(planned.edits_for(&value))
}

fn refused(path: &Path, source: edit::EditError) -> InstallError {
    InstallError::Edit {
        path: path.to_owned(),
        source,
    }
}

/// Where links may lead: anywhere for someone's own files, else no further than the files in question lie.
fn boundary(site: &Site, scope: Scope) -> Option<PathBuf> {
    (site.privileged || scope == Scope::System).then(|| site.boundary(scope))
}

fn act(user: &super::User, scope: Scope, privileged: bool) -> Acting {
    Acting::as_user(user, privileged && scope == Scope::User)
}

fn take(manifest: &mut Manifest, connector: &str, scope: Scope, home: &Path) -> Option<Installed> {
    let at = manifest
        .installed
        .iter()
        .position(|installed| installed.is(connector, scope, home))?;
    Some(manifest.installed.remove(at))
}

fn save_with(store: &Store, lock: &Locked, others: &Manifest, one: &Installed) -> Result<(), InstallError> {
    let mut manifest = others.clone();
    manifest.installed.push(one.clone());
    store.save(lock, &manifest)
}

/// Undoes what was done to one file.
fn take_back(
    store: &Store,
    installed: &Installed,
    file: &InstalledFile,
    privileged: bool,
    dry_run: bool,
) -> Result<Change, InstallError> {
    let before = file.before.as_ref().and_then(|hash| store.backed_up(hash));
    let user = super::User {
        uid: installed.uid,
        gid: installed.gid,
        home: installed.home.clone(),
    };
    let _acting = act(&user, installed.scope, privileged);
    let limit = (privileged && installed.scope == Scope::User).then_some(installed.home.as_path());
    let found = files::find(&file.planned.path, limit)?;
    let (kind, new) = taken_back(&installed.connector, file, &found, before)?;
    let change = Change {
        file: found.path.clone(),
        kind,
        diff: diff(&text_of(&found), new.as_deref().unwrap_or_default()),
        backup: None,
    };
    if !dry_run {
        match (&new, kind) {
            (_, ChangeKind::Unchanged) => {}
            (Some(text), _) => files::replace(&found, text.as_bytes(), installed.scope == Scope::System)?,
            (None, _) => files::remove(&found, &file.folders)?,
        }
    }
    Ok(change)
}

/// What is to become of a file, and its text; without one it goes.
fn taken_back(
    connector: &str,
    file: &InstalledFile,
    found: &Found,
    before: Option<Vec<u8>>,
) -> Result<(ChangeKind, Option<String>), InstallError> {
    let planned = &file.planned;
    if found.bytes.is_none() {
        return Ok((ChangeKind::Unchanged, None));
    }
    let untouched = found.hash().as_deref() == Some(file.after.as_str());
    let restored = before.and_then(|bytes| String::from_utf8(bytes).ok());
    match (
        untouched || planned.format == Format::Whole,
        &file.before,
        restored,
    ) {
        (true, None, _) if untouched || planned.format == Format::Whole => {
            return Ok((ChangeKind::Removed, None));
        }
        (true, Some(_), Some(text)) => return Ok((ChangeKind::Restored, Some(text))),
        _ if planned.format == Format::Whole => return Ok((ChangeKind::Removed, None)),
        _ => {}
    }
    let text = found.text()?;
    let new = edit::undo(
        text,
        planned.format,
        &planned.edits,
        &file.trace,
        Ours { connector },
    )
    .map_err(|source| refused(&found.path, source))?;
    if new == text {
        return Ok((ChangeKind::Unchanged, Some(new)));
    }
    let left = edit::read(&new, planned.format).map_err(|source| refused(&found.path, source))?;
    let empty = left.as_object().is_some_and(serde_json::Map::is_empty);
    if file.before.is_none() && empty && !file.after.is_empty() {
        return Ok((ChangeKind::Removed, None));
    }
    Ok((ChangeKind::Cleaned, Some(new)))
}

impl Draft {
    fn change(&self) -> Change {
        let old = text_of(&self.found);
        let kind = match &self.found.bytes {
            None => ChangeKind::Created,
            Some(_) if old == self.new => ChangeKind::Unchanged,
            Some(_) => ChangeKind::Changed,
        };
        Change {
            file: self.found.path.clone(),
            kind,
            diff: diff(&old, &self.new),
            backup: None,
        }
    }

    /// The manifest's record. What an earlier set-up noted of the file before it still holds.
    fn record(&self, old: &[InstalledFile]) -> InstalledFile {
        let earlier = old.iter().find(|file| file.planned.path == self.planned.path);
        let mut trace = earlier.map(|file| file.trace.clone()).unwrap_or_default();
        trace.created.extend(
            self.trace
                .created
                .iter()
                .filter(|at| !trace.created.contains(at))
                .cloned()
                .collect::<Vec<_>>(),
        );
        for (at, value) in &self.trace.replaced {
            if !trace.replaced.iter().any(|(known, _)| known == at) {
                trace.replaced.push((at.clone(), value.clone()));
            }
        }
        let now = self.found.hash();
        let (before, exact) = match earlier {
            // As set-up left it, or as it was because set-up was cut off: the way back is the same.
            Some(file) if now.as_ref() == Some(&file.after) || now == file.before => {
                (file.before.clone(), true)
            }
            // Whoever changed it since wants it so: what they did must stay.
            Some(file) => (file.before.clone(), false),
            None => (now, true),
        };
        InstalledFile {
            planned: self.planned.clone(),
            trace,
            before,
            after: if exact {
                files::hash(self.new.as_bytes())
            } else {
                NOT_AS_LEFT.to_owned()
            },
            folders: earlier.map(|file| file.folders.clone()).unwrap_or_default(),
        }
    }
}

fn text_of(found: &Found) -> String {
    String::from_utf8_lossy(found.bytes.as_deref().unwrap_or_default()).into_owned()
}

/// The lines between the first and the last that differ. Linear, and exact enough for entries that stand together.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let lines = |lines: &[&str], sign: char| -> String {
        lines[..lines.len() - tail]
            .iter()
            .map(|line| format!("{sign}{line}\n"))
            .collect()
    };
    lines(old, '-') + &lines(new, '+')
}
