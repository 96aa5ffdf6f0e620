//! What the fuzzers do with an input, shared with the test that replays the corpus (`tests/fuzz_corpus.rs`).
//!
//! Every target takes bytes and says how far they came; the only wrong answers are a panic, a hang and memory without bound.
//! An input that stands for several files holds them one after the other, separated by a line of two percent signs.

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::gpu::{Capabilities, Family};
use killick::kernels::{KvFormat, WeightFormat};
use killick::kv::PolicySpec;
use killick::model::{MemoryPlan, SessionShape};
use killick::model_file::{BytesSource, Config, FileSet, ModelFile, Source, TokenizerSource, WeightName};
use killick::tokenizer::{ChatTemplate, Message, Tokenizer, sentences};

/// What a fuzzer runs on each input.
pub(crate) type Target = fn(&[u8]) -> Reached;

/// Every target by its name.
pub(crate) const TARGETS: [(&str, Target); 8] = [
    ("gguf", gguf),
    ("split", split),
    ("safetensors", safetensors),
    ("sniff", sniff),
    ("adapter", adapter),
    ("tokenizer", tokenizer),
    ("plan", plan),
    ("template", template),
];

/// How far an input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It was refused.
    Refused,
    /// It was accepted, and what it describes was used.
    Used,
}

/// Between the files of an input.
const SEPARATOR: &[u8] = b"\n%%\n";

/// A text with what splitters and merges trip over.
const TEXT: &str = "It's 3.14, e.g. \u{e9}\u{301} \u{1F469}\u{200D}\u{1F680}\n\n  <s> \t\u{a0}\u{3000}x\0";

/// The files of an input, `N` at most; the last one holds all that is left.
fn files<const N: usize>(data: &[u8]) -> [Option<&[u8]>; N] {
    let mut rest = Some(data);
    std::array::from_fn(|i| {
        let whole = rest?;
        let at = whole.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        match at.filter(|_| i + 1 < N) {
            Some(at) => {
                rest = Some(&whole[at + SEPARATOR.len()..]);
                Some(&whole[..at])
            }
            None => rest.take(),
        }
    })
}

fn file_set<const N: usize>(files: [(&str, Option<&[u8]>); N]) -> FileSet {
    let source = |bytes: &[u8]| -> Arc<dyn Source> { Arc::new(BytesSource::new(bytes.to_vec())) };
    let files = files.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), source(bytes?))));
    FileSet::new("fuzzed", files.collect::<BTreeMap<_, _>>())
}

/// Opens a model and uses all of it: weights, tokenizer, template, policy.
fn open(files: FileSet) -> Reached {
    let Ok(model) = pollster::block_on(ModelFile::open(files)) else { return Reached::Refused };
    let _ = pollster::block_on(model.rope_divisors());
    read_all(&model);
    if !matches!(model.tokenizer(), TokenizerSource::None)
        && let Ok(tokenizer) = Tokenizer::from_source(model.tokenizer(), "fuzzed")
    {
        use_tokenizer(&tokenizer, TEXT);
    }
    if let Some(source) = model.chat_template() {
        use_template(source, TEXT);
    }
    Reached::Used
}

/// The last rows of every weight.
fn read_all(model: &ModelFile) {
    for name in WeightName::all(&model.config) {
        let (rows, _) = name.shape(&model.config);
        let read = pollster::block_on(model.read_rows(name, rows.saturating_sub(3)..rows));
        assert!(read.is_ok(), "the shapes were checked when the model was opened: {:?}", read.err());
    }
}

/// A GGUF file.
pub(crate) fn gguf(data: &[u8]) -> Reached {
    open(file_set([("model.gguf", Some(data))]))
}

/// The parts of a split GGUF file, three at most; of one alone the second is missing. Its tokenizer and its template are what the
/// target `gguf` reads; to build them here too would take three quarters of the time.
pub(crate) fn split(data: &[u8]) -> Reached {
    let parts: [Option<&[u8]>; 3] = files(data);
    let count = parts.iter().flatten().count().max(2);
    let names = [1, 2, 3].map(|number| format!("m-{number:05}-of-{count:05}.gguf"));
    let files = file_set([(&names[0], parts[0]), (&names[1], parts[1]), (&names[2], parts[2])]);
    let Ok(model) = pollster::block_on(ModelFile::open(files)) else { return Reached::Refused };
    let _ = pollster::block_on(model.rope_divisors());
    read_all(&model);
    Reached::Used
}

/// The name of a file, the file, and config.json, tokenizer.model and the shard index beside it: whatever each of them is.
pub(crate) fn sniff(data: &[u8]) -> Reached {
    let [name, file, config, pieces, index] = files(data);
    let name = String::from_utf8_lossy(name.unwrap_or_default());
    let given = |file: Option<&'_ [u8]>| file.filter(|file| !file.is_empty()).map(<[u8]>::to_vec);
    let (config, pieces, index) = (given(config), given(pieces), given(index));
    open(file_set([
        ("config.json", config.as_deref()),
        ("tokenizer.model", pieces.as_deref()),
        ("model.safetensors.index.json", index.as_deref()),
        (&name, file),
    ]))
}

/// config.json, a safetensors file, and for a sharded model the index and the second shard.
pub(crate) fn safetensors(data: &[u8]) -> Reached {
    let [config, first, index, second] = files(data);
    let first_name = if index.is_some() { "first.safetensors" } else { "model.safetensors" };
    open(file_set([
        ("config.json", config),
        (first_name, first),
        ("model.safetensors.index.json", index),
        ("second.safetensors", second),
    ]))
}

