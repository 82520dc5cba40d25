use super::*;

const DECISION: &str = "package defenseclaw.decision\n\ndecision := {}\n";

/// An archive with these entries: path, kind, bytes.
fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, kind, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        // As somebody writes it who does not ask a library what a path may be.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn texts(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(path, text)| (*path, tar::EntryType::Regular, text.as_bytes()))
        .collect();
    archive(&entries)
}

fn read(entries: &[(&str, &str)]) -> Result<BundleFiles, String> {
    BundleFiles::read(&texts(entries)).map_err(|error| error.to_string())
}

#[test]
fn opa_s_layout_is_read_as_opa_and_tar_write_it() {
    for before in ["", "/", "./"] {
        let named = |path: &str| format!("{before}{path}");
        let names = [
            ".manifest",
            "p/decision.rego",
            "p/x_test.rego",
            "data.json",
            "a/b/data.json",
            "rules/x.yaml",
        ];
        let names = names.map(named);
        let texts = [
            r#"{"revision": "7", "roots": ["defenseclaw", "decision", "a"], "rego_version": 1}"#,
            DECISION,
            "package x\n",
            r#"{"decision": {"one": 1}}"#,
            r#"{"c": 2}"#,
            "version: 1\n",
        ];
        let entries: Vec<_> = names.iter().map(String::as_str).zip(texts).collect();
        let files = read(&entries).unwrap();
        assert_eq!(files.revision(), "7");
        assert_eq!(
            files.modules,
            [("p/decision.rego".to_owned(), DECISION.to_owned())]
        );
        assert_eq!(files.tests[0].0, "p/x_test.rego");
        assert_eq!(
            Value::Object(files.data.clone().unwrap()),
            serde_json::json!({"decision": {"one": 1}, "a": {"b": {"c": 2}}})
        );
        assert_eq!(files.rules()[0].0, "x.yaml");
        let again = BundleFiles::read(&files.pack().unwrap()).unwrap();
        assert_eq!(
            (&again.modules, &again.data, again.revision()),
            (&files.modules, &files.data, "7")
        );
    }
}

#[test]
fn paths_that_lead_elsewhere_and_what_is_no_file_are_refused() {
    for path in [
        "../x.rego",
        "a/../x.rego",
        "a//x.rego",
        "//x.rego",
        "a/./x.rego",
        "a\\x.rego",
        "a\n.rego",
    ] {
        let error = read(&[("d.rego", DECISION), (path, DECISION)]).unwrap_err();
        assert!(error.contains("plain names"), "{path}: {error}");
    }
    for path in ["a/b/x.rego", "..x.rego", "x...rego"] {
        assert!(read(&[("d.rego", DECISION), (path, DECISION)]).is_ok(), "{path}");
    }
    use tar::EntryType;
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::GNUSparse,
    ] {
        let entries = [
            ("d.rego", EntryType::Regular, DECISION.as_bytes()),
            ("x.rego", kind, b"".as_slice()),
        ];
        assert!(BundleFiles::read(&archive(&entries)).is_err(), "{kind:?}");
    }
    let folder = [
        ("p", EntryType::Directory, b"".as_slice()),
        ("p/d.rego", EntryType::Regular, DECISION.as_bytes()),
    ];
    assert!(BundleFiles::read(&archive(&folder)).is_ok());
}

#[test]
fn what_goes_over_a_bound_is_refused_and_what_is_within_is_not() {
    let blank = |bytes: u64| " ".repeat(usize::try_from(bytes).unwrap());
    let fits = blank(MAX_FILE);
    assert!(read(&[("d.rego", DECISION), ("e.rego", &fits)]).is_ok());
    let over = blank(MAX_FILE + 1);
    assert!(read(&[("d.rego", &over)]).unwrap_err().contains("more than"));
    // Each file fits; together they are a bomb of some kilobytes.
    let names: Vec<String> = (0..5).map(|number| format!("{number}.rego")).collect();
    let bomb: Vec<_> = names.iter().map(|name| (name.as_str(), fits.as_str())).collect();
    let packed = texts(&bomb);
    assert!(packed.len() < 200_000, "{}", packed.len());
    assert!(matches!(
        BundleFiles::read(&packed),
        Err(BundleError::TooLarge(_))
    ));
    let names: Vec<String> = (0..=MAX_FILES).map(|number| format!("{number}.rego")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), DECISION)).collect();
    assert!(matches!(
        BundleFiles::read(&texts(&many)),
        Err(BundleError::TooLarge(_))
    ));
    assert!(BundleFiles::read(&texts(&many[..MAX_FILES])).is_ok());
}

