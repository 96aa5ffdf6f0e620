//! What several subcommands need: a text, the model that the flags name, its policy, and the model on a device.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{A_CHAT_MODEL, AdapterArg, GpuArgs, ModelArgs, TemplateArgs};
use super::{printable, tuning, wording};
use crate::engine::{Engine, Loaded, Opened};
use crate::error::Error;
use crate::kv::{KvError, MAX_POSITIONS, Policy};
use crate::model::Precisions;
use crate::model_file::{EMBEDDED, FileSet, ModelFile};
use crate::policy_options::{ChosenPolicy, PolicyError, PolicyNote, PolicyOptions};
use crate::tokenizer::{TokenizerError, Turns};

/// Most bytes of a text that is read whole: 16 for each of the positions there can be.
const MAX_TEXT_BYTES: u64 = 16 * MAX_POSITIONS as u64;

/// What stands for standard input where a file is asked for.
const STANDARD_INPUT: &str = "-";

/// Whether a file is standard input.
pub(super) fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == STANDARD_INPUT
}

/// What messages call a file that a text is read from.
pub(super) fn name_of(file: &Path) -> String {
    if is_standard_input(file) { "standard input".to_owned() } else { file.display().to_string() }
}

/// The text in `file`; `-` is standard input.
pub(super) fn read_text(file: &Path) -> anyhow::Result<String> {
    let name = name_of(file);
    let source: Box<dyn Read> = if is_standard_input(file) {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("reading {name}"))?)
    };
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("reading {name}"))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        bail!("{name}: the text is longer than {MAX_TEXT_BYTES} bytes");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("{name}: the text is not UTF-8 at byte {at}")
    })
}

/// The model that the flags name, by default the embedded one, and its adapters.
pub(super) fn open(args: &ModelArgs) -> anyhow::Result<Opened> {
    open_path(args.model.as_deref(), &args.adapters.adapter)
}

/// The model at `path`, by default the embedded one, and its adapters.
pub(super) fn open_path(path: Option<&Path>, adapters: &[AdapterArg]) -> anyhow::Result<Opened> {
    let files = match path {
        // A link to nowhere is there; the library says where it leads.
        Some(path) if path.symlink_metadata().is_err() => {
            bail!("{}: no such file or folder", path.display())
        }
        Some(path) => FileSet::from_path(path).map_err(Error::from)?,
        None => FileSet::embedded(),
    };
    let mut file = pollster::block_on(ModelFile::open(files)).map_err(Error::from)?;
    for AdapterArg { folder, scale } in adapters {
        let name = || format!("adapter {}", folder.display());
        let files = FileSet::adapter_from_path(folder).map_err(Error::from).with_context(name)?;
        pollster::block_on(file.add_adapter(files, *scale)).map_err(Error::from).with_context(name)?;
    }
    Ok(Opened::new(file))
}

/// Tells a person, but not a program that reads JSON, which model speaks where none was named.
pub(super) fn name_embedded(args: &ModelArgs, json: bool) {
    if args.model.is_none() && !json {
        let _ = writeln!(
            std::io::stderr(),
            "killick: note: this is {EMBEDDED}, the small anchor model that Killick brings; name another with --model"
        );
    }
}

/// The turns of a conversation, as the flags tell them to the template. The embedded model has none, which its user may not know.
pub(super) fn turns(model: &Opened, args: &TemplateArgs) -> anyhow::Result<Turns> {
    let turns = model.turns().map_err(|error| match error {
        Error::Tokenizer(TokenizerError::NoChatTemplate { .. }) if model.file.label() == EMBEDDED => {
            anyhow!("{error}: it continues texts (generate without --chat) and answers no questions. {A_CHAT_MODEL}")
        }
        error => error.into(),
    })?;
    turns.with(&args.arguments()).map_err(|error| Error::from(error).into())
}

pub(super) fn open_device(args: &GpuArgs) -> Result<Engine, Error> {
    let engine = Engine::new(&args.options())?;
    let adapter = engine.gpu().adapter();
    log::info!(
        "using GPU {} {:?} ({}, {})",
        adapter.index,
        adapter.name,
        adapter.backend,
        adapter.device_type
    );
    Ok(engine)
}

/// Puts the model on the device, under a bar, with the kernels that are fastest there.
pub(super) fn load(engine: &Engine, model: Opened, args: &ModelArgs, gpu: &GpuArgs) -> Result<Loaded, Error> {
    let floats = Precisions::of(&model.file, args.dtype.into()).taken_out_of_blocks();
    if floats > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "killick: note: {floats} matrices that the adapter changes are kept in f16, not in the blocks of their file"
        );
    }
    let engine = tuning::measured(engine, &model, args.dtype.into(), gpu)?.engine;
    let (bar, mut progress) = progress_bar("loading");
    let loaded = pollster::block_on(engine.load_opened(model, args.dtype.into(), &mut progress))?;
    bar.finish_and_clear();
    Ok(loaded)
}

/// A bar of this form on standard error, if that is a terminal.
pub(super) fn bar(form: &str) -> ProgressBar {
    // A terminal that cannot move its cursor would show every state of the bar.
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let target = if std::io::stderr().is_terminal() && !is_dumb {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

/// A bar on a terminal, and what moves it: bytes done and bytes in all.
pub(super) fn progress_bar(what: &str) -> (ProgressBar, impl FnMut(u64, u64) + use<>) {
    let bar = bar(&format!("{what} {{bar:30}} {{bytes}}/{{total_bytes}}"));
    let moved = bar.clone();
    let progress = move |done, total| {
        moved.set_length(total);
        moved.set_position(done);
    };
    (bar, progress)
}

/// The policy that `options` ask for; what there is to say about it goes to standard error.
pub(super) fn policy(model: &Opened, options: &PolicyOptions) -> anyhow::Result<Policy> {
    let ChosenPolicy { policy, notes, .. } = choose_policy(model, options)?;
    for note in notes {
        let kind = match note {
            PolicyNote::CtxBeyondTraining { .. } => "note",
            PolicyNote::NotTrainedWithAnchors { .. } => "warning",
        };
        let _ = writeln!(std::io::stderr(), "killick: {kind}: {}", printable(&note.to_string()));
    }
    Ok(policy)
}

/// [`Opened::policy`]; an error names the flags that help where its own words do not.
pub(super) fn choose_policy(model: &Opened, options: &PolicyOptions) -> anyhow::Result<ChosenPolicy> {
    model.policy(options).map_err(|error| match error {
        Error::Kv(KvError::OutOfRange { field, value, min, max }) if options.sets(field) => {
            anyhow!("{} is {value}, allowed are {min} to {max}", wording::flag(field))
        }
        Error::Kv(KvError::InsertNotAnchor { id }) if options.names_anchors() => anyhow!(
            "the policy of the model puts token {id} between sentences, so --anchors or --anchor-ids must name it too, or --insert off"
        ),
        Error::Kv(KvError::MissingAnchors { .. }) => anyhow!("{error}; give --anchors or --anchor-ids"),
        Error::Policy(PolicyError::AnchorWithoutTokenizer { .. }) => anyhow!("{error}; give --anchor-ids"),
        Error::Policy(PolicyError::InsertNeedsOneAnchor { .. }) => {
            anyhow!("{error}; name it with --anchors or --anchor-ids")
        }
        error => error.into(),
    })
}
