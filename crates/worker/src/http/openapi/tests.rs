//! The document says what there is: no more, no less.

use std::collections::BTreeSet;
use std::path::Path;

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
