//! From headers to a description: what the files of either format yield, and which tensors hold the weights.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::error::ModelFileError;
use super::names::{self, Extra, WeightName};
use super::pick::Primary;
use super::safetensors::{self, Foreign};
use super::sampling::SamplingHints;
use super::source::FileSet;
use super::tensor::{self, TensorInfo};
use super::tokenizer_source::{self, TokenizerSource};
use super::{Format, POLICY_KEYS, checkpoint, gguf, json, missing, reader, sniff};

/// Rows of a tensor.
pub(super) struct Located {
    /// Index into the tensors.
    pub(super) tensor: usize,
    pub(super) first_row: u32,
}

/// What the header of either format yields.
pub(super) struct Parsed {
    pub(super) config: Config,
    pub(super) format: Format,
    pub(super) tensors: Vec<TensorInfo>,
    pub(super) foreign: Vec<Foreign>,
    pub(super) tokenizer: TokenizerSource,
    pub(super) chat_template: Option<String>,
    pub(super) policy: Option<serde_json::Value>,
    pub(super) sampling: SamplingHints,
}

/// The model in a GGUF file.
pub(super) fn from_gguf(gguf: gguf::Gguf) -> Result<Parsed, ModelFileError> {
    let gguf::Gguf { version, metadata, tensors } = gguf;
    check_general_type(&metadata)?;
    let config = Config::from_gguf(&metadata, &tensors)?;
    let policy = policy_of_gguf(&metadata)?;
    Ok(Parsed {
        sampling: SamplingHints::from_gguf(&metadata, &metadata.file),
        chat_template: tokenizer_source::template_from_gguf(&metadata)?,
        tokenizer: tokenizer_source::from_gguf(metadata, config.vocab_size)?,
        config,
        format: Format::Gguf { version },
        tensors,
        foreign: Vec::new(),
        policy,
    })
}

/// The cache policy in a GGUF file's metadata.
pub(super) fn policy_of_gguf(metadata: &gguf::Metadata) -> Result<Option<serde_json::Value>, ModelFileError> {
    let Some(text) = metadata.str(POLICY_KEYS.1)? else { return Ok(None) };
    let policy = json::parse(&metadata.file, &gguf::key_field(POLICY_KEYS.1), text.as_bytes())?;
    if !policy.is_object() {
        return Err(json::wrong_type(&metadata.file, gguf::key_field(POLICY_KEYS.1), &policy, "an object"));
    }
    Ok(Some(policy))
}

/// Refuses a GGUF file that says it is no model.
fn check_general_type(metadata: &gguf::Metadata) -> Result<(), ModelFileError> {
    let other = |what: &str, advice: &str| Err(sniff::other(&metadata.file, what, advice));
    // Some files name no type, and an odd one names none that is known.
    match metadata.str("general.type").unwrap_or_default() {
        Some("adapter") => other(
            "a LoRA adapter, not a model",
            "give it as --adapter, beside the model that it changes as --model",
        ),
        Some("mmproj" | "projector") => {
            other("a projector of images or sound (mmproj)", "name the model that it belongs to")
        }
        Some("imatrix") => other("an importance matrix for quantising, not a model", "name the model itself"),
        _ => Ok(()),
    }
}

