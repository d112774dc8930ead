#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imap_proto_core::fuzzing::imap_client(data));
