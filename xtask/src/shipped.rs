//! Programs as they are installed: without what only a debugger reads, which lies beside them, and within a bound.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::host::{copy_if_changed, output, run};

/// What all installed programs of one architecture may take together (bytes). The aim is 15 MiB; this keeps what is reached.
const BUDGET: u64 = 40 << 20;

/// Refuses a built file in which one of these folders is named: it would differ from what others build of the same sources, and tell
/// everybody where it was made.
pub(crate) fn names_none_of(folders: &[PathBuf], built: &Path) -> Result<()> {
    for folder in folders {
        let mut grep = Command::new("grep");
        grep.args(["--quiet", "--text", "--fixed-strings", "--regexp"])
            .arg(folder)
            .arg(built)
            .env("LC_ALL", "C");
        let found = grep.output().context("cannot start grep")?;
        match found.status.code() {
            Some(1) => {}
            Some(0) => bail!(
                "{} names {}: what it is built with does not heed the flags that hide paths (xtask/src/host.rs)",
                built.display(),
                folder.display()
            ),
            _ => bail!(
                "grep cannot read {}: {}",
                built.display(),
                String::from_utf8_lossy(&found.stderr).trim_end()
            ),
        }
    }
    Ok(())
}

/// Puts a built program at `to` without symbols and lines. These go to a file below `symbols`, where debuggers look for it by the
/// program's build-id. The small static programs are built without them.
pub(crate) fn ship(objcopy: &str, built: &Path, to: &Path, symbols: &Path) -> Result<()> {
    let sections = output(
        Command::new("readelf")
            .args(["--wide", "--section-headers"])
            .arg(built),
    )?;
    // Some linkers name every build. A file of symbols without any would be of use to nobody.
    let has_lines = sections.contains(" .debug_line ");
    // Beside what was built, because what is shipped must not hold halves.
    let bare = built.with_extension("bare");
    let mut strip = Command::new(objcopy);
    strip.arg("--strip-all");
    if let Some(id) = build_id(built)? {
        let file = symbols.join(debug_name(&id)?);
        if has_lines {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            }
            run(Command::new(objcopy)
                .args(["--only-keep-debug", "--compress-debug-sections"])
                .arg(built)
                .arg(&file))?;
        } else if file.exists() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    run(strip.arg(built).arg(&bare))?;
    copy_if_changed(&bare, to)
}

/// The name that the linker gave a build, in hexadecimal digits.
fn build_id(program: &Path) -> Result<Option<String>> {
    let notes = output(Command::new("readelf").arg("--notes").arg(program))?;
    let id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID:"));
    Ok(id.map(|id| id.trim().to_owned()))
}

/// Where debuggers look for a build's symbols, below `/usr/lib/debug`.
pub(crate) fn debug_name(id: &str) -> Result<PathBuf> {
    match id.split_at_checked(2) {
        Some((first, rest)) if !rest.is_empty() && id.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok(Path::new(".build-id").join(first).join(format!("{rest}.debug")))
        }
        _ => bail!("{id:?} is no build-id"),
    }
}

/// Another name for a program beside it or below it. A program that is started by this name knows it.
pub(crate) fn name(program: &str, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|old| old == Path::new(program)) {
        return Ok(());
    }
    match fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", at.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(program, at).with_context(|| format!("cannot create {}", at.display()))
}

/// Prints what each program of a folder takes, and refuses more than is allowed.
pub(crate) fn within_budget(folder: &Path) -> Result<()> {
    let mut sizes = Vec::new();
    for (path, meta) in files::tree(folder, |_| true)? {
        // A second name takes nothing.
        if meta.is_file() {
            sizes.push((path.strip_prefix(folder)?.display().to_string(), meta.len()));
        }
    }
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let (table, total) = table(&sizes);
    eprint!("{table}");
    if total > BUDGET {
        bail!(
            "all programs together take {total} bytes, and may take {BUDGET}: find what grew (nm --size-sort of the programs before they \
             were stripped, in target/release), or argue for another bound in xtask/src/shipped.rs"
        );
    }
    Ok(())
}

