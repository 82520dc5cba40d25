//! The manual and the completions: the tool's own come from its command line, the page of the configuration from the file
//! that is installed, the others lie in `packaging/man`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::stage::{PLAIN, Stage};
use crate::files;
use crate::host::{Host, run, step};

/// The page of the configuration.
const CONFIG_PAGE: &str = "defenseclaw-config.yaml.5";

/// Writes them below `target/deb/manual`, and returns that folder.
pub(crate) fn write(host: &Host) -> Result<PathBuf> {
    let folder = host.target.join("deb/manual");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    step("manual and completions", || {
        // Of the profile that tests are built with, and with the whole workspace's features: then it is there after the tests.
        run(&mut host.cargo(["build", "--workspace", "--example=manual"]))?;
        run(Command::new(host.target.join("debug/examples/manual")).arg(&folder))
    })?;
    let man = folder.join("man");
    for path in files::within(&host.root.join("packaging/man"))? {
        let name = path.file_name().context("a page without a name")?;
        fs::copy(&path, man.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    let config = fs::read_to_string(host.root.join("packaging/config.yaml"))?;
    fs::write(man.join(CONFIG_PAGE), config_page(&config)?)?;
    Ok(folder)
}

/// Puts them where `man` and the shells look.
pub(crate) fn install(stage: &Stage, folder: &Path) -> Result<()> {
    let names = |part: &str| files::within(&folder.join(part));
    for page in names("man")? {
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        let section = name.rsplit('.').next().unwrap_or_default();
        stage.compressed(&page, &format!("/usr/share/man/man{section}/{name}.gz"))?;
    }
    stage.link("defenseclaw-cli.1.gz", "/usr/share/man/man1/defenseclaw.1.gz")?;
    for (part, to) in [
        ("bash", "/usr/share/bash-completion/completions"),
        ("zsh", "/usr/share/zsh/vendor-completions"),
        ("fish", "/usr/share/fish/vendor_completions.d"),
    ] {
        for file in names(part)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            stage.copy(&file, &format!("{to}/{name}"), PLAIN)?;
        }
    }
    Ok(())
}

/// A page from the commented file: each of its paragraphs is a key with what is said about it.
///
/// A line `# Text` is said about what follows; `#key: value`, without the blank or with two of them, is a setting.
fn config_page(text: &str) -> Result<String> {
    let mut page = String::from(
        ".TH DEFENSECLAW\\-CONFIG.YAML 5 \"\" \"DefenseClaw\" \"DefenseClaw\"\n.SH NAME\n\
         defenseclaw\\-config.yaml \\- the configuration of DefenseClaw's gateway and agent\n.SH SYNOPSIS\n\
         .I /etc/defenseclaw/config.yaml\n.SH DESCRIPTION\n",
    );
    for (number, part) in text.trim_end().split("\n\n").enumerate() {
        let setting = |line: &&str| {
            let rest = line.strip_prefix('#').unwrap_or(line);
            !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("  "))
        };
        let key = part
            .lines()
            .find(setting)
            .and_then(|line| line.trim_start_matches('#').split(':').next());
        match key {
            Some(key) => page.push_str(&format!(".SS {}\n", roff(key))),
            None if number > 0 => bail!("packaging/config.yaml: a paragraph without a key:\n{part}"),
            None => {}
        }
        let mut verbatim = false;
        for line in part.lines() {
            let code = setting(&line);
            if code != verbatim {
                page.push_str(if code { ".PP\n.nf\n" } else { ".fi\n.PP\n" });
                verbatim = code;
            }
            let shown = line.strip_prefix('#').unwrap_or(line);
            let shown = if code { shown } else { shown.trim_start() };
            page.push_str(if shown.is_empty() { ".PP" } else { "" });
            page.push_str(&roff(shown));
            page.push('\n');
        }
        if verbatim {
            page.push_str(".fi\n");
        }
    }
    page.push_str(
        ".SH SEE ALSO\n.BR defenseclaw\\-cli (1),\n.BR defenseclaw\\-hook.conf (5),\n.BR defenseclaw\\-gateway (8),\n\
         .BR defenseclaw\\-agent (8)\n",
    );
    Ok(page)
}

/// A line of text with nothing in it that is markup.
fn roff(line: &str) -> String {
    let escaped = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga");
    if escaped.starts_with('.') {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_the_configuration_becomes_a_section() {
        let page = config_page(
            "# The file.\n#\n# More of it.\n\n# Which way.\n#mode: a-b\n\n# Two.\n#box:\n# First.\n#  first: 1\n",
        )
        .unwrap();
        assert!(page.contains(".SH DESCRIPTION\nThe file.\n.PP\nMore of it.\n.SS mode\nWhich way.\n.PP\n.nf\nmode: a\\-b\n.fi\n"), "{page}");
        assert!(
            page.contains(".SS box\nTwo.\n.PP\n.nf\nbox:\n.fi\n.PP\nFirst.\n.PP\n.nf\n  first: 1\n.fi\n"),
            "{page}"
        );
        assert!(config_page("# Head.\n\n# No key.\n").is_err());
    }
}
