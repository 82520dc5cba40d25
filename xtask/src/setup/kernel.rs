//! On the way to a compiler with its library source and to the linker that holds its LLVM.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::apt::{Lists, apt_has};
use super::{Action, Kind};
use crate::host::find_in_path;
use crate::toolchain::{self, Compiler};

/// Pinned: it is built from source, and a newer one may want a newer compiler.
const LINKER_VERSION: &str = "0.13.0";

/// What the next step depends on.
struct Machine<'a> {
    /// The compilers that will do.
    compilers: Vec<Compiler>,
    /// Where an LLVM's development files lie.
    llvm: &'a dyn Fn(u32) -> Option<PathBuf>,
    /// rustup is here, and has not failed.
    rustup: bool,
    /// The distribution's compiler has its library source already.
    source: bool,
    lists: Lists,
    /// Whether apt could install a package.
    has: &'a dyn Fn(&str) -> bool,
}

/// What comes next.
pub(super) fn plan(rustup_failed: bool, lists: Lists) -> Result<Action> {
    let machine = Machine {
        compilers: toolchain::compilers().collect(),
        llvm: &toolchain::llvm_prefix,
        rustup: find_in_path("rustup").is_some() && !rustup_failed,
        source: Path::new("/usr/lib/rustlib/src/rust").exists(),
        lists,
        has: &apt_has,
    };
    machine.next()
}

impl Machine<'_> {
    fn next(&self) -> Result<Action> {
        let ready = self.compilers.iter();
        if let Some((compiler, prefix)) = ready
            .filter_map(|compiler| Some((compiler, (self.llvm)(compiler.llvm)?)))
            .next()
        {
            return Ok(linker(compiler, prefix));
        }
        // From here on apt is asked, which knows what its lists say.
        if let Some(why) = self.lists.wanted() {
            return Ok(Action {
                why: why.into(),
                kind: Kind::AptLists,
            });
        }
        let names = |llvm: u32| vec![format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
        let can_have = |compiler: &&Compiler| names(compiler.llvm).iter().all(|name| (self.has)(name));
        if let Some(compiler) = self.compilers.iter().find(can_have) {
            let why = format!(
                "LLVM {}, as in {}, to build bpf-linker with",
                compiler.llvm,
                compiler.rustc.display()
            );
            return Ok(Action {
                why,
                kind: Kind::Apt(names(compiler.llvm)),
            });
        }
        match (self.another_compiler(), self.compilers.first()) {
            (Ok(action), _) => Ok(action),
            (Err(error), None) => Err(error),
            (Err(_), Some(compiler)) => bail!(
                "bpf-linker needs LLVM {llvm}, the one inside {} ({}), and this machine's apt sources lack {names}.\n\
                 Add LLVM's own repository, then run this again:\n  \
                 wget https://apt.llvm.org/llvm.sh && sudo bash llvm.sh {llvm} && sudo apt-get install {names}",
                compiler.rustc.display(),
                compiler.release,
                llvm = compiler.llvm,
                names = names(compiler.llvm).join(" "),
            ),
        }
    }

    /// A compiler whose LLVM is not to be had does not help: another one may.
    fn another_compiler(&self) -> Result<Action> {
        let why = "a Rust compiler with its library source: the kernel programs need `core` built for the BPF target".into();
        let pinned = self
            .compilers
            .iter()
            .any(|compiler| compiler.release == toolchain::RUSTUP_RELEASE);
        if self.rustup && !pinned {
            return Ok(Action {
                why,
                kind: Kind::Rustup,
            });
        }
        // Debian names its newest compiler, the one that its browsers are built with, `rustc-web`.
        for (compiler, source) in [("rustc-web", "rust-web-src"), ("rustc", "rust-src")] {
            if (self.has)(compiler) && (self.has)(source) && !self.source {
                return Ok(Action {
                    why,
                    kind: Kind::Apt(vec![compiler.into(), source.into()]),
                });
            }
        }
        bail!(
            "the kernel programs need a Rust compiler with its library source. Either of these provides one:\n  \
             rustup toolchain install {} --profile minimal --component rust-src\n  \
             apt-get install rustc-web rust-web-src      (Debian)",
            toolchain::RUSTUP_RELEASE
        )
    }
}

