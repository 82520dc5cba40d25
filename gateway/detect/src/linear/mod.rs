//! Linear models over named features: what stands beside the rules, for artifacts and for tool calls.
//!
//! | Module | Holds |
//! |---|---|
//! | `found` | what is found, as numbers that a model has weights for |
//! | `concepts` | words and calls by what they mean |
//! | `model` | weights, and how features are weighed |

mod concepts;
mod found;
mod model;

pub(crate) use concepts::Lexicon;
pub use found::GROUPS;
pub(crate) use found::{Found, Part, Say};
pub(crate) use model::ONE;
pub use model::{Model, Weights, WeightsError};

/// The words and calls that features are made of: weights are of use with these alone.
pub fn concepts() -> &'static str {
    concepts::CONCEPTS
}
