//! The document says what there is: no more, no less.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use utoipa::openapi::RefOr;

use super::DOCUMENT;
use super::document::{document, named, operations, text};
use crate::http::access_table;

/// Set to anything, it has the test write the file instead of comparing it.
const RENEW: &str = "SESSIOND_RENEW_OPENAPI";

#[test]
fn document_in_the_tree_is_that_of_the_annotations() {
    let made = text();
    if std::env::var_os(RENEW).is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        std::fs::write(&file, &made).expect("the document can be written");
        return;
    }
    let differs = made
        .lines()
        .zip(DOCUMENT.lines())
        .position(|(made, kept)| made != kept);
    assert!(
        made == DOCUMENT,
        "docs/openapi.json is not that of the annotations, from line {differs:?} on; look whether \
         the change of the API is meant, and renew it with:\n  {RENEW}=1 cargo test -p sessiond \
         --lib openapi"
    );
}

#[test]
fn every_route_is_documented_and_every_documented_one_is_there() {
    let mut document = document();
    let documented: BTreeSet<String> = operations(&mut document)
        .into_iter()
        .map(|(path, method, _)| named(method, &path))
        .collect();
    let routed: BTreeSet<String> = access_table()
        .routes()
        .into_iter()
        .map(|(method, path, _)| named(method.as_str(), path))
        .collect();
    let undocumented: Vec<_> = routed.difference(&documented).collect();
    assert!(
        undocumented.is_empty(),
        "routes without an annotation in `openapi::document`: {undocumented:?}"
    );
    let unrouted: Vec<_> = documented.difference(&routed).collect();
    assert!(
        unrouted.is_empty(),
        "documented, and no route: {unrouted:?}"
    );
}

/// Held to what the document says itself: names that are needed, and no others.
#[test]
fn every_answer_has_an_example_which_is_one() {
    let document: Value = serde_json::from_str(&text()).expect("JSON");
    let schemas = Schemas(&document["components"]["schemas"]);
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for (status, answer) in operation["responses"].as_object().expect("answers") {
                for content in answer["content"].as_object().into_iter().flatten() {
                    let (_, content) = content;
                    let has_example =
                        !content["example"].is_null() || schemas.has_example(&content["schema"]);
                    assert!(has_example, "{method} {path} {status} has no example");
                }
            }
        }
    }
    for (name, schema) in schemas.0.as_object().expect("schemas") {
        let Some(example) = schema["example"].as_object() else {
            continue;
        };
        let fields = schemas.fields(schema);
        for (field, is_required) in &fields {
            let is_there = example.contains_key(*field);
            assert!(is_there || !is_required, "{name}: {field} is missing");
        }
        for field in example.keys() {
            assert!(fields.contains_key(field.as_str()), "{name} has no {field}");
        }
    }
}

struct Schemas<'a>(&'a Value);

impl<'a> Schemas<'a> {
    /// What a reference refers to.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"]
            .as_str()
            .and_then(|path| path.split('/').next_back());
        name.map_or(schema, |name| &self.0[name])
    }

    /// Its own, or, of a list in an object, that of an item.
    fn has_example(&self, schema: &'a Value) -> bool {
        let schema = self.resolve(schema);
        let of_field = |field: &'a Value| {
            let of = if field["items"].is_null() {
                field
            } else {
                &field["items"]
            };
            let optional = of["oneOf"].as_array().and_then(|either| either.first());
            !self.resolve(optional.unwrap_or(of))["example"].is_null()
        };
        let mut fields = schema["properties"].as_object().into_iter().flatten();
        !schema["example"].is_null() || fields.any(|(_, field)| of_field(field))
    }

    /// The fields of an object, and whether each is required.
    fn fields(&self, schema: &'a Value) -> BTreeMap<&'a str, bool> {
        let schema = self.resolve(schema);
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut fields: BTreeMap<_, _> = parts.flat_map(|part| self.fields(part)).collect();
        let required = schema["required"].as_array().into_iter().flatten();
        let required: BTreeSet<_> = required.filter_map(Value::as_str).collect();
        let own = schema["properties"].as_object().into_iter().flatten();
        fields.extend(own.map(|(name, _)| (name.as_str(), required.contains(name.as_str()))));
        fields
    }
}

#[test]
fn every_operation_says_what_it_does_and_how_it_is_refused() {
    let mut document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&mut document) {
        let id = operation.operation_id.clone();
        assert!(ids.insert(id.clone()), "{id:?} is the id of two operations");
        let name = format!("{method} {path}");
        assert!(operation.summary.is_some(), "{name} has a summary");
        let responses = &operation.responses.responses;
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{name}"
        );
        assert!(responses.contains_key("403"), "{name}");
        for parameter in operation.parameters.iter().flatten() {
            let RefOr::T(parameter) = parameter else {
                panic!("{name}: a parameter stands for itself");
            };
            assert!(
                parameter.description.is_some(),
                "{name}: {}",
                parameter.name
            );
        }
    }
}
