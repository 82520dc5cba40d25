//! Who could change what the protection rests on: programs, configuration, state, sockets.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use defenseclaw_model::config::DEFAULT_CONFIG;
use defenseclaw_run::settings::Settings;

use super::Check;
use super::host::Host;
use crate::text;

/// Our programs.
pub(super) const PROGRAMS: [&str; 5] = [
    "defenseclaw-cli",
    "defenseclaw-hook",
    "defenseclaw-shell",
    "defenseclaw-gateway",
    "defenseclaw-agent",
];
/// Where packages put them.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/lib/defenseclaw"];
/// Who may write to a socket may connect to it; nothing else of its mode counts.
const WRITE: u32 = 0o222;
/// The token of the API, in the state folder unless the configuration says otherwise.
const TOKEN: &str = "api-token";
/// What else in the state folder is nobody's to read or change but the gateway's.
const KEPT: [&str; 5] = [
    "ledger.db",
    "grants.json",
    "artifact-lists.json",
    "pins.db",
    "install/manifest.json",
];

/// All of them.
pub(super) fn checks(host: &Host, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![programs(host), configuration(host, settings)];
    checks.extend(policies(host, settings));
    checks.push(state(host, settings));
    checks.push(secrets(host, settings));
    checks.extend(sockets(host, settings));
    checks
}

/// Every program of ours that is there, each once.
pub(super) fn found(host: &Host) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| host.path(folder)).collect();
    if host.root == Path::new("/") {
        let own = std::env::current_exe().and_then(|own| own.canonicalize()).ok();
        if let Some(folder) = own.as_deref().and_then(Path::parent) {
            folders.extend([folder.to_owned(), folder.join("lib")]);
            folders.extend(folder.parent().map(Path::to_owned));
        }
    }
    let all = folders
        .iter()
        .flat_map(|folder| PROGRAMS.iter().map(move |name| folder.join(name)));
    let mut found: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn programs(host: &Host) -> Check {
    let programs = found(host);
    let check = |detail: String| Check::ok("permissions", "programs", detail);
    for program in &programs {
        let Some((path, why)) = weak(host, program, &[host.superuser, host.uid]) else {
            continue;
        };
        let found = check(format!(
            "{} {why}: who changes it decides in its place",
            path.display()
        ));
        let mend = mend(&path, &why, host);
        let installed = FOLDERS
            .iter()
            .any(|folder| program.starts_with(host.path(folder)));
        return if installed {
            found.fail(mend)
        } else {
            found.note(format!(
                "It is a build of somebody's own. For more than trying out: {mend}"
            ))
        };
    }
    check(match programs.len() {
        0 => "none is in the usual places".to_owned(),
        number => format!(
            "{}, changed by nobody but their owner",
            text::counted(number as u64, "file", "files")
        ),
    })
}

/// Who may own what is configured. An instance of its own, with a configuration of its own, is its gateway's user's.
fn operators(host: &Host, settings: &Settings) -> Vec<u32> {
    let mut owners = vec![host.superuser, host.uid];
    if settings.file != host.path(DEFAULT_CONFIG) {
        owners.extend(settings.config.state.metadata().map(|meta| meta.uid()));
    }
    owners
}

fn configuration(host: &Host, settings: &Settings) -> Check {
    let folder = settings.file.parent().unwrap_or(Path::new("/"));
    let place = if settings.file.exists() {
        settings.file.as_path()
    } else {
        folder
    };
    trusted("configuration", place, host, &operators(host, settings))
}

fn policies(host: &Host, settings: &Settings) -> Option<Check> {
    let folder = settings.policies.as_ref()?;
    Some(trusted("policies", folder, host, &operators(host, settings)))
}

fn trusted(about: &'static str, place: &Path, host: &Host, owners: &[u32]) -> Check {
    let check = |detail: String| Check::ok("permissions", about, detail);
    if !place.exists() {
        return check(missing(host, place));
    }
    match weak(host, place, owners) {
        Some((path, why)) => check(format!("{} {why}", path.display())).fail(mend(&path, &why, host)),
        None => check(format!("{}: changed by nobody but its owner", place.display())),
    }
}