fn linker(compiler: &Compiler, prefix: PathBuf) -> Action {
    let feature = format!("llvm-{}", compiler.llvm);
    let arguments = [
        "--locked",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
        "--features",
        &feature,
    ];
    Action {
        why: format!(
            "links the kernel programs; it must hold LLVM {}, as {} does",
            compiler.llvm,
            compiler.rustc.display()
        ),
        kind: Kind::Cargo {
            name: "bpf-linker",
            arguments: arguments.map(Into::into).into(),
            variables: vec![("LLVM_PREFIX", prefix)],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCHED: Lists = Lists {
        apt: true,
        there: true,
        tried: true,
        may: true,
    };
    const OLD: Lists = Lists {
        tried: false,
        ..FETCHED
    };

    /// The distribution's compiler, with that LLVM in it.
    fn web(llvm: u32) -> Compiler {
        Compiler {
            rustc: "/usr/bin/rustc".into(),
            cargo: None,
            release: "1.90.0".into(),
            llvm,
        }
    }

    fn machine<'a>(compilers: Vec<Compiler>, lists: Lists, has: &'a dyn Fn(&str) -> bool) -> Machine<'a> {
        Machine {
            source: !compilers.is_empty(),
            compilers,
            llvm: &|_| None,
            rustup: false,
            lists,
            has,
        }
    }

    fn packages(names: &[&str]) -> Kind {
        Kind::Apt(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lists_are_fetched_before_a_compiler_or_its_llvm_is_chosen() {
        let old = |name: &str| ["rustc-web", "rust-web-src", "llvm-21-dev"].contains(&name);
        for compilers in [vec![], vec![web(22)]] {
            let next = machine(compilers, OLD, &old).next().unwrap();
            assert_eq!(next.kind, Kind::AptLists);
        }
        let new = |name: &str| old(name) || ["llvm-22-dev", "libpolly-22-dev"].contains(&name);
        let next = machine(vec![], FETCHED, &new).next().unwrap();
        assert_eq!(next.kind, packages(&["rustc-web", "rust-web-src"]));
        let next = machine(vec![web(22)], FETCHED, &new).next().unwrap();
        assert_eq!(next.kind, packages(&["llvm-22-dev", "libpolly-22-dev"]));
    }

    #[test]
    fn what_is_still_unknown_after_that_is_said() {
        let error = machine(vec![web(22)], FETCHED, &|_| false).next().unwrap_err();
        assert!(
            error.to_string().contains("llvm-22-dev libpolly-22-dev"),
            "{error}"
        );
        let error = machine(vec![], FETCHED, &|_| false).next().unwrap_err();
        assert!(error.to_string().contains("rustup toolchain install"), "{error}");
    }

    #[test]
    fn nothing_is_fetched_where_the_linker_can_be_built_already() {
        let prefix = |llvm: u32| (llvm == 22).then(|| PathBuf::from("/usr/lib/llvm-22"));
        let machine = Machine {
            llvm: &prefix,
            ..machine(vec![web(21), web(22)], OLD, &|_| false)
        };
        let next = machine.next().unwrap();
        assert!(
            matches!(&next.kind, Kind::Cargo { name: "bpf-linker", arguments, .. } if arguments.contains(&"llvm-22".to_owned())),
            "{next:?}"
        );
    }

    #[test]
    fn rustup_is_asked_first_and_not_twice() {
        let has = |name: &str| ["rustc-web", "rust-web-src"].contains(&name);
        let with = |compilers: Vec<Compiler>| Machine {
            rustup: true,
            source: false,
            ..machine(compilers, FETCHED, &has)
        };
        assert_eq!(with(vec![]).next().unwrap().kind, Kind::Rustup);
        let pinned = Compiler {
            release: toolchain::RUSTUP_RELEASE.into(),
            ..web(22)
        };
        let next = with(vec![pinned]).next().unwrap();
        assert_eq!(next.kind, packages(&["rustc-web", "rust-web-src"]));
    }
}
