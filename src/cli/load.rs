//! What several subcommands need: the model file, its tokenizer, the policy and the model on a device.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{AdapterArg, GpuArgs, InsertArg, ModelArgs, PolicyArgs};
use super::printable;
use crate::error::Error;
use crate::gpu::Gpu;
use crate::kv::{Insert, MAX_POSITIONS, Place, Policy, PolicySpec, Preset, Tagger};
use crate::model::Model;
use crate::model_file::{EMBEDDED, FileSet, ModelFile, TokenizerSource};
use crate::session::{SessionError, check_ids};
use crate::tokenizer::{ChatTemplate, Tokenizer, Turns};

/// Most bytes of a text that is read whole: 16 for each of the positions there can be.
const MAX_TEXT_BYTES: u64 = 16 * MAX_POSITIONS as u64;

/// The text in `file`, or on standard input.
pub(super) fn read_text(file: Option<&Path>) -> anyhow::Result<String> {
    let (name, source): (_, Box<dyn Read>) = match file {
        Some(path) => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).with_context(|| format!("reading {name}"))?;
            (name, Box::new(file))
        }
        None => ("standard input".to_owned(), Box::new(std::io::stdin().lock())),
    };
    let mut bytes = Vec::new();
    source.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("reading {name}"))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        bail!("{name}: the text is longer than {MAX_TEXT_BYTES} bytes");
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{name}: the text is not UTF-8 at byte {at}")
    })
}

/// Refuses a text that the model or the policy cannot take, before the model is loaded.
pub(super) fn check_text(file: &ModelFile, policy: &Policy, ids: &[u32]) -> Result<(), Error> {
    if ids.is_empty() {
        return Err(SessionError::EmptyPrompt.into());
    }
    check_ids(ids, file.config.vocab_size, 0, policy.limit.unwrap_or(MAX_POSITIONS))?;
    Ok(Tagger::default().check_segments(policy, 0, ids)?)
}

pub(super) fn open_file(args: &ModelArgs) -> anyhow::Result<ModelFile> {
    open_model(args.model.as_deref(), &args.adapters.adapter)
}

/// Opens a model, by default the embedded one, and its adapters.
pub(super) fn open_model(path: Option<&Path>, adapters: &[AdapterArg]) -> anyhow::Result<ModelFile> {
    let files = match path {
        Some(path) if !path.exists() => bail!("{}: no such file or folder", path.display()),
        Some(path) => FileSet::from_path(path).map_err(Error::from)?,
        None => FileSet::embedded(),
    };
    let mut file = pollster::block_on(ModelFile::open(files)).map_err(Error::from)?;
    for AdapterArg { folder, scale } in adapters {
        let name = || format!("adapter {}", folder.display());
        let files = FileSet::adapter_from_path(folder).map_err(Error::from).with_context(name)?;
        pollster::block_on(file.add_adapter(files, *scale)).map_err(Error::from).with_context(name)?;
    }
    Ok(file)
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

/// The model's tokenizer; `None` if it brings none, which is fine as long as only ids are used.
pub(super) fn open_tokenizer(file: &ModelFile) -> Result<Option<Tokenizer>, Error> {
    match file.tokenizer() {
        TokenizerSource::None => Ok(None),
        source => Ok(Some(Tokenizer::from_source(source, file.label())?)),
    }
}

pub(super) fn need_tokenizer(file: &ModelFile) -> Result<Tokenizer, Error> {
    Ok(Tokenizer::from_source(file.tokenizer(), file.label())?)
}

/// The chat template of the model, for turn after turn.
pub(super) fn turns(file: &ModelFile, tokenizer: &Tokenizer) -> anyhow::Result<Turns> {
    let Some(source) = file.chat_template() else {
        let brought = if file.label() == EMBEDDED {
            ": it continues texts and answers no questions; name a chat model with --model, or use generate without --chat"
        } else {
            ""
        };
        bail!("{} has no chat template{brought}", file.label());
    };
    let template = ChatTemplate::new(source).map_err(Error::from)?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.decode(&[id], false).ok());
    Ok(Turns::new(template, name(tokenizer.bos()), name(tokenizer.eos())))
}

