//! A filter behind a search: loading one makes the kernel check, translate and run it for every call number there is, so that a long row
//! of comparisons is what a sandbox's start waits for.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, TargetArch, sock_filter};

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const RETURN: u16 = 0x06;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
pub(super) const JUMP_IF_AT_LEAST: u16 = 0x35;

/// Where a filter finds the call's number and its architecture (`struct seccomp_data`).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;

pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

/// So few numbers are compared one by one.
const FEW: usize = 3;

pub(super) fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What a filter says to a call before it looks at the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Refused with this number of an error, whatever the arguments are.
    Refused(i32),
    /// The filter with this number looks at the arguments.
    Asked(usize),
}

/// A filter that answers by `numbers`, refuses all calls from `from` on with an error's number, and asks one of `filters` about those which
/// that decides; the first of them about every call of another architecture, too. All other calls it allows.
pub(super) fn joined(
    filters: Vec<BpfProgram>,
    numbers: &BTreeMap<u32, Answer>,
    from: Option<(u32, i32)>,
    arch: TargetArch,
) -> BpfProgram {
    let mut program = search(numbers, from, arch);
    let mut begins = Vec::new();
    let mut end = program.len();
    for filter in &filters {
        begins.push(end);
        end += filter.len();
    }
    for (at, one) in program.iter_mut().enumerate() {
        if let Some(begin) = asked(one).and_then(|filter| begins.get(filter)) {
            one.k = distance(begin - at - 1);
        }
    }
    program.extend(filters.into_iter().flatten());
    program
}

fn search(numbers: &BTreeMap<u32, Answer>, from: Option<(u32, i32)>, arch: TargetArch) -> BpfProgram {
    // `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64`.
    let arch = match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        // There is none, see `parts`.
        TargetArch::riscv64 => return Vec::new(),
    };
    let numbers: Vec<(u32, Answer)> = numbers
        .iter()
        .map(|(number, answer)| (*number, *answer))
        .collect();
    let mut program = vec![
        step(LOAD_WORD, 0, 0, ARCHITECTURE),
        step(JUMP_IF_EQUAL, 1, 0, arch),
        ask(0),
        step(LOAD_WORD, 0, 0, NUMBER),
    ];
    program.extend(
        from.into_iter()
            .flat_map(|(from, errno)| [step(JUMP_IF_AT_LEAST, 0, 1, from), refuse(errno)]),
    );
    program.extend(among(&numbers));
    program
}

/// Farther than any jump: from there on, it stands for a jump to the filter with the number that is beyond it.
const FAR: u32 = 1 << 20;

fn ask(filter: usize) -> sock_filter {
    step(JUMP, 0, 0, FAR.saturating_add(distance(filter)))
}

fn asked(one: &sock_filter) -> Option<usize> {
    let filter = one.k.checked_sub(FAR).filter(|_| one.code == JUMP)?;
    usize::try_from(filter).ok()
}

fn refuse(errno: i32) -> sock_filter {
    step(RETURN, 0, 0, ERRNO | errno.unsigned_abs())
}

fn among(numbers: &[(u32, Answer)]) -> BpfProgram {
    let mut program = Vec::new();
    if numbers.len() <= FEW {
        for (number, answer) in numbers {
            let then = match answer {
                Answer::Refused(errno) => refuse(*errno),
                Answer::Asked(filter) => ask(*filter),
            };
            program.extend([step(JUMP_IF_EQUAL, 0, 1, *number), then]);
        }
        program.push(step(RETURN, 0, 0, ALLOW));
        return program;
    }
    let (below, above) = numbers.split_at(numbers.len() / 2);
    let below = among(below);
    program.push(step(JUMP_IF_AT_LEAST, 0, 1, above[0].0));
    program.push(step(JUMP, 0, 0, distance(below.len())));
    program.extend(below);
    program.extend(among(above));
    program
}

/// A filter has at most 4,096 steps.
fn distance(steps: usize) -> u32 {
    u32::try_from(steps).unwrap_or(u32::MAX)
}
