#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mailstore_trait::fuzzing::proxy_header(data));
