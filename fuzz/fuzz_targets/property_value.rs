#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapi_rpc::fuzzing::property_value(data));
