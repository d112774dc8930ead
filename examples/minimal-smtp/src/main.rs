//! Under construction in this commit; see ARCHITECTURE.md.
fn main() {}
