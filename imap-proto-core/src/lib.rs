//! Under construction in this commit; see ARCHITECTURE.md.

pub mod utf7;
