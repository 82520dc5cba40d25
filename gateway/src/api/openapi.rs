//! The OpenAPI document, made from the routes and from the types that are sent.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::problem::ErrorBody;
use super::routes::{Content, Needs, Route, routes};

static TEXT: LazyLock<String> = LazyLock::new(|| {
    // A value without maps of other than string keys can always be written.
    serde_json::to_string(&document()).unwrap_or_default()
});

/// The document as JSON.
pub fn document_text() -> &'static str {
    &TEXT
}

/// The document.
pub fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut sent = settings().for_serialize().into_generator();
    let mut received = settings().into_generator();
    let error = json!({"application/json": {"schema": sent.subschema_for::<ErrorBody>()}});
    let mut paths = Map::new();
    for route in routes() {
        let operation = operation(&route, &mut sent, &mut received, &error);
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = received.take_definitions(true);
    schemas.extend(sent.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "DefenseClaw gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "On the Unix socket the kernel says who asks. On loopback TCP every request needs the bearer token, \
                and nothing can be changed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:18970"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    })
}

fn operation(
    route: &Route,
    sent: &mut SchemaGenerator,
    received: &mut SchemaGenerator,
    error: &Value,
) -> Value {
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            "200": {"description": "Done", "content": content(&route.answer, sent)},
            "default": {"description": "What failed and what to do", "content": error},
        },
    });
    let needs = match route.needs {
        Needs::Nothing => None,
        Needs::Reader => Some("Over the socket for operators' users."),
        Needs::Operator => {
            Some("Over the socket only, for an operator's process that belongs to no agent's session.")
        }
    };
    if let Some(needs) = needs {
        operation["description"] = json!(needs);
    }
    if route.needs == Needs::Operator {
        operation["security"] = json!([]);
    }
    let parameters = parameters(route, received);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if !matches!(route.body, Content::None) {
        operation["requestBody"] = json!({"required": true, "content": content(&route.body, received)});
    }
    operation
}

fn content(content: &Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::None => json!({}),
        Content::Json(schema) => json!({"application/json": {"schema": schema(generator)}}),
        Content::Other(media_type) => {
            let mut content = json!({});
            content[*media_type] = json!({});
            content
        }
    }
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let kind = if name == "seq" { "integer" } else { "string" };
        Some(json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}}))
    });
    let mut parameters: Vec<_> = in_path.collect();
    if let Some(query) = route.query {
        let mut inline = SchemaGenerator::new(generator.settings().clone().with(|settings| {
            settings.inline_subschemas = true;
        }));
        let schema = query(&mut inline);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let mut property = property.clone();
            let description = property
                .as_object_mut()
                .and_then(|fields| fields.remove("description"));
            parameters.push(json!({
                "name": name,
                "in": "query",
                "description": description,
                "schema": property,
            }));
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_clients_were_built_against() {
        let mut document = document();
        document["info"]["version"] = json!("(the release's)");
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_name_is_used_once() {
        let document = document();
        let mut names: Vec<_> = routes().iter().map(|route| route.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        let text = document.to_string();
        let references: Vec<_> = text
            .split("\"$ref\":\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert!(references.len() > 20);
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
