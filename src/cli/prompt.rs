//! Where the prompt of `killick generate` comes from: the command line, standard input, or both.
//!
//! `cat notes | killick generate "Summary:"` reads the notes, then the argument. A terminal is read only where there is no argument.
//! What is neither a pipe nor a file (`/dev/null`, a service's socket) holds no text.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::bail;

use super::load;

/// A pipe that says nothing for this long is named, for it may be one that a program forgot to close.
const PATIENCE: Duration = Duration::from_secs(3);

/// The text of the prompt; `given` is the argument, for which `-` stands for standard input alone. Where another flag `takes_input`, it
/// has to be the argument.
pub(super) fn text(given: Option<&str>, takes_input: bool) -> anyhow::Result<String> {
    match given {
        None | Some("-") if takes_input => {
            bail!("--json-schema - reads standard input, so the prompt has to be an argument")
        }
        Some(given) if takes_input => Ok(given.to_owned()),
        None | Some("-") => {
            if std::io::stdin().is_terminal() {
                say(&format!("the prompt is what you type now; {END_OF_INPUT} ends it"));
            }
            read()
        }
        Some(given) if is_piped() => Ok(joined(&patiently(read)?, given)),
        Some(given) => Ok(given.to_owned()),
    }
}

const END_OF_INPUT: &str = if cfg!(windows) { "Ctrl-Z and Enter" } else { "Ctrl-D" };

/// What was piped, then what was given, on a line of its own.
fn joined(piped: &str, given: &str) -> String {
    let gap = if piped.is_empty() || piped.ends_with('\n') { "" } else { "\n" };
    format!("{piped}{gap}{given}")
}

fn read() -> anyhow::Result<String> {
    load::read_text(Path::new("-"))
}

/// Runs `read`, and says what it waits for when it takes long.
fn patiently(read: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                say("waiting for the end of standard input, which is a pipe; with < /dev/null there is none");
            }
        });
        let text = read();
        drop(done);
        text
    })
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "killick: note: {text}");
}

/// Whether standard input is a pipe or a file, in which somebody has put a text.
#[cfg(unix)]
fn is_piped() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    let kind =
        std::io::stdin().as_fd().try_clone_to_owned().and_then(|fd| std::fs::File::from(fd).metadata());
    kind.is_ok_and(|kind| kind.file_type().is_fifo() || kind.is_file())
}

/// Whether standard input is a pipe or a file, in which somebody has put a text.
#[cfg(windows)]
fn is_piped() -> bool {
    use std::os::windows::io::AsHandle;

    let kind = std::io::stdin().as_handle().try_clone_to_owned().map(|handle| std::fs::File::from(handle));
    // The null device and the console are no files there.
    kind.is_ok_and(|file| !std::io::stdin().is_terminal() && file.metadata().is_ok_and(|kind| kind.is_file()))
}

/// Whether standard input is a pipe or a file, in which somebody has put a text.
#[cfg(not(any(unix, windows)))]
fn is_piped() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_piped_comes_before_what_is_given() {
        assert_eq!(joined("notes", "Summary:"), "notes\nSummary:");
        assert_eq!(joined("notes\n", "Summary:"), "notes\nSummary:");
        assert_eq!(joined("", "Summary:"), "Summary:");
    }
}
