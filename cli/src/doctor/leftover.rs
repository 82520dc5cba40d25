//! Hooks of ours that nobody remembers: a version was removed without them, or they were set up with another state folder.

use std::path::{Path, PathBuf};

use defenseclaw_harness::install::{Installed, Leftover, Manifest, Scope, Site, Spec, User, leftover, spec};

use super::Check;
use super::host::Host;
use crate::setup::site::Target;

/// Most homes that root looks into; where there are more, that is said.
const MAX_HOMES: usize = 256;
/// User ids of people, by the custom of distributions.
const PEOPLE: std::ops::Range<u32> = 1_000..60_000;

/// Looks through the places of every harness: of the host, of who asks, and as root of everybody.
pub(super) fn checks(host: &Host, target: &Target, installed: &[Installed]) -> Vec<Check> {
    let Ok(specs) = spec::all() else {
        return Vec::new();
    };
    let mut manifest = Manifest::default();
    manifest.installed.extend(installed.iter().cloned());
    let mut checks = Vec::new();
    let (sites, more) = sites(host, &target.site);
    for spec in specs {
        checks.extend(of_place(&target.site, spec, Scope::System, &manifest));
        for site in &sites {
            checks.extend(of_place(site, spec, Scope::User, &manifest));
        }
    }
    if more > 0 {
        let detail = format!("{more} more homes were not looked into");
        checks.push(Check::ok("leftover", "", detail).note("Run doctor as each of these users"));
    }
    if checks.is_empty() {
        let whom = match sites.len() {
            1 => "one home".to_owned(),
            number => format!("{number} homes"),
        };
        checks.push(Check::ok(
            "leftover",
            "",
            format!("no hook that nobody remembers, in {whom} and the host's places"),
        ));
    }
    checks
}

/// Who asks, and as root everybody with a home, each with their own rights; and how many are left out.
fn sites(host: &Host, own: &Site) -> (Vec<Site>, usize) {
    let mut sites = vec![own.clone()];
    if !host.is_root() {
        return (sites, 0);
    }
    let users = people(&host.read("/etc/passwd").unwrap_or_default());
    let others: Vec<User> = users
        .into_iter()
        .filter(|user| user.home != own.user.home && user.home.is_dir())
        .collect();
    let more = others.len().saturating_sub(MAX_HOMES);
    sites.extend(others.into_iter().take(MAX_HOMES).map(|user| Site {
        privileged: true,
        variables: std::collections::BTreeMap::new(),
        user,
        ..own.clone()
    }));
    (sites, more)
}

/// The people of a password database.
fn people(text: &str) -> Vec<User> {
    let person = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        (PEOPLE.contains(&uid) && home.is_absolute() && home != Path::new("/")).then_some(User {
            uid,
            gid,
            home,
        })
    };
    text.lines().filter_map(person).collect()
}

fn of_place(site: &Site, spec: &Spec, scope: Scope, manifest: &Manifest) -> Vec<Check> {
    let found = leftover(site, spec, scope, manifest).unwrap_or_default();
    found.iter().map(|left| check(site, spec, scope, left)).collect()
}

fn check(site: &Site, spec: &Spec, scope: Scope, left: &Leftover) -> Check {
    let own = site.user.uid == nix::unistd::geteuid().as_raw();
    let (sudo, whose) = match scope {
        Scope::System => ("sudo ", " --system".to_owned()),
        Scope::User if own => ("", String::new()),
        Scope::User => ("sudo ", format!(" --user {}", name(site.user.uid))),
    };
    let remedy = format!(
        "{sudo}defenseclaw-cli teardown {0}{whose} takes it away; {sudo}defenseclaw-cli setup {0}{whose} makes it this version's",
        spec.connector
    );
    let file = left.file.display();
    let found = |detail: String| Check::ok("leftover", spec.connector.clone(), detail);
    match &left.client {
        Some(client) if !client.exists() => found(format!(
            "{file} runs {}, which is gone: by its own rules {} goes on unchecked or refuses every call",
            client.display(),
            spec.title
        ))
        .fail(remedy),
        Some(client) => found(format!(
            "{file} runs {}, and no manifest knows of it",
            client.display()
        ))
        .warn(remedy),
        None => found(format!(
            "{file} names our hook client, and no manifest knows of it"
        ))
        .warn(remedy),
    }
}

