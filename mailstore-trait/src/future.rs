//! The futures and streams of the traits, boxed so that the traits are dyn-safe.

use std::future::Future;
use std::pin::Pin;

use futures_core::Stream;

/// An answer on its way.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Items as they come.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;
