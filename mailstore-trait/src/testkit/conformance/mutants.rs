use crate::testkit::conformance::{check, run};
use crate::testkit::memory::MemRig;

#[test]
fn the_reference_store_keeps_every_promise() {
    let report = run(&MemRig::new());
    assert_eq!(report.unproved, []);
    assert_eq!(report.proved.len(), super::PROMISES.len());
    assert!(check(&MemRig::new(), |_| false).proved.is_empty());
}
