//! A made-up host in a folder.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use defenseclaw_detect::scan::Scanner;
use defenseclaw_inventory::item::Details;
use defenseclaw_inventory::{Base, Inventory, Item, ItemKind, Judge, Survey};
use defenseclaw_policy::Policy;

/// 2026-11-21T10:00:00Z.
pub(crate) const NOW: u64 = 1_795_255_200_000_000_000;

/// The rules that this program was built with.
pub(crate) static JUDGE: LazyLock<Judge> =
    LazyLock::new(|| Judge::new(Scanner::embedded().unwrap(), Policy::embedded().unwrap()));

/// A folder with `etc`, `home/ada` and `src/app`.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["etc", "home/ada", "src/app"] {
            std::fs::create_dir_all(host.at(folder)).unwrap();
        }
        host
    }

    /// A path of the host.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    /// Writes a file: `~/x` in ada's home, `/x` on the host, `x` in the project.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.place(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn place(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), path.strip_prefix('/')) {
            (Some(rest), _) => self.at("home/ada").join(rest),
            (_, Some(rest)) => self.at(rest),
            _ => self.at("src/app").join(path),
        }
    }

    /// What is found there, with the rules or without.
    pub(crate) fn survey(&self, judge: Option<&Judge>) -> Inventory {
        let bases = vec![
            Base::home(&self.at("home/ada")).unwrap(),
            Base::project(&self.at("src/app")).unwrap(),
        ];
        let mut survey = Survey::new(&self.at(""), bases, judge, NOW);
        survey.host = "ada-laptop".to_owned();
        survey.run(&mut |_| {}).unwrap()
    }

    /// A path without the folder that the host lies in.
    pub(crate) fn short(&self, text: &str) -> String {
        text.replace(&self.at("").display().to_string(), "/")
    }
}

/// The items of a kind.
pub(crate) fn of(inventory: &Inventory, kind: ItemKind) -> Vec<&Item> {
    inventory.items.iter().filter(|item| item.kind == kind).collect()
}

/// The one item of that kind and name.
pub(crate) fn one<'i>(inventory: &'i Inventory, kind: ItemKind, name: &str) -> &'i Item {
    let found: Vec<_> = of(inventory, kind)
        .into_iter()
        .filter(|item| item.name == name)
        .collect();
    assert_eq!(found.len(), 1, "{kind:?} {name}: {:#?}", of(inventory, kind));
    found[0]
}

/// An item in one line, without what differs from run to run.
pub(crate) fn line(host: &Host, item: &Item) -> String {
    let details = match &item.details {
        Details::Harness { how, package, .. } => {
            let package = package
                .as_ref()
                .map(|package| format!(" {} {}", package.registry, package.name));
            format!(" by {how}{}", package.unwrap_or_default())
        }
        Details::Server(server) => {
            let command = item.command().unwrap_or_default();
            let names: Vec<&str> = server
                .env
                .iter()
                .chain(&server.headers)
                .map(String::as_str)
                .collect();
            format!(" {}: {command} [{}]", server.transport, names.join(" "))
        }
        Details::Hook { command, ours, .. } => format!(": {command}{}", if *ours { " (ours)" } else { "" }),
        Details::Model { provider, setting } => {
            format!(" at {setting} by {}", provider.as_deref().unwrap_or("-"))
        }
        Details::Extension {
            marketplace: Some(from),
            ..
        } => format!(" from {from}"),
        Details::Tool { source } => format!(" told by {source}"),
        _ => String::new(),
    };
    let version = item.version.as_deref().map(|version| format!(" {version}"));
    let line = format!(
        "{} {}{} <{}> {} {}{details}",
        item.kind.as_str(),
        item.name,
        version.unwrap_or_default(),
        item.connectors.join(" "),
        item.level.as_str(),
        item.path
    );
    host.short(&line)
}

/// A folder of a skill.
pub(crate) fn skill(name: &str) -> String {
    format!(
        "---\nname: {name}\nversion: 1.0.0\ndescription: Keeps notes in order.\nlicense: MIT\n---\n# {name}\n\nRun `make notes`.\n"
    )
}

/// Makes a link, and the folder that it lies in.
pub(crate) fn link(target: impl AsRef<Path>, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}