#[test]
fn what_is_cut_off_followed_or_no_archive_is_refused() {
    let good = texts(&[("d.rego", DECISION)]);
    assert!(BundleFiles::read(&good).is_ok());
    assert!(BundleFiles::read(&good[..good.len() - 1]).is_err());
    assert!(BundleFiles::read(&[good.as_slice(), b"more"].concat()).is_err());
    assert!(BundleFiles::read(b"no archive").is_err());
    assert!(BundleFiles::read(b"").is_err());
    assert!(read(&[]).unwrap_err().contains("no policy"));
}

#[test]
fn what_has_no_place_in_a_bundle_is_named() {
    for path in [
        "policy.wasm",
        "data.yaml",
        "rules/x.txt",
        "other/x.yaml",
        ".signatures.json",
    ] {
        let error = read(&[("d.rego", DECISION), (path, "x")]).unwrap_err();
        assert!(error.contains(path), "{error}");
    }
    let twice = read(&[("d.rego", DECISION), ("./d.rego", DECISION)]).unwrap_err();
    assert!(twice.contains("twice"), "{twice}");
    let error = read(&[
        ("a/data.json", r#"{"b": 1}"#),
        ("data.json", r#"{"a": {"b": 2}}"#),
    ])
    .unwrap_err();
    assert!(error.contains("`b`"), "{error}");
}

#[test]
fn nothing_lies_outside_of_the_manifest_s_roots() {
    let with = |roots: &str, data: &str| {
        let manifest = format!(r#"{{"revision": "1", "roots": {roots}}}"#);
        read(&[
            (".manifest", &manifest),
            ("d.rego", DECISION),
            ("data.json", data),
        ])
    };
    assert!(with(r#"["defenseclaw", "trust"]"#, r#"{"trust": {}}"#).is_ok());
    assert!(with(r#"["defenseclaw/decision", "a/b"]"#, r#"{"a": {"b": 1}}"#).is_ok());
    assert!(with(r#"[""]"#, r#"{"a": {"b": 1}}"#).is_ok());
    assert!(
        with(r#"["defense", "a"]"#, r#"{"a": 1}"#)
            .unwrap_err()
            .contains("data.defenseclaw.decision")
    );
    assert!(
        with(r#"["defenseclaw", "a/b"]"#, r#"{"a": {"c": 1}}"#)
            .unwrap_err()
            .contains("data.a.c")
    );
}

#[test]
fn a_folder_makes_the_same_bytes_every_time() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["rego", "rules"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    for (path, text) in [
        ("rego/d.rego", DECISION),
        ("rego/d_test.rego", "package d_test\n"),
        ("rego/data.json", r#"{"b": 1, "a": 2}"#),
        ("rego/notes.txt", "not taken"),
        ("rules/x.yaml", "version: 1\n"),
        ("lists.yaml", "version: 1\n"),
    ] {
        std::fs::write(folder.path().join(path), text).unwrap();
    }
    let make = || BundleFiles::of_folder(folder.path(), 3).unwrap().pack().unwrap();
    let packed = make();
    assert_eq!(packed, make());
    let files = BundleFiles::read(&packed).unwrap();
    assert_eq!(files.revision(), "3");
    assert_eq!(
        files.manifest.roots.as_deref().unwrap(),
        ["a", "b", "defenseclaw"]
    );
    assert_eq!(
        (files.modules.len(), files.tests.len(), files.rules().len()),
        (1, 1, 1)
    );
    assert!(!files.lists.is_empty());
}
