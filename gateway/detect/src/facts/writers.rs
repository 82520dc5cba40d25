//! What programs write that are not made for it: an output named behind the input, an option for the result or a log.

use super::table::Operands::{All, First};
use super::table::Spec;
use super::table::Use::{Edit, Folder, Guess, Host, Ignore, Output, Read, Write};
use super::table::{Use, spec, text};

/// Options by which programs of all kinds name what they write. In a program that is not known they count where writing
/// the path would matter.
pub(super) const OUTPUT_OPTIONS: &[(&str, Use)] = &[
    ("-o", Output),
    ("-out", Output),
    ("--out", Output),
    ("--output", Output),
    ("--output-file", Output),
    ("--out-file", Output),
    ("--outfile", Output),
    ("--output-dir", Output),
    ("--output-directory", Output),
    ("--outdir", Output),
    ("--out-dir", Output),
    ("--dest", Output),
    ("--destination", Output),
    ("--save", Output),
    ("--save-to", Output),
    ("--export", Output),
    ("--write-to", Output),
    ("--log", Output),
    ("--log-file", Output),
    ("--logfile", Output),
    ("-m", Ignore),
    ("--message", Ignore),
];

/// What is known of the program called `name`.
pub(super) fn of(name: &str) -> Option<Spec> {
    Some(match name {
        "uniq" => text(
            First(Read, Write),
            &[("-f", Ignore), ("-s", Ignore), ("-w", Ignore)],
        ),
        "xxd" => text(
            First(Read, Write),
            &[
                ("-c", Ignore),
                ("-g", Ignore),
                ("-l", Ignore),
                ("-n", Ignore),
                ("-o", Ignore),
                ("-s", Ignore),
                ("-len", Ignore),
                ("-cols", Ignore),
                ("-seek", Ignore),
            ],
        ),
        "sort" => text(
            All(Read),
            &[
                ("-o", Write),
                ("--output", Write),
                ("-k", Ignore),
                ("--key", Ignore),
                ("-t", Ignore),
                ("--field-separator", Ignore),
                ("-S", Ignore),
                ("--buffer-size", Ignore),
                ("-T", Ignore),
                ("--temporary-directory", Ignore),
            ],
        ),
        "iconv" | "recode" => text(
            All(Read),
            &[
                ("-o", Write),
                ("--output", Write),
                ("-f", Ignore),
                ("-t", Ignore),
                ("--from-code", Ignore),
                ("--to-code", Ignore),
            ],
        ),
        "split" => text(
            First(Read, Write),
            &[
                ("-a", Ignore),
                ("-b", Ignore),
                ("-C", Ignore),
                ("-l", Ignore),
                ("-n", Ignore),
                ("-t", Ignore),
                ("--bytes", Ignore),
                ("--lines", Ignore),
                ("--number", Ignore),
                ("--suffix-length", Ignore),
                ("--additional-suffix", Ignore),
                ("--filter", Ignore),
            ],
        ),
        "csplit" => text(
            First(Read, Ignore),
            &[
                ("-f", Write),
                ("--prefix", Write),
                ("-b", Ignore),
                ("--suffix-format", Ignore),
                ("-n", Ignore),
                ("--digits", Ignore),
            ],
        ),
        "uudecode" => text(All(Read), &[("-o", Write), ("--output-file", Write)]),
        "sponge" => text(All(Write), &[]),
        "objcopy" => text(
            First(Edit, Write),
            &[
                ("-I", Ignore),
                ("-O", Ignore),
                ("-B", Ignore),
                ("-j", Ignore),
                ("-R", Ignore),
                ("-N", Ignore),
                ("--add-section", Ignore),
                ("--only-section", Ignore),
                ("--remove-section", Ignore),
                ("--set-section-flags", Ignore),
            ],
        ),
        "tcpdump" | "tshark" | "dumpcap" => spec(
            All(Ignore),
            &[
                ("-w", Write),
                ("-r", Read),
                ("-i", Ignore),
                ("-c", Ignore),
                ("-s", Ignore),
                ("-C", Ignore),
                ("-G", Ignore),
                ("-W", Ignore),
                ("-f", Ignore),
                ("-Y", Ignore),
                ("-F", Ignore),
            ],
        ),
        "nmap" => spec(
            First(Host(0), Ignore),
            &[
                ("-oN", Write),
                ("-oX", Write),
                ("-oG", Write),
                ("-oA", Write),
                ("-iL", Read),
                ("-p", Ignore),
                ("-e", Ignore),
                ("-T", Ignore),
            ],
        ),
        "pip" | "pip3" => spec(
            All(Guess),
            &[
                ("-d", Folder),
                ("--dest", Folder),
                ("-t", Folder),
                ("--target", Folder),
                ("-r", Guess),
                ("--requirement", Guess),
                ("-o", Output),
                ("-m", Ignore),
            ],
        ),
        // Everything is named by a word of their own: see `carriers`.
        "7z" | "7za" | "7zr" | "7zz" | "unrar" | "cpio" | "pax" | "dpkg-deb" | "unsquashfs" => {
            text(All(Ignore), &[])
        }
        "crudini" | "sd" | "git-config" => text(All(Guess), &[]),
        _ => return None,
    })
}
