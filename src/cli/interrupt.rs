//! Ctrl-C: the first asks for an orderly end, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by Ctrl-C.
static ASKED: AtomicBool = AtomicBool::new(false);
/// As shells report a program that Ctrl-C has ended.
pub(super) const EXIT_CODE: u8 = 130;

/// From now on Ctrl-C is noted. Where the system lets nobody note it, it ends the program as it always does.
pub(super) fn watch() {
    let noted = ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE.into());
        }
    });
    if let Err(error) = noted {
        log::warn!("Ctrl-C will end the program at once: {error}");
    }
}

/// Whether Ctrl-C was pressed since it was last forgotten.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// The interruption was answered.
pub(super) fn forget() {
    ASKED.store(false, Ordering::SeqCst);
}
