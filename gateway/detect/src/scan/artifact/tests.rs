//! Folders and archives, the hostile ones among them.

use std::io::Write as _;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

fn rules(artifact: &Artifact) -> Vec<&str> {
    let mut rules: Vec<&str> = artifact
        .problems
        .iter()
        .map(|problem| problem.rule.as_str())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

fn paths(artifact: &Artifact) -> Vec<&str> {
    artifact.files.iter().map(|file| file.path.as_str()).collect()
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        // By hand: the builder itself refuses a name that leads out.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

fn one(name: &str, bytes: Vec<u8>) -> Artifact {
    from_memory([(name.to_owned(), bytes)])
}

#[test]
fn a_folder_is_read_in_order_and_its_digest_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    std::fs::write(folder.path().join("b/x.txt"), "x").unwrap();
    std::fs::write(folder.path().join("a.md"), "a").unwrap();
    let first = read(folder.path()).unwrap();
    assert_eq!(paths(&first), ["a.md", "b/x.txt"]);
    assert!(first.problems.is_empty());
    assert_eq!(first.digest.len(), "sha256:".len() + 64);
    assert_eq!(first.digest, read(folder.path()).unwrap().digest);
    let in_memory = from_memory([
        ("b/x.txt".to_owned(), b"x".to_vec()),
        ("a.md".to_owned(), b"a".to_vec()),
    ]);
    assert_eq!(first.digest, in_memory.digest);
    std::fs::write(folder.path().join("b/x.txt"), "y").unwrap();
    assert_ne!(first.digest, read(folder.path()).unwrap().digest);
    std::fs::write(folder.path().join("b/x.txt"), "x").unwrap();
    std::fs::rename(folder.path().join("b/x.txt"), folder.path().join("b/z.txt")).unwrap();
    assert_ne!(first.digest, read(folder.path()).unwrap().digest);
}

#[test]
fn links_are_told_and_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "a").unwrap();
    symlink(outside.path().join("secret"), folder.path().join("out")).unwrap();
    symlink("../x", folder.path().join("up")).unwrap();
    symlink("a", folder.path().join("in")).unwrap();
    symlink(".", folder.path().join("loop")).unwrap();
    symlink(outside.path(), folder.path().join("tree")).unwrap();
    let artifact = read(folder.path()).unwrap();
    assert_eq!(paths(&artifact), ["a"]);
    let of = |rule: &str| {
        artifact
            .problems
            .iter()
            .filter(|problem| problem.rule == rule)
            .count()
    };
    assert_eq!(
        (of("artifact.link-out"), of("artifact.link")),
        (3, 2),
        "{:?}",
        artifact.problems
    );
}

#[test]
fn a_fifo_is_told_and_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    std::fs::write(folder.path().join("a"), "a").unwrap();
    let artifact = read(folder.path()).unwrap();
    assert_eq!(
        (rules(&artifact), paths(&artifact)),
        (vec!["artifact.special-file"], vec!["a"])
    );
    assert!(matches!(read(&fifo), Err(ReadError::Special { .. })));
    assert!(matches!(
        read(&folder.path().join("none")),
        Err(ReadError::Open { .. })
    ));
}

#[test]
fn folders_that_are_too_deep_and_names_that_mislead_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let deep = (0..MAX_DEPTH + 3).fold(folder.path().to_owned(), |path, _| path.join("d"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("x"), "x").unwrap();
    std::fs::write(folder.path().join("a\u{202e}cod.sh"), "x").unwrap();
    let artifact = read(folder.path()).unwrap();
    assert_eq!(rules(&artifact), ["artifact.limit", "artifact.name"]);
}

#[test]
fn a_file_over_the_bound_is_read_in_part_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let big = std::fs::File::create(folder.path().join("big.txt")).unwrap();
    big.set_len(MAX_FILE + 5).unwrap();
    let artifact = read(folder.path()).unwrap();
    assert_eq!(rules(&artifact), ["artifact.limit"]);
    assert_eq!(artifact.files[0].bytes.len() as u64, MAX_FILE);
    assert_eq!(artifact.files[0].size, MAX_FILE + 5);
}

#[test]
fn archives_are_looked_into_whatever_they_are_called() {
    let zip = zipped(&[("a.txt", b"a"), ("d/b.sh", b"b")]);
    assert_eq!(
        paths(&one("x.skill", zip.clone())),
        ["x.skill", "x.skill!/a.txt", "x.skill!/d/b.sh"]
    );
    let tar = tarred(&[("a.txt", b"a")]);
    assert_eq!(paths(&one("x.tar", tar.clone())), ["x.tar", "x.tar!/a.txt"]);
    assert_eq!(paths(&one("x.tgz", gzipped(&tar))), ["x.tgz", "x.tgz!/a.txt"]);
    assert_eq!(
        paths(&one("n.txt.gz", gzipped(b"n"))),
        ["n.txt.gz", "n.txt.gz!/n.txt"]
    );
    let nested = zipped(&[("in.zip", &zip)]);
    assert!(paths(&one("y.zip", nested)).contains(&"y.zip!/in.zip!/d/b.sh"));
}

