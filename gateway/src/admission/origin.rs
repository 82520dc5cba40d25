//! Where an artifact comes from, as far as that is known without taking its own word.
//!
//! A plugin that a harness keeps under a marketplace's name comes from there, says the place: `claimed:CONNECTOR/MARKETPLACE`. The folder is
//! the user's, and so are the files in which a harness notes what it installed from where; no process of ours that may read them is
//! better informed by them than by the folder. So the word is marked as what it is, and counts for nothing unless an operator writes it, mark
//! and all, under `trust.origins`. Of everything else that lies in a place nobody knows where it came from.

use std::path::Path;
use std::sync::LazyLock;

use defenseclaw_model::admission::ArtifactKind;
use defenseclaw_model::gate::GatedArtifact;
use defenseclaw_places::{Place, PlaceKind, embedded, names};

/// The table is built in and tested where it stands.
static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| embedded().unwrap_or_default());

/// The origin of what lies there.
pub(super) fn of(artifact: &GatedArtifact) -> Option<String> {
    if artifact.kind != ArtifactKind::Plugin {
        return None;
    }
    let path = Path::new(&artifact.path);
    names::place_at(&PLACES, PlaceKind::Plugin, path)?.origin_of(path)
}
