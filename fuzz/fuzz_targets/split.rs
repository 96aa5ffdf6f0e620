//! The fuzzer of the parts of a split GGUF file.
#![no_main]

#[path = "../src/targets.rs"]
#[allow(dead_code, reason = "each fuzzer is one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::split(data);
});
