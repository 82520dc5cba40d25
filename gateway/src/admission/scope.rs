//! What the gate governs: homes and projects of sessions, and under which rules.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::Path;

use defenseclaw_model::gate::GateScope;

/// Most projects of one user. Each costs the agent some marks; a person works in a few.
const MAX_OF_USER: usize = 256;
/// Most projects of all users.
const MAX_PROJECTS: usize = 1_024;
/// Most homes beside those of the password database.
const MAX_HOMES: usize = 256;
/// Folders that were looked at already; beyond it they are looked at anew.
const MAX_SEEN: usize = 8_192;

/// Homes, projects and the rules' number.
#[derive(Debug, Default)]
pub(super) struct Scope {
    homes: VecDeque<String>,
    projects: VecDeque<(u32, String)>,
    seen: HashSet<(u32, String, String)>,
    revision: u64,
}

/// What was looked up of a session's folder.
pub(super) struct Found {
    pub(super) uid: u32,
    pub(super) project: Option<String>,
    pub(super) home: Option<String>,
}

impl Scope {
    /// The rules have changed. The number is a time, so that it rises over restarts too.
    pub(super) fn changed(&mut self, now_ns: u64) {
        self.revision = now_ns.max(self.revision + 1);
    }

    /// Whether a session's folder has to be looked up.
    pub(super) fn is_new(&mut self, uid: u32, cwd: &str, home: &str) -> bool {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        self.seen.insert((uid, cwd.to_owned(), home.to_owned()))
    }

    /// Takes what was looked up; says whether something is governed now that was not before.
    pub(super) fn take(&mut self, found: Found) -> bool {
        let mut grown = false;
        if let Some(home) = found.home.filter(|home| !self.homes.contains(home)) {
            if self.homes.len() >= MAX_HOMES {
                self.homes.pop_front();
            }
            self.homes.push_back(home);
            grown = true;
        }
        let known = |project: &String| self.projects.iter().any(|(_, known)| known == project);
        if let Some(project) = found.project.filter(|project| !known(project)) {
            let of_user = |(uid, _): &&(u32, String)| *uid == found.uid;
            let full = self.projects.len() >= MAX_PROJECTS;
            // A user makes room at their own cost: nobody talks another's project out of the gate.
            if full || self.projects.iter().filter(of_user).count() >= MAX_OF_USER {
                let Some(at) = self.projects.iter().position(|(uid, _)| *uid == found.uid) else {
                    tracing::warn!("{project} is not governed: {MAX_PROJECTS} projects are");
                    return grown;
                };
                if let Some((_, dropped)) = self.projects.remove(at) {
                    tracing::warn!("{dropped} is no longer governed: {project} takes its place");
                }
            }
            self.projects.push_back((found.uid, project));
            grown = true;
        }
        grown
    }

    pub(super) fn projects(&self) -> usize {
        self.projects.len()
    }

    /// As the agent is told.
    pub(super) fn frame(&self) -> GateScope {
        GateScope {
            homes: self.homes.iter().cloned().collect(),
            projects: self.projects.iter().map(|(_, project)| project.clone()).collect(),
            revision: self.revision,
        }
    }
}

/// Looks up the project of a folder: the nearest one above with a repository, else itself; never a home, and never the root. Asks the
/// file system.
pub(super) fn look_up(uid: u32, cwd: &str, home: &str) -> Found {
    let folder = Path::new(cwd);
    let home_path = Some(Path::new(home)).filter(|home| home.is_absolute() && home.parent().is_some());
    let is_folder = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.is_dir());
    let project = (folder.is_absolute() && is_folder(folder)).then(|| {
        folder
            .ancestors()
            .take_while(|above| Some(*above) != home_path && above.parent().is_some())
            .find(|above| fs::symlink_metadata(above.join(".git")).is_ok())
            .unwrap_or(folder)
    });
    let project = project.filter(|project| project.parent().is_some() && Some(*project) != home_path);
    let text = |path: &Path| path.to_str().map(str::to_owned);
    Found {
        uid,
        project: project.and_then(text),
        home: home_path.filter(|home| is_folder(home)).and_then(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_the_repository_above_and_never_a_home() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (home, inner) = (root.join("home"), root.join("home/work/src/deep"));
        fs::create_dir_all(&inner).unwrap();
        let find = |path: &Path| look_up(1, path.to_str().unwrap(), home.to_str().unwrap());
        assert_eq!(find(&inner).project.as_deref(), inner.to_str(), "no repository");
        fs::create_dir(root.join("home/work/.git")).unwrap();
        assert_eq!(find(&inner).project.as_deref(), root.join("home/work").to_str());
        assert_eq!(find(&inner).home.as_deref(), home.to_str());
        fs::create_dir(home.join(".git")).unwrap();
        fs::remove_dir(root.join("home/work/.git")).unwrap();
        assert_eq!(
            find(&inner).project.as_deref(),
            inner.to_str(),
            "the home's own is none"
        );
        assert_eq!(find(&home).project, None);
        assert_eq!(look_up(1, "/", "").project, None);
        assert_eq!(look_up(1, "work", "x").project, None);
        assert_eq!(look_up(1, "/nowhere/at/all", "/").home, None);
    }

    #[test]
    fn one_user_s_folders_push_out_none_of_another_s() {
        let mut scope = Scope::default();
        let found = |uid, number: usize| Found {
            uid,
            project: Some(format!("/p/{uid}/{number}")),
            home: None,
        };
        assert!(scope.take(found(7, 0)) && !scope.take(found(7, 0)));
        for number in 0..MAX_OF_USER + 9 {
            scope.take(found(8, number));
        }
        assert_eq!(scope.projects(), 1 + MAX_OF_USER);
        assert!(scope.frame().projects.contains(&"/p/7/0".to_owned()));
        for uid in 9..20 {
            for number in 0..MAX_OF_USER {
                scope.take(found(uid, number));
            }
        }
        assert_eq!(scope.projects(), MAX_PROJECTS);
        assert!(scope.frame().projects.contains(&"/p/7/0".to_owned()));
    }

    #[test]
    fn the_number_rises() {
        let mut scope = Scope::default();
        scope.changed(50);
        scope.changed(50);
        assert_eq!(scope.frame().revision, 51);
        assert!(scope.is_new(1, "/a", "") && !scope.is_new(1, "/a", ""));
    }
}
