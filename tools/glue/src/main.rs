//! `killick-glue IN.wasm OUT_DIR`: writes the JavaScript half of the WebAssembly build, and the module it loads, into OUT_DIR.
//!
//! It does what the `wasm-bindgen` program does, as a member of this workspace: the tool's version must equal the
//! crate's, and so one lock file pins both and nothing has to be installed by hand.

#![expect(clippy::print_stderr, reason = "a program reports on standard error")]

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wasm, out_dir] = arguments.as_slice() else {
        eprintln!("usage: killick-glue IN.wasm OUT_DIR");
        return ExitCode::from(2);
    };
    match generate(wasm, out_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("killick-glue: {wasm}: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Writes `<stem>.js`, its types and `<stem>_bg.wasm` for a page or a module worker (`--target web`).
fn generate(wasm: &str, out_dir: &str) -> Result<(), anyhow::Error> {
    let mut bindgen = Bindgen::new();
    // Names are for debuggers; a panic says what it says without them.
    bindgen.input_path(wasm).web(true)?.typescript(true).remove_name_section(true);
    // The library's default differs from the program's: without this, `await init()` does not know where the module is.
    bindgen.omit_default_module_path(false);
    bindgen.generate(out_dir)
}
