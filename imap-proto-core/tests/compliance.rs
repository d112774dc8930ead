//! COMPLIANCE.toml, the citations in the code and the tests agree.

use mailstore_trait::testkit::compliance;

#[test]
fn compliance_agrees_with_code_and_tests() {
    compliance::check(env!("CARGO_MANIFEST_DIR"), &["src"]);
}
