//! Ctrl-C: while an answer or a model is written the first asks for an orderly end; at any other time, and the second, ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

/// An answer or a model is being written.
static BUSY: AtomicBool = AtomicBool::new(false);
/// Ctrl-C was pressed meanwhile.
static ASKED: AtomicBool = AtomicBool::new(false);
/// As shells report a program that Ctrl-C has ended.
pub(super) const EXIT_CODE: u8 = 130;

/// Until it is dropped, the first Ctrl-C is only noted.
pub(super) struct Busy(());

/// Writing begins. Where the system lets nobody note Ctrl-C, it goes on to end the program at once.
pub(super) fn busy() -> Busy {
    let handler = || {
        if !BUSY.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE.into());
        }
    };
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => {}
        Err(error) => log::warn!("Ctrl-C will end the program at once: {error}"),
    }
    ASKED.store(false, Ordering::SeqCst);
    BUSY.store(true, Ordering::SeqCst);
    Busy(())
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::SeqCst);
    }
}

/// Whether Ctrl-C was pressed since the writing began.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
