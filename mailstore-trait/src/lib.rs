//! What every mail protocol of this workspace shares.
//!
//! | module | what it holds |
//! |---|---|
//! | [`session`] | the one shape of every protocol: [`session::Session`], its outputs and questions |

pub mod session;
