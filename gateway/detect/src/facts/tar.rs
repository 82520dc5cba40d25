//! `tar`: which archive, which folder, and what goes in or comes out.

use super::programs::Call;
use super::{Access, Analysis, landing};
use crate::shell::{Field, Scope};

/// What is done with the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Creates,
    Extracts,
    Shows,
}

/// Letters that take a value, in a cluster or alone.
const VALUE_LETTERS: &str = "fCTXIbgHKLNV";

/// A call's words, told apart.
#[derive(Default)]
struct Words<'c> {
    mode: Option<Mode>,
    archive: Option<Field>,
    /// The folder that is gone into last.
    folder: Option<Field>,
    /// Operands, each with the folder that it is meant in.
    operands: Vec<(Option<Field>, &'c Field)>,
    /// Whether members lose their names.
    renames: bool,
    /// Whether they are printed instead.
    prints: bool,
}

impl<'c> Words<'c> {
    fn of(call: Call<'c>) -> Self {
        let mut words = Self::default();
        let mut rest = call.arguments().iter().map(|(field, _)| field).enumerate();
        while let Some((at, field)) = rest.next() {
            let text = field.text.as_str();
            let letters = match text.strip_prefix('-') {
                Some(letters) if !text.starts_with("--") => Some(letters),
                None if at == 0 => Some(text),
                _ => None,
            };
            let mut value = || rest.next().map(|(_, field)| field.clone());
            match letters {
                Some(letters) if text != "-" => {
                    for (place, letter) in letters.char_indices() {
                        words.mode_of(letter);
                        if !VALUE_LETTERS.contains(letter) {
                            continue;
                        }
                        let attached = &letters[place + letter.len_utf8()..];
                        // `tar xfC ARCHIVE FOLDER`: without a dash, each letter has a word of its own.
                        if text.starts_with('-') && !attached.is_empty() {
                            words.take(letter, Some(within(field, attached)));
                            break;
                        }
                        let given = value();
                        words.take(letter, given);
                    }
                }
                _ if text.starts_with("--") => match text.split_once('=') {
                    Some(("--one-top-level", given)) => words.folder = Some(within(field, given)),
                    Some((option, given)) => words.option(option, || Some(within(field, given))),
                    None => words.option(text, value),
                },
                _ => words.operands.push((words.folder.clone(), field)),
            }
        }
        words
    }

    fn mode_of(&mut self, letter: char) {
        self.prints |= letter == 'O';
        let mode = match letter {
            'c' | 'r' | 'u' | 'A' => Mode::Creates,
            'x' => Mode::Extracts,
            't' | 'd' => Mode::Shows,
            _ => return,
        };
        self.mode.get_or_insert(mode);
    }

    fn take(&mut self, letter: char, value: Option<Field>) {
        match letter {
            'f' => self.archive = value,
            'C' => self.folder = value,
            _ => {}
        }
    }

    fn option(&mut self, option: &str, value: impl FnOnce() -> Option<Field>) {
        match option {
            "--create" | "--append" | "--update" | "--concatenate" => self.mode = Some(Mode::Creates),
            "--extract" | "--get" => self.mode = Some(Mode::Extracts),
            "--list" | "--diff" | "--compare" | "--delete" => self.mode = Some(Mode::Shows),
            "--file" => self.archive = value(),
            "--directory" | "--cd" => self.folder = value(),
            "--to-stdout" | "--to-command" => self.prints = true,
            "--strip-components" | "--transform" | "--xform" => self.renames = true,
            "--exclude-from" | "--files-from" | "--use-compress-program" => {
                value();
            }
            _ => {}
        }
    }
}

fn within(field: &Field, text: &str) -> Field {
    Field {
        text: text.to_owned(),
        ..field.clone()
    }
}

/// `tar -czf ARCHIVE FILES`, `tar xf ARCHIVE -C FOLDER`.
pub(super) fn tar(analysis: &mut Analysis, call: Call<'_>, scope: &mut Scope<'_>) {
    let words = Words::of(call);
    let mode = words.mode.unwrap_or(Mode::Extracts);
    let access = match mode {
        Mode::Creates => Access::Write,
        Mode::Extracts | Mode::Shows => Access::Read,
    };
    if let Some(archive) = &words.archive {
        analysis.path(access, archive, scope);
    }
    match mode {
        Mode::Creates => {
            for (folder, operand) in &words.operands {
                let text = match folder {
                    Some(folder) if !operand.text.starts_with(['/', '~']) => {
                        format!("{}/{}", folder.text, operand.text)
                    }
                    _ => operand.text.clone(),
                };
                analysis.path(Access::Read, &within(operand, &text), scope);
            }
        }
        Mode::Extracts if !words.prints => extracted(analysis, &words, scope),
        Mode::Extracts | Mode::Shows => {}
    }
}

fn extracted(analysis: &mut Analysis, words: &Words<'_>, scope: &Scope<'_>) {
    let here = Field::literal(".");
    match &words.folder {
        Some(folder) => landing::filled(analysis, folder, scope),
        None if words.operands.is_empty() && landing::matters(analysis, &here, scope) => {
            landing::filled(analysis, &here, scope);
        }
        None => {}
    }
    for (_, member) in words.operands.iter().filter(|_| !words.renames) {
        landing::member(analysis, words.folder.as_ref().unwrap_or(&here), member, scope);
    }
}
