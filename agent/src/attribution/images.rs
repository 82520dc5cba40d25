//! The tree of program images.

use std::collections::{HashMap, VecDeque};

use defenseclaw_model::activity::{Basis, Explained};
use defenseclaw_model::ids::{CallId, ImageId, SessionKey};

use super::launch::Stage;
use crate::sensor::record::Exec;

/// Most images that are remembered. When one is forgotten, processes that still run it are known by the call that their
/// kernel label carries.
pub const MAX_IMAGES: usize = 65_536;

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) session: SessionKey,
    pub(super) program: String,
    pub(super) role: Role,
    /// How far it is on its way into a sandbox.
    pub(super) stage: Stage,
    /// Set where the image was read from a running process, not told by an exec.
    pub(super) caught: Option<Caught>,
}

/// A process that was found running when its session was bound. It may have been in the middle of an exec: its program
/// changes first, its arguments a little later, and the kernel programs report the exec last, with what was read here as
/// the image that it replaced.
#[derive(Debug, Clone)]
pub(super) struct Caught {
    /// The image of its parent process.
    pub(super) parent: ImageId,
    /// The arguments as they were read; empty in the middle of an exec.
    pub(super) argv: Vec<String>,
}

impl Image {
    /// Whether `exec` is the very exec in the middle of which the image was read.
    pub(super) fn is_same_exec(&self, exec: &Exec) -> Option<ImageId> {
        let caught = self.caught.as_ref()?;
        let program = self.program.is_empty() || self.program == exec.path;
        let argv = caught.argv.is_empty()
            || caught.argv == exec.argv
            || (exec.argv_truncated && caught.argv.starts_with(&exec.argv));
        (program && argv).then_some(caught.parent)
    }
}

/// What an image is to its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The harness.
    Root,
    /// Our hook client, or the shell that starts it.
    Hook,
    /// Something that the harness does by itself: the place of the contract's entry.
    Housekeeping(usize),
    /// Part of a call.
    Call {
        call: CallId,
        /// How the image itself came to the call; its descendants come by lineage.
        basis: Basis,
        /// Whether the call names the image's program.
        explained: Explained,
    },
    /// Explained by nothing.
    Unexplained,
}

/// All images.
#[derive(Default)]
pub(super) struct Images {
    by_id: HashMap<ImageId, Image>,
    order: VecDeque<ImageId>,
}

impl Images {
    pub(super) fn get(&self, id: ImageId) -> Option<&Image> {
        self.by_id.get(&id)
    }

    pub(super) fn insert(&mut self, id: ImageId, image: Image) {
        if self.by_id.insert(id, image).is_none() {
            self.order.push_back(id);
        }
        while self.by_id.len() > MAX_IMAGES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            // The harness itself is the root of every look-up: it stays.
            if self
                .by_id
                .get(&oldest)
                .is_some_and(|image| image.role == Role::Root)
            {
                self.order.push_back(oldest);
            } else {
                self.by_id.remove(&oldest);
            }
        }
    }

    /// The process that executed the image ended. The image itself stays until it is pushed out: a child that forked
    /// without exec may run it on.
    pub(super) fn ended(&mut self, id: ImageId) {
        if let Some(image) = self.by_id.get_mut(&id)
            && image.role == Role::Root
        {
            // From now on it may be forgotten like any other.
            image.role = Role::Unexplained;
        }
    }
}