fn state(host: &Host, settings: &Settings) -> Check {
    let folder = &settings.config.state;
    let check = |detail: String| Check::ok("permissions", "state", detail);
    let Ok(folder_meta) = folder.metadata() else {
        let seen = check(missing(host, folder));
        return if host.is_root() {
            seen.note("It is made when the gateway first starts: sudo systemctl start defenseclaw-gateway")
        } else {
            seen.note(host.as_root())
        };
    };
    let owners = [host.superuser, host.uid, folder_meta.uid()];
    if let Some((path, why)) = weak(host, folder, &owners) {
        return check(format!(
            "{} {why}: who changes it rewrites the trail",
            path.display()
        ))
        .fail(mend(&path, &why, host));
    }
    for name in KEPT {
        let file = folder.join(name);
        let Ok(meta) = file.symlink_metadata() else {
            continue;
        };
        if !meta.is_file() {
            return check(format!("{} is no plain file", file.display())).fail(format!(
                "ls -l {0}; move it away while the gateway is stopped",
                file.display()
            ));
        }
        let mut owners = owners.to_vec();
        if is_of_group(folder_meta.mode(), folder_meta.gid(), meta.gid()) {
            owners.push(meta.uid());
        }
        if let Some(why) = weakness(host, &meta, &owners) {
            return check(format!("{} {why}", file.display())).fail(mend(&file, &why, host));
        }
        if meta.mode() & 0o004 != 0 && folder_meta.mode() & 0o001 != 0 && name == KEPT[0] {
            return check(format!(
                "{} can be read by every user: it says what everybody's agents did",
                file.display()
            ))
            .warn(format!("sudo chmod 0750 {}", folder.display()));
        }
    }
    let (folder, uid, gid) = (folder.display(), folder_meta.uid(), folder_meta.gid());
    check(if is_of_group(folder_meta.mode(), gid, gid) {
        format!("{folder}: changed by user {uid} and group {gid} alone")
    } else {
        format!("{folder}: changed by user {uid} alone")
    })
}

/// Whether a file is of the group that its folder is given to. Packages give the state to root and to the service's group, whose one
/// member makes files there, and none but a file's owner takes it away.
fn is_of_group(folder: u32, group: u32, file: u32) -> bool {
    folder & 0o1020 == 0o1020 && folder & 0o002 == 0 && file == group
}

/// What is said of a place that cannot be seen.
fn missing(host: &Host, place: &Path) -> String {
    let or = if host.is_root() {
        ""
    } else {
        ", or not to be seen by this user"
    };
    format!("{} is not there{or}", place.display())
}

/// The API's token is whoever's may read it.
fn secrets(host: &Host, settings: &Settings) -> Check {
    let named = settings
        .config
        .api
        .as_ref()
        .and_then(|api| api.token_file.clone());
    let token = named.unwrap_or_else(|| settings.config.state.join(TOKEN));
    let check = |detail: String| Check::ok("permissions", "keys", detail);
    match token.symlink_metadata() {
        Ok(meta) if !meta.is_file() || meta.mode() & 0o077 != 0 => check(format!(
            "{} can be read by others, who may ask the API with it",
            token.display()
        ))
        .fail(format!(
            "sudo rm {} && sudo systemctl restart defenseclaw-gateway: a new one is made",
            token.display()
        )),
        Ok(_) => check(format!("{} is its owner's alone", token.display())),
        Err(_) => check(missing(host, &token)),
    }
}

fn sockets(host: &Host, settings: &Settings) -> Vec<Check> {
    let socket = &settings.socket;
    let agents = settings.config.agent_socket();
    let mut checks = Vec::new();
    let owner = settings
        .config
        .state
        .metadata()
        .map_or(host.superuser, |meta| meta.uid());
    let owners = [host.superuser, host.uid, owner];
    for (path, mode, for_whom) in [
        (socket, 0o666, "every user's harnesses"),
        (&agents, 0o600, "the agent alone"),
    ] {
        let about = path.display().to_string();
        // Whether it answers is another check's.
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        let check = |detail: String| Check::ok("socket", about.clone(), detail);
        let restart = "sudo systemctl restart defenseclaw-gateway";
        checks.push(if !meta.file_type().is_socket() {
            check("is no socket".to_owned()).fail(format!("sudo rm {about} && {restart}"))
        } else if !owners.contains(&meta.uid()) {
            check(format!(
                "belongs to user {}, who answers in the gateway's place",
                meta.uid()
            ))
            .fail(format!("sudo fuser -v {about}; sudo rm {about} && {restart}"))
        } else if let Some((folder, why)) = path.parent().and_then(|folder| weak(host, folder, &owners)) {
            check(format!(
                "{} {why}: who changes it puts another socket there",
                folder.display()
            ))
            .fail(mend(&folder, &why, host))
        } else if meta.mode() & WRITE == mode & WRITE {
            check(format!("mode {:04o}, for {for_whom}", meta.mode() & 0o777))
        } else if meta.mode() & WRITE & !mode != 0 {
            check(format!(
                "mode {:04o}: more than {for_whom} may connect",
                meta.mode() & 0o777
            ))
            .fail(restart)
        } else {
            check(format!(
                "mode {:04o}: not {for_whom} may connect",
                meta.mode() & 0o777
            ))
            .warn(restart)
        });
    }
    checks
}

