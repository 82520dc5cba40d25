use std::fs;

use super::*;

fn with(name: &str, text: &str) -> Result<Profile, ProfileError> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join(format!("{name}.yaml")), text).expect("written");
    Profiles::with_folder(folder.path()).expect("read").get(name)
}

#[test]
fn every_embedded_profile_is_valid_and_says_what_it_is_for() {
    let profiles = Profiles::embedded();
    for &(name, _) in EMBEDDED {
        let profile = profiles.get(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(profile.name, name);
        assert!(profile.summary.ends_with('.'), "{name}");
        assert!(profile.is_abstract || !profile.files.read.is_empty(), "{name}");
    }
}

#[test]
fn lists_grow_and_single_values_replace() {
    let build = Profiles::embedded().get("build").expect("build");
    assert!(
        build.files.write.contains(&"{project}".to_owned()),
        "from workspace"
    );
    assert!(build.files.write.contains(&"{home}/.npm".to_owned()), "its own");
    assert!(
        build.files.closed.contains(&"{home}/.ssh".to_owned()),
        "from base"
    );
    assert!(build.requires.contains(&Family::SealedFiles));
    assert_eq!(build.network.mode, NetworkMode::Full);
    let none = Profiles::embedded().get("network-none").expect("network-none");
    assert_eq!(none.network.mode, NetworkMode::None);
}

#[test]
fn a_folder_s_profile_takes_the_place_of_ours() {
    let ours = with(
        "workspace",
        "version: 1\nname: workspace\nextends: base\nsummary: Ours.\nfiles: {read: [/usr]}\n",
    );
    assert_eq!(ours.expect("valid").files.read, ["/usr"]);
}

#[test]
fn what_is_wrong_is_named() {
    let head = "version: 1\nname: x\nsummary: X.\n";
    for (text, part) in [
        ("version: 2\nname: x\nsummary: X.\n".to_owned(), "version 2"),
        (
            "version: 1\nname: y\nsummary: X.\n".to_owned(),
            "must be that of its file",
        ),
        (format!("{head}filse: {{}}\n"), "filse"),
        (format!("{head}files: {{raed: [/]}}\n"), "raed"),
        (format!("{head}files: {{read: [usr]}}\n"), "absolute"),
        (format!("{head}files: {{read: [\"{{project}}/../x\"]}}\n"), "`..`"),
        (format!("{head}files: {{read: [\"{{projects}}\"]}}\n"), "absolute"),
        (format!("{head}files: {{write: [\"/tmp/*\"]}}\n"), "takes no `*`"),
        (format!("{head}files: {{closed: [\"/srv/**/x\"]}}\n"), "`**`"),
        (
            format!("{head}network: {{mode: allowlist}}\n"),
            "needs `network.hosts`",
        ),
        (
            format!("{head}network: {{mode: none, hosts: [\"a:1\"]}}\n"),
            "only with",
        ),
        (
            format!("{head}network: {{mode: allowlist, hosts: [\"a\"]}}\n"),
            "NAME:PORT",
        ),
        (format!("{head}extends: x\n"), "circle"),
        (
            format!("{head}extends: nothing\n"),
            "there is no profile \"nothing\"",
        ),
        (format!("{head}requires: [everything]\n"), "everything"),
    ] {
        let error = with("x", &text).expect_err(&text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn an_unknown_name_lists_those_that_can_be_used() {
    let error = Profiles::embedded()
        .get("workspce")
        .expect_err("unknown")
        .to_string();
    assert!(error.contains("workspace") && error.contains("strict"), "{error}");
    assert!(!error.contains("base"), "abstract ones cannot be used: {error}");
}