fn table(sizes: &[(String, u64)]) -> (String, u64) {
    let total = sizes.iter().map(|(_, size)| size).sum();
    let line = |name: &str, size: u64| {
        format!(
            "{size:>12}  {:>6.2} MiB  {name}\n",
            size as f64 / f64::from(1 << 20)
        )
    };
    let mut table: String = sizes.iter().map(|(name, size)| line(name, *size)).collect();
    table.push_str(&line("all programs", total));
    (table, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("defenseclaw-shipped-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("lib")).unwrap();
        folder
    }

    #[test]
    fn programs_up_to_the_bound_are_let_through_and_one_byte_more_is_not() {
        let folder = folder("budget");
        let file = fs::File::create(folder.join("lib/whole")).unwrap();
        file.set_len(BUDGET - 10).unwrap();
        fs::write(folder.join("small"), [0; 10]).unwrap();
        // Another name is no second program.
        name("lib/whole", &folder.join("second")).unwrap();
        name("lib/whole", &folder.join("second")).unwrap();
        within_budget(&folder).unwrap();
        fs::write(folder.join("small"), [0; 11]).unwrap();
        let error = within_budget(&folder).unwrap_err().to_string();
        assert!(error.contains(&(BUDGET + 1).to_string()), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_table_says_what_each_takes_and_all() {
        let (table, total) = table(&[("a".to_owned(), 3 << 20), ("lib/b".to_owned(), 1 << 19)]);
        assert_eq!(total, (3 << 20) + (1 << 19));
        assert_eq!(
            table,
            "     3145728    3.00 MiB  a\n      524288    0.50 MiB  lib/b\n     3670016    3.50 MiB  all programs\n"
        );
    }

    #[test]
    fn symbols_lie_where_a_debugger_looks() {
        let name = debug_name("ab12cd").unwrap();
        assert_eq!(name, Path::new(".build-id/ab/12cd.debug"));
        for wrong in ["", "a", "ab", "../../x", "zz12"] {
            assert!(debug_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_is_shipped_bare_and_keeps_its_symbols_elsewhere() {
        let folder = folder("ship");
        let source = folder.join("a.c");
        fs::write(&source, "int main(void) { return 7; }\n").unwrap();
        let built = folder.join("a");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-g", "-Wl,--build-id=sha1", "-o"])
            .arg(&built)
            .arg(&source);
        run(&mut compiler).unwrap();
        let (to, symbols) = (folder.join("lib/a"), folder.join("symbols"));
        ship("objcopy", &built, &to, &symbols).unwrap();
        let sections = |file: &Path| output(Command::new("readelf").args(["-S", "-W"]).arg(file)).unwrap();
        assert!(sections(&built).contains(".symtab"));
        assert!(!sections(&to).contains(".symtab") && !sections(&to).contains(".debug_"));
        let id = build_id(&to).unwrap().unwrap();
        assert!(sections(&symbols.join(debug_name(&id).unwrap())).contains(".debug_info"));
        assert_eq!(Command::new(&to).status().unwrap().code(), Some(7));

        // One that has a name and no lines leaves no symbols, either.
        run(Command::new("cc")
            .args(["-s", "-Wl,--build-id=sha1", "-o"])
            .arg(&built)
            .arg(&source))
        .unwrap();
        let empty = symbols.join(debug_name(&build_id(&built).unwrap().unwrap()).unwrap());
        fs::create_dir_all(empty.parent().unwrap()).unwrap();
        fs::write(&empty, "of an older build").unwrap();
        ship("objcopy", &built, &to, &symbols).unwrap();
        assert!(!empty.exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_program_that_names_a_folder_of_the_builder_is_refused() {
        let folder = folder("paths");
        let built = folder.join("a");
        fs::write(&built, b"\x7fELF\0\xff/usr/src/a.c\0/home/ada/work.c\0").unwrap();
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        names_none_of(&paths(&["/home/eve", "/srv/build"]), &built).unwrap();
        let error = names_none_of(&paths(&["/srv/build", "/home/ada/work"]), &built).unwrap_err();
        assert!(error.to_string().contains("names /home/ada/work"), "{error}");
        assert!(names_none_of(&paths(&["/home"]), &folder.join("none")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
