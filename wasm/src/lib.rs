//! Killick in the browser: the engine behind a JavaScript face.
//!
//! The same loader, kernels and forward pass as the native program; this crate only turns JavaScript values into the library's
//! and back. Options and results travel as JSON text, so that a page, a worker and a test read the same document that the command line
//! prints. What programs import is `web/killick`, which runs this in a worker.
//!
//! ```text
//! engine.rs  a device, a model's headers, a model on the device
//! text.rs    one text on it
//! files.rs   a model's files, read piece by piece
//! options.rs what comes as JSON
//! bench.rs   how fast it is here
//! hash.rs    SHA-256 of what arrives
//! error.rs   errors with a code
//! ```
#![cfg(target_arch = "wasm32")]

mod bench;
mod engine;
mod error;
mod files;
mod hash;
mod options;
mod text;

use std::cell::RefCell;

use wasm_bindgen::prelude::*;

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &str);
}

/// Runs once, when the module is instantiated: without a hook a panic's message would be lost.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| {
        console_error(&info.to_string());
        LAST_PANIC.with_borrow_mut(|last| *last = Some(info.to_string()));
    }));
}

/// What this module said when it stopped, for the page; nothing while it goes on.
#[wasm_bindgen(js_name = lastPanic)]
pub fn last_panic() -> Option<String> {
    LAST_PANIC.with_borrow(Clone::clone)
}