#[test]
fn names_and_links_that_lead_out_of_an_archive_are_told() {
    for name in ["../../x", "/etc/x", "a/../../x", "..\\x", "C:\\x"] {
        assert_eq!(
            rules(&one("a.zip", zipped(&[(name, b"x")]))),
            ["archive.traversal"],
            "{name}"
        );
    }
    assert_eq!(
        rules(&one("a.tar", tarred(&[("../x", b"x")]))),
        ["archive.traversal"]
    );
    assert!(rules(&one("a.zip", zipped(&[("a/../b", b"x"), ("c..d", b"x")]))).is_empty());
    let mut tar = tar::Builder::new(Vec::new());
    for (name, target) in [("l", "/etc/passwd"), ("d/m", "../n")] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
    }
    assert_eq!(
        rules(&one("a.tar", tar.into_inner().unwrap())),
        ["archive.link", "artifact.link"]
    );
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.add_symlink("l", "../../etc/passwd", SimpleFileOptions::default())
        .unwrap();
    assert_eq!(
        rules(&one("a.zip", zip.finish().unwrap().into_inner())),
        ["archive.link"]
    );
}

#[test]
fn bombs_end_within_their_bounds() {
    let zeros = vec![0_u8; 40 << 20];
    let artifact = one("bomb.zip", zipped(&[("z", &zeros)]));
    assert_eq!(rules(&artifact), ["archive.bomb"]);
    assert!(
        artifact.bytes < 1 << 20,
        "nothing of it is kept: {}",
        artifact.bytes
    );
    let artifact = one("bomb.gz", gzipped(&zeros));
    assert_eq!(rules(&artifact), ["archive.bomb"]);
    // Small files of zeros are none.
    assert!(rules(&one("small.zip", zipped(&[("z", &zeros[..1 << 19])]))).is_empty());
    let many: Vec<(String, &[u8])> = (0..MAX_FILES + 9)
        .map(|number| (number.to_string(), b"".as_slice()))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, content)| (name.as_str(), *content))
        .collect();
    let artifact = one("many.zip", zipped(&many));
    assert_eq!(
        (rules(&artifact), artifact.files.len()),
        (vec!["artifact.limit"], MAX_FILES)
    );
}

#[test]
fn nesting_ends() {
    let deep = (0..MAX_NESTING + 3).fold(zipped(&[("x", b"x")]), |inner, _| zipped(&[("i.zip", &inner)]));
    let artifact = one("a.zip", deep);
    assert_eq!(rules(&artifact), ["artifact.limit"]);
    assert!(artifact.files.iter().all(|file| file.nesting <= MAX_NESTING));
}

#[test]
fn what_cannot_be_unpacked_is_told() {
    let zip = zipped(&[("a.txt", b"some content that is stored")]);
    assert_eq!(
        rules(&one("a.zip", zip[..zip.len() - 30].to_vec())),
        ["archive.damaged"]
    );
    let gz = gzipped(&vec![b'x'; 4096]);
    assert_eq!(
        rules(&one("a.gz", gz[..gz.len() / 2].to_vec())),
        ["archive.damaged"]
    );
    let tar = tarred(&[("a.txt", &[b'x'; 2048])]);
    assert_eq!(rules(&one("a.tar", tar[..1024].to_vec())), ["archive.damaged"]);
    assert_eq!(
        rules(&one("a.7z", b"7z\xbc\xaf\x27\x1c\0\0".to_vec())),
        ["archive.unsupported"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for magic in [b"PK\x03\x04".as_slice(), b"\x1f\x8b\x08\0", b""] {
            let artifact = one("x", [magic, &bytes].concat());
            prop_assert!(!artifact.files.is_empty());
        }
    }

    #[test]
    fn any_damage_to_an_archive_is_survived(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        let inner = tarred(&[("a/b.txt", b"hello"), ("c", &[7; 600])]);
        for whole in [zipped(&[("a", b"hello"), ("b.tar", &inner)]), gzipped(&inner), inner.clone()] {
            let mut bytes = whole;
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut.min(length));
            let artifact = one("x", bytes);
            prop_assert!(artifact.bytes <= MAX_TOTAL);
        }
    }

    #[test]
    fn a_link_inside_never_leads_out(depth in 0usize..6, up in 0usize..8) {
        let path = "d/".repeat(depth) + "l";
        let target = "../".repeat(up) + "x";
        prop_assert_eq!(walk::leads_out(&path, &target), up > depth);
    }
}
