//! What is known of a value: where it came from, and what it is made of.

use serde::Deserialize;

/// A set of labels, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Labels(pub(crate) u32);

/// One thing that is known of a value.
///
/// The first five say from whom it came. Each has a second form, for a value that holds such a thing as one of several
/// elements, or behind a fixed beginning: an argument of a program is not yet a command, a path behind a host is not yet a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Label {
    /// A parameter of a tool that a model calls.
    Tool,
    /// Of a request over the network.
    Request,
    /// An argument of the program, or its standard input.
    Input,
    /// Answered by a host.
    Net,
    /// Said by a model.
    Model,
    ToolElement = 8,
    RequestElement,
    InputElement,
    NetElement,
    ModelElement,
    /// Names a place where secrets lie.
    SecretPath = 13,
    /// The content of such a place.
    Secret,
    /// All variables of the environment.
    Environment,
    /// One variable, named like a credential.
    Token,
    /// Came out of base64, hexadecimal, a compressor.
    Decoded,
    /// Names a file that runs by itself: of a shell, cron, systemd, a harness.
    Startup,
    /// Names a hook of git.
    Hook,
    /// Names a host to which nobody should send: a bare address, a paste, a collector of requests.
    Drop,
    /// Names a program that sends: curl, nc, scp.
    Sender,
    /// Names a file that holds what the network answered.
    Downloaded,
    /// Put together from pieces.
    Built,
    /// Checked to lie below a root, or to be one of a few.
    Checked,
    /// Names a shell.
    Shell,
    /// The option by which a shell takes a command as text.
    Command,
    /// One variable of the environment.
    Variable,
    /// Names a project's own file of settings, in which its credentials lie.
    SettingsPath,
    /// The content of such a file: a program may send it to whom it belongs.
    Settings,
}

/// The labels that say from whom a value came.
const ORIGINS: u32 = 0x1f;

impl Label {
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// What a person calls it.
    pub(crate) fn noun(bit: u32) -> &'static str {
        const NOUNS: [(u32, &str); 15] = [
            (
                Label::Tool.bit() | Label::ToolElement.bit(),
                "an argument of a tool",
            ),
            (Label::Request.bit() | Label::RequestElement.bit(), "a request"),
            (
                Label::Input.bit() | Label::InputElement.bit(),
                "the program's arguments or input",
            ),
            (
                Label::Net.bit() | Label::NetElement.bit(),
                "an answer from the network",
            ),
            (Label::Model.bit() | Label::ModelElement.bit(), "a model's answer"),
            (Label::SecretPath.bit(), "the path of a secret"),
            (Label::Secret.bit(), "a secret file"),
            (Label::Environment.bit(), "the whole environment"),
            (Label::Token.bit(), "a credential of the environment"),
            (Label::Decoded.bit(), "decoded text"),
            (Label::Startup.bit(), "the path of a start-up file"),
            (Label::Hook.bit(), "the path of a git hook"),
            (Label::Downloaded.bit(), "a downloaded file"),
            (
                Label::SettingsPath.bit() | Label::Settings.bit(),
                "a file of credentials of the project",
            ),
            (Label::Variable.bit(), "a variable of the environment"),
        ];
        NOUNS
            .iter()
            .find(|(bits, _)| bits & bit != 0)
            .map_or("a value", |(_, noun)| noun)
    }
}

impl Labels {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(list: &[Label]) -> Self {
        Self(list.iter().fold(0, |all, label| all | label.bit()))
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an edge does to the labels that go along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing.
    Keep,
    /// It becomes one element of several.
    Element,
    /// An element is taken out, or all are joined.
    Whole,
    /// It becomes a piece of a text.
    Piece,
    /// A piece behind a fixed beginning.
    Tail,
    /// A file is read by its path.
    Read,
    /// It is written into the file that is named there.
    WrittenTo,
    /// Only what a file holds is known of the other name, too.
    SameFile,
    /// These are taken away.
    Without(Labels),
}

impl How {
    /// What comes out at the other end.
    pub(crate) fn apply(self, Labels(labels): Labels) -> Labels {
        let out = match self {
            Self::Keep => labels,
            Self::Element => (labels & !ORIGINS) | (labels & ORIGINS) << 8,
            Self::Whole => labels | (labels >> 8 & ORIGINS),
            Self::Piece => labels | (labels >> 8 & ORIGINS) | Label::Built.bit(),
            Self::Tail => (labels & !ORIGINS) | (labels & ORIGINS) << 8 | Label::Built.bit(),
            Self::Read => {
                let read = |path: Label, content: Label| {
                    if labels & path.bit() == 0 {
                        0
                    } else {
                        content.bit()
                    }
                };
                let kept = [Label::Secret, Label::Settings, Label::Startup, Label::Hook];
                labels & Labels::of(&kept).0
                    | read(Label::SecretPath, Label::Secret)
                    | read(Label::SettingsPath, Label::Settings)
            }
            Self::WrittenTo => {
                let net = Label::Net.bit() | Label::NetElement.bit();
                let net = if labels & net == 0 {
                    0
                } else {
                    Label::Downloaded.bit()
                };
                let secret = Label::Secret.bit() | Label::Environment.bit();
                let secret = if labels & secret == 0 {
                    0
                } else {
                    Label::SecretPath.bit()
                };
                net | secret
            }
            Self::SameFile => labels & Label::Downloaded.bit(),
            Self::Without(gone) => labels & !gone.0,
        };
        Labels(out)
    }

    /// The label before the edge that `bit` behind it comes from, among those that were there.
    pub(crate) fn before(self, bit: u32, Labels(there): Labels) -> u32 {
        if self.apply(Labels(bit & there)).0 & bit != 0 {
            return bit;
        }
        (0..u32::BITS)
            .map(|shift| 1 << shift)
            .find(|&one| there & one != 0 && self.apply(Labels(one)).0 & bit != 0)
            .unwrap_or(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_becomes_whole_again_and_a_path_becomes_what_lies_there() {
        let tool = Labels(Label::Tool.bit());
        let element = How::Element.apply(tool);
        assert_eq!(element.0, Label::ToolElement.bit());
        assert!(How::Whole.apply(element).has(tool));
        let path = Labels(Label::SecretPath.bit() | Label::Tool.bit());
        assert_eq!(How::Read.apply(path).0, Label::Secret.bit());
        assert_eq!(
            How::Read.before(Label::Secret.bit(), path),
            Label::SecretPath.bit()
        );
        let net = How::WrittenTo.apply(Labels(Label::NetElement.bit()));
        assert_eq!(net.0, Label::Downloaded.bit());
    }
}
