//! Models that settings name.

use serde_json::Value;

use crate::item::{Details, Item, ItemKind, Scope, sha256_of};
use crate::programs::Program;
use crate::settings::at;
use crate::tidy;

/// Most models of one file.
const MAX_MODELS: usize = 100;

/// The models that settings of a harness name, as items of that file.
pub(crate) fn of(value: &Value, program: &Program, path: &str, scope: Scope) -> Vec<Item> {
    let provider = program
        .providers
        .iter()
        .flat_map(|keys| at(value, keys))
        .find_map(|(_, value)| {
            value.as_str().map(|text| {
                if text.contains("://") {
                    tidy::url(text)
                } else {
                    tidy::name(text)
                }
            })
        });
    let mut items: Vec<Item> = Vec::new();
    for keys in &program.models {
        for (setting, value) in at(value, keys) {
            let Some(name) = value.as_str().filter(|name| !name.trim().is_empty()) else {
                continue;
            };
            if items.len() >= MAX_MODELS {
                return items;
            }
            let name = tidy::name(name.trim());
            let mut item = Item::new(ItemKind::Model, &name, path, scope, (path, &setting));
            item.digest = Some(sha256_of(name.as_bytes()));
            // `provider/model`, as routers write it.
            let own = provider
                .clone()
                .or_else(|| name.split_once('/').map(|(provider, _)| provider.to_owned()));
            item.details = Details::Model {
                provider: own,
                setting,
            };
            items.push(item);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn models_are_found_where_the_table_says() {
        let table = crate::programs::embedded().unwrap();
        let of = |connector: &str, value: Value| {
            let items = of(&value, &table.connectors[connector], "/f", Scope::User);
            let told = items.into_iter().map(|item| match item.details {
                Details::Model { provider, setting } => {
                    format!("{setting}={} by {}", item.name, provider.unwrap_or_default())
                }
                other => panic!("{other:?}"),
            });
            told.collect::<Vec<_>>()
        };
        assert_eq!(
            of(
                "claude-code",
                json!({"model": "opus", "env": {"ANTHROPIC_BASE_URL": "https://k:s@h.example"}})
            ),
            ["model=opus by https://***@h.example"]
        );
        assert_eq!(
            of(
                "codex",
                json!({"model": "gpt-6", "model_provider": "azure", "profiles": {"p": {"model": "o3"}}})
            ),
            ["model=gpt-6 by azure", "profiles.p.model=o3 by azure"]
        );
        assert_eq!(
            of("opencode", json!({"model": "anthropic/opus"})),
            ["model=anthropic/opus by anthropic"]
        );
        assert_eq!(
            of("hermes", json!({"model": {"provider": "p", "model_name": "m"}})),
            ["model.model_name=m by p"]
        );
        assert_eq!(
            of("gemini-cli", json!({"model": {"name": "pro"}})),
            ["model.name=pro by "]
        );
        assert_eq!(of("codex", json!({"model": 3})), Vec::<String>::new());
    }
}
