//! Code, citations and tests agree.

#[test]
fn every_citation_is_listed_and_tested() {
    mailstore_trait::testkit::compliance::check(env!("CARGO_MANIFEST_DIR"), &["src"]);
}