/// The model whose weights `primary` leads to; config and tokenizer lie beside them.
pub(super) async fn from_safetensors(files: &FileSet, primary: &Primary) -> Result<Parsed, ModelFileError> {
    const CONFIG: &str = "config.json";
    const GENERATION: &str = "generation_config.json";
    let read = async |name: &'static str| match files.find(name)? {
        Some(source) => {
            let bytes = sniff::read_json(source.as_ref(), name, reader::MAX_CONFIG_BYTES).await?;
            json::parse(name, "the file", &bytes).map(Some)
        }
        None => Ok(None),
    };
    // Before the tensors: of quantised ones it says what they are.
    let json = read(CONFIG).await?;
    let json = json.as_ref().map(|json| json::Object::root(CONFIG, json)).transpose()?;
    json.as_ref().map_or(Ok(()), checkpoint::check_config)?;
    let (mut header, name) = match primary {
        Primary::Index(index) => (safetensors::parse_shards(files, index).await?, index),
        Primary::Weights(name) => {
            let source = files.find(name)?.ok_or_else(|| missing(files.label(), name))?;
            (safetensors::parse(source.as_ref(), name).await?, name)
        }
        Primary::Parts(_) => return Err(missing(files.label(), "a safetensors file")),
    };
    checkpoint::check(&mut header, name)?;
    let safetensors::Header { mut tensors, foreign } = header;
    let json = json.ok_or_else(|| missing(files.label(), "config.json beside the weights"))?;
    let generation = read(GENERATION).await?;
    let generation = generation.as_ref().map(|value| json::Object::root(GENERATION, value)).transpose()?;
    let (embedding, output) = (WeightName::TokenEmbedding.huggingface(), WeightName::Output.huggingface());
    let has = |tensors: &[TensorInfo], name: &str| tensors.iter().any(|tensor| tensor.name == name);
    let mut config = Config::from_json(&json, generation.as_ref(), has(&tensors, &output))?;
    if config.tied_embeddings && !has(&tensors, &embedding) {
        // Tied is tied: one that is stored under the other's name is both, as in `transformers`.
        tensors
            .iter_mut()
            .filter(|tensor| tensor.name == output)
            .for_each(|tensor| tensor.name.clone_from(&embedding));
    }
    if config.tied_embeddings && checkpoint::differs(files, &tensors).await? {
        log::warn!(
            "{}: config.json ties the output to the embedding (tie_word_embeddings), but {name} stores another {output}; the stored \
             one is used, as transformers 5 does",
            files.label()
        );
        config.tied_embeddings = false;
    }
    let (tokenizer, chat_template) = tokenizer_source::from_files(files).await?;
    for id in tokenizer_source::turn_ends(&tokenizer, chat_template.as_deref()) {
        if id < config.vocab_size && !config.eos_tokens.contains(&id) {
            log::info!(
                "{}: token {id} ends a turn by the tokenizer's files, and config.json does not say so",
                files.label()
            );
            config.eos_tokens.push(id);
        }
    }
    json.object(POLICY_KEYS.0)?;
    let policy = json.get(POLICY_KEYS.0).cloned();
    let sampling = generation.as_ref().map(SamplingHints::from_json).unwrap_or_default();
    Ok(Parsed {
        config,
        format: Format::Safetensors,
        tensors,
        foreign,
        tokenizer,
        chat_template,
        policy,
        sampling,
    })
}

/// Finds every weight of the config among the tensors, and judges the tensors that are left.
pub(super) fn map_weights(
    parsed: &Parsed,
    file: &str,
) -> Result<BTreeMap<WeightName, Located>, ModelFileError> {
    let Parsed { config, format, tensors, foreign, .. } = parsed;
    let by_name: BTreeMap<&str, usize> =
        tensors.iter().enumerate().map(|(index, t)| (t.name.as_str(), index)).collect();
    let (mut weights, mut used) = (BTreeMap::new(), BTreeSet::new());
    for name in WeightName::all(config) {
        let place = name.place(config, matches!(*format, Format::Gguf { .. }));
        let found = by_name
            .get(place.tensor.as_str())
            .and_then(|index| tensors.get(*index).map(|tensor| (*index, tensor)));
        let (index, tensor) =
            found.ok_or_else(|| match foreign.iter().find(|one| one.name == place.tensor) {
                Some(foreign) => foreign.needed(),
                None => names::missing(file, &place.tensor, tensors),
            })?;
        let (_, columns) = name.shape(config);
        let (rows, columns) = (u64::from(place.rows), u64::from(columns));
        let expected =
            if name.is_vector() { vec![rows.saturating_mul(columns)] } else { vec![rows, columns] };
        if tensor.shape != expected {
            let (file, found) = (tensor.file.to_string(), tensor.shape.clone());
            return Err(ModelFileError::Shape { file, field: tensor.field(), found, expected });
        }
        weights.insert(name, Located { tensor: index, first_row: place.first_row });
        used.insert(index);
    }
    let unused = tensors
        .iter()
        .enumerate()
        .filter(|(index, _)| !used.contains(index))
        .map(|(_, tensor)| tensor.name.as_str());
    for unused in unused.chain(foreign.iter().map(|one| one.name.as_str())) {
        let field = tensor::field(unused);
        match names::judge_extra(unused, config) {
            Extra::Harmless => log::debug!("{file}: {field} is not needed"),
            Extra::Unknown => log::warn!("{file}: {field} is unknown and ignored"),
            Extra::Changes => {
                let file = tensors
                    .iter()
                    .find(|tensor| tensor.name == unused)
                    .map_or(file, |tensor| &tensor.file)
                    .to_owned();
                let name = config.architecture.name();
                let value = format!("a weight that this {name} model should not have by its config");
                return Err(ModelFileError::Unsupported { file, field, value, supported: None });
            }
        }
    }
    Ok(weights)
}