fn name(uid: u32) -> String {
    let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid))
        .ok()
        .flatten();
    found.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::State;
    use super::super::testing::Place;
    use super::*;

    fn target(place: &Place) -> Target {
        let home = place.host.path("/home/ada");
        std::fs::create_dir_all(&home).unwrap();
        Target {
            site: Site {
                root: place.host.root.clone(),
                user: User {
                    uid: place.host.uid,
                    gid: nix::unistd::getegid().as_raw(),
                    home,
                },
                privileged: false,
                state: place.host.path("/var/lib/defenseclaw"),
                client: "/usr/bin/defenseclaw-hook".into(),
                fail_closed: false,
                sandboxed: false,
                variables: BTreeMap::new(),
                programs: Vec::new(),
            },
            scope: Scope::User,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_hook_that_nobody_remembers_is_found_and_one_that_is_known_is_none() {
        let place = Place::new();
        let target = target(&place);
        let settings = "/home/ada/.claude/settings.json";
        place.file(settings, "{\"model\": \"opus\"}");
        let clean = checks(&place.host, &target, &[]);
        assert_eq!(
            clean.iter().map(|check| check.state).collect::<Vec<_>>(),
            [State::Ok]
        );

        let gone = place.host.path("/opt/old/defenseclaw-hook");
        place.file(
            settings,
            &format!("{{\"hooks\": [\"{} claude-code\"]}}", gone.display()),
        );
        let left = checks(&place.host, &target, &[]);
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(
            (left[0].state, left[0].about.as_str()),
            (State::Problem, "claude-code")
        );
        assert!(
            left[0]
                .remedy
                .starts_with("defenseclaw-cli teardown claude-code takes"),
            "{left:?}"
        );

        place.file("/opt/old/defenseclaw-hook", "");
        assert_eq!(
            checks(&place.host, &target, &[])[0].state,
            State::Warning,
            "it still runs"
        );

        let known = Installed {
            connector: "claude-code".to_owned(),
            scope: Scope::User,
            home: target.site.user.home.clone(),
            uid: target.site.user.uid,
            gid: target.site.user.gid,
            client: gone,
            files: Vec::new(),
            stage: defenseclaw_harness::install::Stage::Installed,
            time_ns: 0,
        };
        assert_eq!(checks(&place.host, &target, &[known])[0].state, State::Ok);
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_searched_all_the_same() {
        let place = Place::new();
        let target = target(&place);
        place.file("/home/ada/.codex/hooks.json", "}{ \u{0} defenseclaw-hook codex");
        let left = checks(&place.host, &target, &[]);
        assert_eq!(
            (left[0].state, left[0].about.as_str()),
            (State::Warning, "codex"),
            "{left:?}"
        );
    }

    #[test]
    fn root_looks_into_the_homes_of_people_and_others_into_their_own() {
        let mut place = Place::new();
        let own = target(&place).site;
        let bob = place.host.path("/home/bob");
        std::fs::create_dir_all(&bob).unwrap();
        let line = |name: &str, uid: u32, home: &str| format!("{name}:x:{uid}:{uid}::{home}:/bin/sh\n");
        let text = [
            line("root", 0, "/root"),
            line("bob", 1001, bob.to_str().unwrap()),
            line("gone", 1002, "/nowhere/at/all"),
            line("service", 999, bob.to_str().unwrap()),
            "broken:line\n".to_owned(),
        ];
        place.file("/etc/passwd", &text.concat());
        let (sites, more) = sites(&place.host, &own);
        assert_eq!((sites.len(), more), (2, 0));
        assert!(sites[1].privileged && sites[1].user.home == bob && sites[1].user.uid == 1001);
        place.host.uid = place.host.superuser + 1;
        assert_eq!(super::sites(&place.host, &own).0.len(), 1);
    }
}
