//! The example server: every protocol on any store over tokio and rustls.
#![allow(dead_code)]
mod cli;
mod config;
mod environment;
mod files;
mod shutdown;
mod stream;
mod throttle;
mod tls;
mod transfer;

fn main() {}
