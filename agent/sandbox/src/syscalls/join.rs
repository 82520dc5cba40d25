//! Several filters in one, behind a search: loading a filter makes the kernel run it for every call number there is, so that a long row
//! of comparisons is what a sandbox's start waits for.

use std::collections::BTreeSet;

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

/// A filter that answers as all of `filters` do one after the other, where what one allows is asked of the next. None of them says
/// anything but that it allows of the architecture's calls whose numbers are below `from` and not in `numbers`.
pub(super) fn joined(
    filters: Vec<BpfProgram>,
    numbers: &BTreeSet<u32>,
    from: Option<u32>,
    arch: TargetArch,
) -> BpfProgram {
    let mut program = search(numbers, from, arch);
    for filter in filters {
        let length = filter.len();
        program.extend(filter.into_iter().enumerate().map(|(at, one)| {
            match one.code == RETURN && one.k == ALLOW {
                true => step(JUMP, 0, 0, distance(length - at - 1)),
                false => one,
            }
        }));
    }
    program.push(step(RETURN, 0, 0, ALLOW));
    program
}

/// Allows the calls of this architecture whose numbers are below `from` and none of `numbers`, and goes on behind its end with all
/// others.
fn search(numbers: &BTreeSet<u32>, from: Option<u32>, arch: TargetArch) -> BpfProgram {
    // `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64`.
    let arch = match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        // Every call goes on.
        TargetArch::riscv64 => return Vec::new(),
    };
    let numbers: Vec<u32> = numbers.iter().copied().collect();
    let mut program = vec![
        step(LOAD_WORD, 0, 0, ARCHITECTURE),
        step(JUMP_IF_EQUAL, 1, 0, arch),
        GO_ON,
        step(LOAD_WORD, 0, 0, NUMBER),
    ];
    program.extend(
        from.into_iter()
            .flat_map(|from| [step(JUMP_IF_AT_LEAST, 0, 1, from), GO_ON]),
    );
    program.extend(among(&numbers));
    let length = program.len();
    for (at, one) in program.iter_mut().enumerate() {
        if one == &GO_ON {
            one.k = distance(length - at - 1);
        }
    }
    program
}

/// Stands for a jump behind the end of the search.
const GO_ON: sock_filter = sock_filter {
    code: JUMP,
    jt: 0,
    jf: 0,
    k: u32::MAX,
};

fn among(numbers: &[u32]) -> BpfProgram {
    let mut program = Vec::new();
    if numbers.len() <= FEW {
        for number in numbers {
            program.extend([step(JUMP_IF_EQUAL, 0, 1, *number), GO_ON]);
        }
        program.push(step(RETURN, 0, 0, ALLOW));
        return program;
    }
    let (below, above) = numbers.split_at(numbers.len() / 2);
    let below = among(below);
    program.push(step(JUMP_IF_AT_LEAST, 0, 1, above[0]));
    program.push(step(JUMP, 0, 0, distance(below.len())));
    program.extend(below);
    program.extend(among(above));
    program
}

/// A filter has at most 4,096 steps.
fn distance(steps: usize) -> u32 {
    u32::try_from(steps).unwrap_or(u32::MAX)
}
