//! The fuzzer of config.json, a policy and a binding limit.
#![no_main]

#[path = "../src/targets.rs"]
#[allow(dead_code, reason = "each fuzzer is one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::plan(data);
});
