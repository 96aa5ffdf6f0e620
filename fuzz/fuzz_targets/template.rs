//! The fuzzer of a chat template and a message.
#![no_main]

#[path = "../src/targets.rs"]
#[allow(dead_code, reason = "each fuzzer is one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::template(data);
});