/// The first place on the way to a file that somebody else could change, and how.
pub(super) fn weak(host: &Host, path: &Path, owners: &[u32]) -> Option<(PathBuf, String)> {
    let real = path.canonicalize().ok()?;
    let root = host.root.canonicalize().ok()?;
    let mut way = real.ancestors().take_while(|place| place.starts_with(&root));
    way.find_map(|place| {
        let why = weakness(host, &place.symlink_metadata().ok()?, owners)?;
        Some((place.to_owned(), why))
    })
}

fn weakness(host: &Host, meta: &Metadata, owners: &[u32]) -> Option<String> {
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    // In a folder with the sticky bit only its owner renames a file.
    let sticky = meta.is_dir() && mode & 0o1000 != 0;
    if uid != host.superuser && !owners.contains(&uid) {
        return Some(format!("belongs to user {uid}"));
    }
    if mode & 0o002 != 0 && !sticky {
        return Some("can be changed by every user".to_owned());
    }
    // A user's own group has the user's number, by the custom of every distribution that makes such groups.
    let private = gid == uid || gid == host.superuser || gid == 0;
    (mode & 0o020 != 0 && !sticky && !private).then(|| format!("can be changed by group {gid}"))
}

fn mend(path: &Path, why: &str, host: &Host) -> String {
    let sudo = if host.is_root() { "" } else { "sudo " };
    let path = path.display();
    if why.starts_with("belongs") {
        format!("{sudo}chown root:root {path}, once you know who made it")
    } else {
        format!("{sudo}chmod go-w {path}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::super::State;
    use super::super::testing::Place;
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_program_that_others_can_change_is_a_problem_wherever_on_its_way_that_is() {
        let place = Place::new();
        assert_eq!(programs(&place.host).state, State::Ok);
        let hook = place.file_of("/usr/bin/defenseclaw-hook", "", 0o755);
        mode(hook.parent().unwrap(), 0o755);
        let good = programs(&place.host);
        assert!(
            good.state == State::Ok && good.detail.starts_with("1 file, "),
            "{good:?}"
        );
        mode(&hook, 0o757);
        let bad = programs(&place.host);
        assert_eq!(bad.state, State::Problem);
        assert!(
            bad.remedy
                .ends_with(&format!("chmod go-w {}", hook.canonicalize().unwrap().display())),
            "{bad:?}"
        );
        mode(&hook, 0o755);
        mode(&place.host.path("/usr"), 0o777);
        assert!(programs(&place.host).remedy.ends_with("/usr"));
        mode(&place.host.path("/usr"), 0o1777);
        assert_eq!(
            programs(&place.host).state,
            State::Ok,
            "nobody else renames there"
        );
    }

    #[test]
    fn another_user_s_configuration_is_a_problem() {
        let mut place = Place::new();
        let settings = place.settings();
        place.file_of("/etc/defenseclaw/config.yaml", "", 0o644);
        assert_eq!(configuration(&place.host, &settings).state, State::Ok);
        // Whose files these are is whoever runs the test; the host's own are another's then.
        place.host.superuser += 1;
        place.host.uid += 2;
        let check = configuration(&place.host, &settings);
        assert_eq!(check.state, State::Problem);
        assert!(check.detail.contains("belongs to user"), "{check:?}");
    }

    #[test]
    fn policies_count_where_they_are_configured() {
        let place = Place::new();
        let mut settings = place.settings();
        assert_eq!(policies(&place.host, &settings), None);
        let file = place.file_of("/etc/defenseclaw/policies/lists.yaml", "", 0o644);
        let folder = file.parent().unwrap();
        settings.policies = Some(folder.to_owned());
        assert_eq!(policies(&place.host, &settings).unwrap().state, State::Ok);
        mode(folder, 0o777);
        assert_eq!(policies(&place.host, &settings).unwrap().state, State::Problem);
    }

    #[test]
    fn state_that_others_change_or_read() {
        let place = Place::new();
        let settings = place.settings();
        assert_eq!(state(&place.host, &settings).state, State::Note, "not there yet");
        let ledger = place.file_of("/var/lib/defenseclaw/ledger.db", "", 0o640);
        let folder = ledger.parent().unwrap();
        mode(folder, 0o750);
        assert_eq!(state(&place.host, &settings).state, State::Ok);
        mode(&ledger, 0o644);
        assert_eq!(
            state(&place.host, &settings).state,
            State::Ok,
            "its folder keeps others out"
        );
        mode(folder, 0o755);
        assert_eq!(state(&place.host, &settings).state, State::Warning);
        mode(&ledger, 0o666);
        assert_eq!(state(&place.host, &settings).state, State::Problem);
        mode(&ledger, 0o640);
        mode(folder, 0o777);
        assert_eq!(state(&place.host, &settings).state, State::Problem);
        mode(folder, 0o750);
        std::os::unix::fs::symlink("/etc/passwd", folder.join("grants.json")).unwrap();
        assert!(state(&place.host, &settings).detail.ends_with("is no plain file"));
    }

    #[test]
    fn what_the_service_makes_in_the_folder_that_it_was_given_is_its_own() {
        assert!(is_of_group(0o1770, 997, 997));
        for (mode, what) in [
            (0o770, "others of the group could take it away"),
            (0o1750, "the group makes nothing there"),
            (0o1777, "everybody makes files there"),
        ] {
            assert!(!is_of_group(mode, 997, 997), "{what}");
        }
        assert!(!is_of_group(0o1770, 997, 1000), "somebody else's");
    }

    #[test]
    fn a_token_that_others_read_is_none() {
        let place = Place::new();
        let mut settings = place.settings();
        assert_eq!(secrets(&place.host, &settings).state, State::Ok);
        let token = place.file_of("/var/lib/defenseclaw/api-token", "t", 0o600);
        assert_eq!(secrets(&place.host, &settings).state, State::Ok);
        mode(&token, 0o640);
        assert_eq!(secrets(&place.host, &settings).state, State::Problem);
        let elsewhere = place.file_of("/etc/defenseclaw/token", "t", 0o604);
        mode(&token, 0o600);
        settings.config.api = Some(defenseclaw_model::config::ApiConfig {
            token_file: Some(elsewhere.clone()),
            ..Default::default()
        });
        assert!(
            secrets(&place.host, &settings)
                .detail
                .starts_with(&elsewhere.display().to_string())
        );
        assert_eq!(secrets(&place.host, &settings).state, State::Problem);
    }

    #[test]
    fn sockets_by_kind_mode_owner_and_folder() {
        let mut place = Place::new();
        let settings = place.settings();
        let states = |place: &Place| {
            let checks = sockets(&place.host, &place.settings());
            checks.iter().map(|check| check.state).collect::<Vec<_>>()
        };
        assert_eq!(states(&place), []);
        fs::create_dir_all(settings.socket.parent().unwrap()).unwrap();
        mode(settings.socket.parent().unwrap(), 0o755);
        let _gateway = UnixListener::bind(&settings.socket).unwrap();
        mode(&settings.socket, 0o666);
        let agent = settings.config.agent_socket();
        let _agent = UnixListener::bind(&agent).unwrap();
        mode(&agent, 0o600);
        assert_eq!(states(&place), [State::Ok, State::Ok]);
        mode(&settings.socket, 0o600);
        mode(&agent, 0o666);
        assert_eq!(states(&place), [State::Warning, State::Problem]);
        mode(&settings.socket, 0o666);
        mode(&agent, 0o600);
        mode(settings.socket.parent().unwrap(), 0o777);
        assert_eq!(states(&place), [State::Problem, State::Problem]);
        mode(settings.socket.parent().unwrap(), 0o755);
        fs::remove_file(&agent).unwrap();
        fs::write(&agent, "").unwrap();
        assert_eq!(states(&place), [State::Ok, State::Problem]);
        place.host.superuser += 1;
        place.host.uid += 2;
        assert_eq!(states(&place)[0], State::Problem, "another user's socket");
    }
}
