//! The Exchange protocols (MAPI over HTTP, RPC over HTTP) without I/O. So far: the ground under them.
//!
//! | module | what it holds | source |
//! |---|---|---|
//! | [`wire`] | little-endian reading and writing with nested length scopes | [MS-OXCROPS] §2 |
//! | [`guid`] | GUIDs in their mixed byte order | [MS-DTYP] §2.3.4 |
//! | [`property`] | property types, tags and values | [MS-OXCDATA] §2.9, §2.11 |
//!
//! The remote operations, the RPC layers, address book and conversion to MIME are not there yet, and nothing here
//! pretends that they are.

#[doc(hidden)]
pub mod fuzzing;
pub mod guid;
pub mod property;
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