pub(super) fn open_gpu(args: &GpuArgs) -> Result<Gpu, Error> {
    let gpu = pollster::block_on(Gpu::open(&args.options()))?;
    let adapter = gpu.adapter();
    log::info!(
        "using GPU {} {:?} ({}, {})",
        adapter.index,
        adapter.name,
        adapter.backend,
        adapter.device_type
    );
    Ok(gpu)
}

pub(super) fn load_model(gpu: &Gpu, file: &ModelFile, args: &ModelArgs) -> Result<Arc<Model>, Error> {
    let (bar, mut progress) = progress_bar("loading");
    let model = pollster::block_on(Model::load(gpu, file, args.dtype.into(), &mut progress))?;
    bar.finish_and_clear();
    Ok(Arc::new(model))
}

/// A bar on a terminal, and what moves it: bytes done and bytes in all.
pub(super) fn progress_bar(what: &str) -> (ProgressBar, impl FnMut(u64, u64) + use<>) {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template(&format!("{what} {{bar:30}} {{bytes}}/{{total_bytes}}")) {
        bar.set_style(style);
    }
    let moved = bar.clone();
    let progress = move |done, total| {
        moved.set_length(total);
        moved.set_position(done);
    };
    (bar, progress)
}

/// Tokens of the system prompt, as a policy reads it.
pub(super) type SystemTokens<'a> = &'a dyn Fn(&Policy) -> Result<u32, Error>;

/// The policy the flags ask for: the preset of `--policy`, else the one recorded with the model, else `sepllm` if a flag
/// bounds the memory and `full` otherwise; every flag given overrides its field. `system_tokens` counts the system prompt as
/// the policy reads it; there is none without a chat template.
pub(super) fn policy(
    args: &PolicyArgs,
    file: &ModelFile,
    tokenizer: Option<&Tokenizer>,
    system_tokens: Option<SystemTokens<'_>>,
) -> anyhow::Result<Policy> {
    let (spec, trained) = policy_spec(args, file, tokenizer, system_tokens)?;
    let policy = spec.resolve(&file.config).map_err(Error::from)?;
    if let (Some(asked), Some(limit)) = (spec.ctx, policy.limit)
        && asked > limit
    {
        let _ = writeln!(
            std::io::stderr(),
            "killick: note: ctx {asked} is more than the {limit} tokens {} was trained for; the text ends there",
            printable(file.label())
        );
    }
    policy.check_vocab(file.config.vocab_size).map_err(Error::from)?;
    if policy.preset == Preset::Anchor && !trained {
        let _ = writeln!(
            std::io::stderr(),
            "killick: warning: {} does not say that it was trained with anchors; if it was not, it will write worse text \
             under policy anchor (sepllm suits it better)",
            printable(file.label())
        );
    }
    Ok(policy)
}