/// config.json and weights of a model, adapter_config.json and weights of an adapter; or, as the third part, an adapter in one GGUF.
pub(crate) fn adapter(data: &[u8]) -> Reached {
    let [config, weights, adapter_config, adapter_weights] = files(data);
    let base = file_set([("config.json", config), ("model.safetensors", weights)]);
    let Ok(mut model) = pollster::block_on(ModelFile::open(base)) else { return Reached::Refused };
    let adapter = if adapter_config.is_some_and(|file| file.starts_with(b"GGUF")) {
        file_set([("lora.gguf", adapter_config)])
    } else {
        file_set([("adapter_config.json", adapter_config), ("adapter_model.safetensors", adapter_weights)])
    };
    if pollster::block_on(model.add_adapter(adapter, 0.5)).is_err() {
        return Reached::Refused;
    }
    read_all(&model);
    Reached::Used
}

/// tokenizer.json, which begins with a brace, or tokenizer.model; tokenizer_config.json; a text to encode; added_tokens.json.
pub(crate) fn tokenizer(data: &[u8]) -> Reached {
    let [vocabulary, config, text, added] = files(data);
    let vocabulary = vocabulary.unwrap_or_default().to_vec();
    let given = |file: Option<&[u8]>| file.filter(|file| !file.is_empty()).map(<[u8]>::to_vec);
    let source = if vocabulary.starts_with(b"{") {
        TokenizerSource::HuggingFace { tokenizer_json: vocabulary, tokenizer_config: given(config) }
    } else {
        TokenizerSource::SentencePiece {
            model: vocabulary,
            added_tokens: given(added),
            tokenizer_config: given(config),
        }
    };
    let Ok(tokenizer) = Tokenizer::from_source(&source, "fuzzed") else { return Reached::Refused };
    use_tokenizer(&tokenizer, &String::from_utf8_lossy(text.unwrap_or(TEXT.as_bytes())));
    Reached::Used
}

fn use_tokenizer(tokenizer: &Tokenizer, text: &str) {
    let _ = tokenizer.ids_of_bytes(b".");
    let _ = tokenizer.ids_ending_in_digit();
    for sentence in sentences(text) {
        let _ = tokenizer.encode(sentence, true);
    }
    let Ok(ids) = tokenizer.encode(text, true) else { return };
    let mut stream = tokenizer.decode_stream();
    let mut streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
    streamed.push_str(&stream.finish());
    if let Ok(whole) = tokenizer.decode(&ids, true) {
        // A stream continues a text, so it keeps the space that a vocabulary puts in front of one.
        let same = streamed == whole || streamed.strip_prefix(' ') == Some(&*whole);
        assert!(same, "{streamed:?} token by token, {whole:?} at once");
    }
}

/// config.json, a policy as JSON, and a device's binding limit: the memory that a model would take.
pub(crate) fn plan(data: &[u8]) -> Reached {
    let [config, policy, limit] = files(data);
    let Ok(config) = Config::from_config_json(config.unwrap_or_default()) else { return Reached::Refused };
    let spec = policy.and_then(|policy| serde_json::from_slice::<PolicySpec>(policy).ok());
    let Some(spec) = spec else { return Reached::Refused };
    let Ok(policy) = spec.resolve(&config) else { return Reached::Refused };
    let limit = limit.and_then(|limit| std::str::from_utf8(limit).ok()?.trim().parse().ok());
    let limit: u64 = limit.unwrap_or(128 << 20);
    let cases = [
        (WeightFormat::F32, false, Family::Gpu),
        (WeightFormat::F16, true, Family::Gpu),
        (WeightFormat::F16, false, Family::Software),
        // Last, for many a config has no whole blocks.
        (WeightFormat::Q8_0, false, Family::Gpu),
    ];
    for (format, masked, family) in cases {
        let device = Capabilities { max_binding_bytes: limit, ..Capabilities::baseline(family) };
        let kv = if family == Family::Software { KvFormat::F16 } else { KvFormat::F32 };
        let shape = SessionShape { chunk: 128, in_flight: 32, masked, texts: 1, kv };
        let plan = match MemoryPlan::new(&config, format, &policy, shape, &device) {
            Ok(plan) => plan,
            Err(_) if format == WeightFormat::Q8_0 => break,
            Err(_) => return Reached::Refused,
        };
        let sum = plan.lines.iter().map(|line| u128::from(line.bytes)).sum::<u128>();
        assert_eq!(sum, u128::from(plan.total_bytes), "a plan is the sum of its lines");
    }
    Reached::Used
}

/// A chat template, and what the user says.
pub(crate) fn template(data: &[u8]) -> Reached {
    let [source, text] = files(data);
    let source = String::from_utf8_lossy(source.unwrap_or_default());
    use_template(&source, &String::from_utf8_lossy(text.unwrap_or(TEXT.as_bytes())))
}

fn use_template(source: &str, text: &str) -> Reached {
    let Ok(template) = ChatTemplate::new(source) else { return Reached::Refused };
    let messages = [Message::new("system", "Be brief."), Message::new("user", text)];
    match template.render(&messages, true, Some("<s>"), Some("</s>")) {
        Ok(_) => Reached::Used,
        Err(_) => Reached::Refused,
    }
}
