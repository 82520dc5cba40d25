//! `*` in names: any number of any characters. Nothing else is special.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Whether `name` is one that `pattern` means. Takes time in proportion to the product of both lengths at most.
pub(crate) fn matches(pattern: &OsStr, name: &OsStr) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    // Where the last star stands, and how much of the name it takes so far.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'[') if pattern[p..].starts_with(b"[0-9]") && name[n].is_ascii_digit() => {
                p += 5;
                n += 1;
            }
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_digits_for_one() {
        for (pattern, name, expected) in [
            (".env", ".env", true),
            (".env", ".envrc", false),
            (".env.*", ".env.local", true),
            ("*TOKEN*", "GITHUB_TOKEN", true),
            ("*TOKEN*", "TOKENS", true),
            ("*.pem", "a.pem.bak", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("nvidia[0-9]*", "nvidia0", true),
            ("nvidia[0-9]*", "nvidiactl", false),
            ("", "", true),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(OsStr::new(pattern), OsStr::new(name)),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_cost_no_explosion() {
        let name = "a".repeat(20_000);
        assert!(!matches(
            OsStr::new(&"*a".repeat(200)),
            OsStr::new(&format!("{name}b"))
        ));
    }
}