/// The same before its fields are resolved, and whether the model says that it was trained with anchors.
pub(super) fn policy_spec(
    args: &PolicyArgs,
    file: &ModelFile,
    tokenizer: Option<&Tokenizer>,
    system_tokens: Option<SystemTokens<'_>>,
) -> anyhow::Result<(PolicySpec, bool)> {
    if args.pin.is_some() && system_tokens.is_none() {
        bail!(
            "--pin system needs chat, or generate --chat: without a chat template there is no system prompt"
        );
    }
    let recorded: Option<PolicySpec> = match file.policy() {
        Some(value) => Some(
            serde_json::from_value(value.clone())
                .with_context(|| format!("{}: field \"killick_policy\"", file.label()))?,
        ),
        None => None,
    };
    let trained = recorded.as_ref().is_some_and(|recorded| recorded.preset == Preset::Anchor);
    let mut spec = match (args.policy, recorded) {
        (Some(preset), Some(recorded)) if recorded.preset == preset => recorded,
        // Another policy than the recorded one starts from its own defaults.
        (Some(preset), _) => PolicySpec::new(preset),
        (None, Some(recorded)) => recorded,
        // A stock model: bounds ask for a policy that has them.
        (None, None) if args.is_bounded() => PolicySpec::new(Preset::SepLlm),
        (None, None) => PolicySpec::new(Preset::Full),
    };
    let anchors = anchor_ids(args, file, tokenizer)?;
    let defaults = match (spec.preset, tokenizer) {
        (Preset::Anchor | Preset::SepLlm, Some(tokenizer)) => default_anchors(spec.preset, tokenizer),
        _ => None,
    };
    spec.anchors = anchors.or(spec.anchors).or(defaults);
    spec.window = args.window.or(spec.window);
    spec.max_anchors = args.max_anchors.or(spec.max_anchors);
    spec.max_segment = args.max_segment.or(spec.max_segment);
    spec.max_distance = args.max_distance.or(spec.max_distance);
    spec.isolated = args.isolated.or(spec.isolated);
    spec.ctx = args.ctx.or(spec.ctx);
    spec.insert = inserted(args.insert, &spec)?;
    spec.at_max_segment = args.at_max_segment.map(Into::into).or(spec.at_max_segment);
    if args.anchor_not_after_digit {
        let Some(tokenizer) = tokenizer else {
            bail!("{} has no tokenizer, so --anchor-not-after-digit means nothing", file.label());
        };
        spec.not_after = Some(tokenizer.ids_ending_in_digit());
    }
    if spec.anchors.is_none() && matches!(spec.preset, Preset::Anchor | Preset::SepLlm) {
        bail!("policy {} needs to know its anchors; give --anchors or --anchor-ids", spec.preset);
    }
    // What is inserted into the system prompt does not depend on how much of it is pinned.
    let pinned = match system_tokens.filter(|_| args.pin.is_some()) {
        Some(count) => Some(count(&spec.resolve(&file.config).map_err(Error::from)?)?),
        None => None,
    };
    spec.sinks = args.sinks.or(pinned).or(spec.sinks);
    Ok((spec, trained))
}

/// Where anchors are put into a prompt: as `--insert` says, else as recorded with the model.
fn inserted(flag: Option<InsertArg>, spec: &PolicySpec) -> anyhow::Result<Option<Insert>> {
    let place = match flag {
        None => return Ok(spec.insert),
        Some(InsertArg::Off) => return Ok(None),
        Some(InsertArg::Between) => Place::Between,
        Some(InsertArg::After) => Place::After,
    };
    match spec.anchors.as_deref() {
        Some(&[id]) => Ok(Some(Insert { id, place })),
        anchors => bail!(
            "--insert needs a policy with exactly one anchor id, this one has {}; name it with --anchors or --anchor-ids",
            anchors.map_or(0, <[u32]>::len)
        ),
    }
}

/// Ids of `--anchors` and `--anchor-ids`; `None` if neither was given.
fn anchor_ids(
    args: &PolicyArgs,
    file: &ModelFile,
    tokenizer: Option<&Tokenizer>,
) -> anyhow::Result<Option<Vec<u32>>> {
    if args.anchors.is_empty() && args.anchor_ids.is_empty() {
        return Ok(None);
    }
    let mut ids = args.anchor_ids.clone();
    for text in &args.anchors {
        let Some(tokenizer) = tokenizer else {
            bail!(
                "{} has no tokenizer, so --anchors {text:?} means nothing; give --anchor-ids",
                file.label()
            );
        };
        let found = tokenizer.ids_of_bytes(text.as_bytes());
        if found.is_empty() {
            bail!("--anchors {text:?}: no token of {} is exactly that", file.label());
        }
        ids.extend(found);
    }
    Ok(Some(ids))
}

/// AnLLM-EP closes a segment at a full stop; SepLLM remembers punctuation and newlines.
fn default_anchors(preset: Preset, tokenizer: &Tokenizer) -> Option<Vec<u32>> {
    let texts: &[&str] = match preset {
        Preset::Anchor => &["."],
        _ => &[".", ",", "?", "!", ";", ":", "\n"],
    };
    let ids: Vec<u32> = texts.iter().flat_map(|text| tokenizer.ids_of_bytes(text.as_bytes())).collect();
    (!ids.is_empty()).then_some(ids)
}
