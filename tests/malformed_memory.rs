//! Memory is never taken on a file's word.
//!
//! A wrapping source sees each read: none may ask for bytes the file does not have. On Linux the process's
//! own counters see the rest: after all malformed files its peak address space (where an untouched
//! allocation shows, too) has grown by no more than 16 MiB and the largest file. One test only, so
//! that nothing else runs in this process.

mod support;

#[path = "malformed/cases.rs"]
mod cases;
#[path = "malformed/config_cases.rs"]
mod config_cases;
#[path = "malformed/gguf_cases.rs"]
mod gguf_cases;
#[path = "malformed/safetensors_cases.rs"]
mod safetensors_cases;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use killick::model_file::{FileSet, ModelFile, ReadFuture, Source};
use pollster::block_on;

use support::skip::skipped;
use support::tiny_model::TinyModel;

/// Passes reads on and remembers what was asked for.
struct Watched {
    source: Arc<dyn Source>,
    /// Whether a read went past the end.
    past_end: Arc<AtomicBool>,
}

impl Source for Watched {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.source.len()) {
            self.past_end.store(true, Ordering::Relaxed);
        }
        self.source.read_at(offset, len)
    }
}

/// Peak address space of this process in bytes (`VmPeak`), where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn takes_no_memory_on_the_word_of_a_file() {
    // A first model takes what any model takes.
    block_on(ModelFile::open(FileSet::from_bytes(TinyModel::new().files())))
        .expect("the tiny checkpoint is valid");
    let cases = cases::all();
    let sources =
        |files: &FileSet| files.names().filter_map(|name| files.get(name).cloned()).collect::<Vec<_>>();
    let largest =
        cases.iter().flat_map(|case| sources(&case.files)).map(|source| source.len()).max().expect("files");
    let before = peak();
    for case in &cases {
        let past_end = Arc::new(AtomicBool::new(false));
        let watch = |source: &Arc<dyn Source>| -> Arc<dyn Source> {
            Arc::new(Watched { source: Arc::clone(source), past_end: Arc::clone(&past_end) })
        };
        let names = case.files.names().map(str::to_owned);
        let files = names.zip(sources(&case.files).iter().map(watch)).collect::<BTreeMap<_, _>>();
        let files = FileSet::new(case.files.label(), files);
        let error = block_on(ModelFile::open(files)).err().map(|error| cases::variant(&error));
        assert_eq!(error, Some(case.variant), "row {} {} ({})", case.row, case.class, case.says);
        assert!(
            !past_end.load(Ordering::Relaxed),
            "row {} {} ({}): a read went past the end",
            case.row,
            case.class,
            case.says
        );
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        let grown = after - before;
        assert!(
            grown <= (16 << 20) + largest,
            "the address space grew by {grown} bytes, the largest file has {largest}"
        );
    } else {
        skipped("the address space that malformed files take", "this system has no /proc/self/status");
    }
}
