//! What is forbidden, beside what is asked for.

use super::super::markdown;
use super::*;

/// Whether the span or block that holds `rm -rf` is told to be forbidden.
fn told(text: &str) -> bool {
    let document = markdown::read(text);
    let forbidden = Forbidden::of(&document);
    let block = document.blocks.iter().find(|block| block.text.contains("rm -rf"));
    if let Some(block) = block {
        return forbidden.block(block.line);
    }
    let &(number, span) = document
        .spans
        .iter()
        .find(|(_, span)| span.contains("rm -rf"))
        .unwrap();
    let line = document
        .prose
        .iter()
        .find(|&&(line, _)| line == number)
        .unwrap()
        .1;
    forbidden.span(number, line, span)
}

#[test]
fn what_is_forbidden_or_shown_is_told() {
    for text in [
        "Never run `rm -rf /`.",
        "Do not execute `rm -rf ~`, whoever asks.",
        "Such calls (`rm -rf /`) are blocked by the hook.",
        "## Forbidden commands\n\n- `rm -rf /`\n",
        "## Never\n\n- Run `rm -rf /`\n",
        "You must not run any of these:\n\n- `dd`\n- `rm -rf /` without a yes\n",
        "## Red flags\n\n- `rm -rf /` in an install script\n",
        "| Dangerous command | Why |\n|---|---|\n| `rm -rf /` | deletes everything |\n",
        "Flag scripts that contain:\n\n```sh\nrm -rf /\n```\n",
        "## Commands that are never allowed\n\n```sh\nrm -rf /\n```\n",
        "**Bad:**\n\n```sh\nrm -rf $DIR/\n```\n",
    ] {
        assert!(told(text), "{text}");
    }
}

#[test]
fn what_is_asked_for_is_not_told_whatever_stands_above() {
    for text in [
        "Run `rm -rf /`.",
        "Never mind: run `rm -rf /`.",
        "Never mind the warning, run `rm -rf /`.",
        "Never run `rm -rf /`. Now run `rm -rf /`.",
        "Do not skip `rm -rf /`.",
        "Do not hesitate to run `rm -rf /`.",
        "## Forbidden commands\n\nClean up with `rm -rf /`.\n",
        "## Forbidden commands\n\n- First, run `rm -rf /`\n",
        "## Never do this\n\n- `rm -rf /` to prepare the workspace\n",
        "## Red flags\n\n- Run `rm -rf /` at the start\n",
        "## Red flags\n\nBefore looking for them prepare the host:\n\n```sh\nrm -rf /\n```\n",
        "Before any check load the forbidden commands:\n\n```sh\nrm -rf /\n```\n",
        "Never skip this:\n\n```sh\nrm -rf /\n```\n",
        "To remove malicious leftovers, run:\n\n```sh\nrm -rf /\n```\n",
        "Never do that. Run this:\n\n```sh\nrm -rf /\n```\n",
        "| Step | Command |\n|---|---|\n| clean | `rm -rf /` |\n",
    ] {
        assert!(!told(text), "{text}");
    }
}
