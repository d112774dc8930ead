//! Code, citations and tests agree.
#![cfg(feature = "testkit")]

#[test]
fn every_citation_is_listed_and_tested() {
    let paths = [
        "src/sasl.rs",
        "src/sasl",
        "src/password.rs",
        "src/password",
        "src/fuzzing/sasl.rs",
        "src/query.rs",
        "src/query",
    ];
    mailstore_trait::testkit::compliance::check(env!("CARGO_MANIFEST_DIR"), &paths);
}
