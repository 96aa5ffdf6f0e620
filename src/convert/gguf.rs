//! The head of a GGUF file, version 3: metadata and tensor table (ggml, `docs/gguf.md`).

use serde_json::Value;

use super::layout::Layout;
use super::tokenizer::Carried;
use super::{ConvertError, Form};
use crate::model_file::{Architecture, Config, Encoding, GgufTokenizer, ModelFile, RopeScaling};

/// Of tensors, and the default of the format.
pub(super) const ALIGNMENT: u64 = 32;

/// Everything before the tensors, padded.
pub(super) fn head(
    file: &ModelFile,
    layout: &Layout,
    carried: &Carried,
    policy: Option<&Value>,
) -> Result<Vec<u8>, ConvertError> {
    let mut metadata = Metadata::default();
    metadata.string("general.name", file.label());
    config(&file.config, layout, &mut metadata)?;
    if let Some(tokenizer) = carried.gguf() {
        self::tokenizer(tokenizer, &mut metadata);
    }
    end_tokens(&file.config, carried.gguf(), &mut metadata)?;
    if let Some(template) = file.chat_template() {
        metadata.string("tokenizer.chat_template", template);
    }
    if let Some(policy) = policy {
        metadata.string("killick.policy", &policy.to_string());
    }
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((layout.tensors.len() as u64).to_le_bytes());
    head.extend(metadata.count.to_le_bytes());
    head.extend(metadata.bytes);
    let mut offset = 0;
    for tensor in &layout.tensors {
        head.extend(string(&tensor.name));
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        // The fastest dimension comes first.
        head.extend(tensor.shape.iter().rev().flat_map(|dim| dim.to_le_bytes()));
        head.extend(tensor.encoding.dtype().ggml_type().to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += tensor.bytes.next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    Ok(head)
}

/// The keys of the architecture. All fields are named, so that a new one cannot be forgotten.
fn config(config: &Config, layout: &Layout, metadata: &mut Metadata) -> Result<(), ConvertError> {
    let Config {
        architecture,
        hidden_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        ffn_size,
        vocab_size,
        context_len,
        sliding_window,
        full_layers,
        rms_norm_eps,
        rope_theta,
        local_rope_theta,
        rope_scaling: _, // as the layout says
        rope_factors: _, // tensors
        rope_dim,
        no_rope_layers: _,  // follow from the architecture
        qk_norm: _,         // from the architecture
        post_norms: _,      // from the architecture
        activation: _,      // from the architecture
        embedding_scale: _, // from the architecture
        query_scalar: _,    // from the number of layers
        score_cap,
        logit_cap,
        biases: _,          // from the tensors
        tied_embeddings: _, // from the tensors
        bos_token: _,       // with the tokenizer
        eos_tokens: _,
    } = config;
    // Mistral calls itself llama here.
    let prefix = architecture.gguf_name().unwrap_or(Architecture::Llama.name());
    metadata.string("general.architecture", prefix);
    // Versions of the blocks, and what most tensors are, for programs that only show it.
    let blocks = layout.tensors.iter().map(|tensor| tensor.encoding).max_by_key(|encoding| match encoding {
        Encoding::Q4_0 | Encoding::Q8_0 => 2,
        Encoding::F16 | Encoding::BF16 => 1,
        Encoding::F32 => 0,
    });
    let file_type = match blocks {
        Some(Encoding::Q4_0) => 2,
        Some(Encoding::Q8_0) => 7,
        Some(Encoding::F16) => 1,
        Some(Encoding::BF16) => 32,
        Some(Encoding::F32) | None => 0,
    };
    metadata.u32("general.file_type", file_type);
    metadata.u32("general.quantization_version", 2);
    let key = |name: &str| format!("{prefix}.{name}");
    for (name, value) in [
        ("vocab_size", vocab_size),
        ("context_length", context_len),
        ("embedding_length", hidden_size),
        ("block_count", n_layers),
        ("feed_forward_length", ffn_size),
        ("attention.head_count", n_heads),
        ("attention.head_count_kv", n_kv_heads),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", rope_dim),
    ] {
        metadata.u32(&key(name), *value);
    }
    if !full_layers.is_empty() && !architecture.is_gemma() {
        let reason = "which layers have one is not written there";
        return Err(Form::Gguf.inexpressible("a window that some layers have", reason));
    }
    if let Some(window) = sliding_window {
        metadata.u32(&key("attention.sliding_window"), *window);
    }
    metadata.f32(&key("attention.layer_norm_rms_epsilon"), *rms_norm_eps);
    metadata.f32(&key("rope.freq_base"), *rope_theta);
    if *architecture == Architecture::Gemma3 && (score_cap.is_some() || logit_cap.is_some()) {
        let reason = "llama.cpp bends them in Gemma 2 alone";
        return Err(Form::Gguf.inexpressible("score_cap and logit_cap of a Gemma 3", reason));
    }
    for (name, number) in [
        ("rope.freq_base_swa", local_rope_theta),
        ("attn_logit_softcapping", score_cap),
        ("final_logit_softcapping", logit_cap),
    ] {
        if let Some(number) = number {
            metadata.f32(&key(name), *number);
        }
    }
    match layout.rope_scaling {
        // The divisors are a tensor.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Divisors => {}
        RopeScaling::LongRope { attention_factor, original_context } => {
            metadata.u32(&key("rope.scaling.original_context_length"), original_context);
            metadata.f32(&key("rope.scaling.attn_factor"), attention_factor);
        }
        RopeScaling::Linear { factor } => {
            metadata.string(&key("rope.scaling.type"), "linear");
            metadata.f32(&key("rope.scaling.factor"), factor);
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, original_context } => {
            if !truncate {
                let reason = "its ramp always begins and ends at whole columns";
                return Err(Form::Gguf.inexpressible("YaRN with truncate = false", reason));
            }
            metadata.string(&key("rope.scaling.type"), "yarn");
            metadata.f32(&key("rope.scaling.factor"), factor);
            metadata.u32(&key("rope.scaling.original_context_length"), original_context);
            metadata.f32(&key("rope.scaling.yarn_beta_fast"), beta_fast);
            metadata.f32(&key("rope.scaling.yarn_beta_slow"), beta_slow);
            // The key holds what remains beside the paper's suggestion for the factor.
            let suggested = if factor <= 1.0 { 1.0 } else { 0.1 * f64::from(factor).ln() + 1.0 };
            let growth = (f64::from(attention_factor) / suggested) as f32;
            // Of its neighbours one gives back the same number, once it is rounded.
            let near = [1.0, growth, growth.next_up(), growth.next_down()];
            let same = |growth: &f32| (f64::from(*growth) * suggested) as f32 == attention_factor;
            match near.into_iter().find(same) {
                Some(1.0) => {}
                found => metadata.f32(&key("rope.scaling.attn_factor"), found.unwrap_or(growth)),
            }
        }
    }
    Ok(())
}

/// The token that begins a text and those that end one; there are three keys for the latter.
fn end_tokens(
    config: &Config,
    tokenizer: Option<&GgufTokenizer>,
    metadata: &mut Metadata,
) -> Result<(), ConvertError> {
    // The config's is read by nothing; the tokenizer's is put before a text.
    let bos = tokenizer.and_then(|tokenizer| tokenizer.bos).or(config.bos_token);
    if let Some(id) = bos {
        metadata.u32("tokenizer.ggml.bos_token_id", id);
    }
    let mut ends = config.eos_tokens.clone();
    if let Some(eos) = tokenizer.and_then(|tokenizer| tokenizer.eos) {
        match ends.iter().position(|id| *id == eos) {
            Some(at) => ends.swap(0, at),
            None if ends.is_empty() => ends.push(eos),
            None => {
                let reason = format!("by the config it is another token than {eos}, the tokenizer's");
                return Err(Form::Gguf.inexpressible("the token that ends a text", reason));
            }
        }
    }
    let keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    if ends.len() > keys.len() {
        let reason = format!("there are {} of them, and keys for three", ends.len());
        return Err(Form::Gguf.inexpressible("the list of tokens that end a text", reason));
    }
    // A reader looks for tokens that end a turn by their spelling, unless one is named.
    if let [only] = *ends {
        ends.push(only);
    }
    for (key, id) in keys.iter().zip(ends) {
        metadata.u32(&format!("tokenizer.ggml.{key}"), id);
    }
    Ok(())
}

/// The keys of the tokenizer, but for those of [`end_tokens`]. All fields are named, so that a new one cannot be forgotten.
fn tokenizer(tokenizer: &GgufTokenizer, metadata: &mut Metadata) {
    let GgufTokenizer {
        model,
        pre,
        tokens,
        token_types,
        merges,
        scores,
        bos: _,
        eos: _,
        unk,
        pad,
        add_bos,
        add_eos,
        add_space_prefix,
        remove_extra_whitespaces,
        is_phi3: _,      // by the architecture
        has_charsmap: _, // such a tokenizer is refused by its reader
    } = tokenizer;
    metadata.string("tokenizer.ggml.model", model);
    if let Some(pre) = pre {
        metadata.string("tokenizer.ggml.pre", pre);
    }
    metadata.strings("tokenizer.ggml.tokens", tokens);
    if !scores.is_empty() {
        metadata.array("tokenizer.ggml.scores", F32, scores.iter().map(|score| score.to_le_bytes()));
    }
    if !token_types.is_empty() {
        metadata.array("tokenizer.ggml.token_type", I32, token_types.iter().map(|kind| kind.to_le_bytes()));
    }
    if !merges.is_empty() {
        metadata.strings("tokenizer.ggml.merges", merges);
    }
    for (key, id) in [("unknown_token_id", unk), ("padding_token_id", pad)] {
        if let Some(id) = id {
            metadata.u32(&format!("tokenizer.ggml.{key}"), *id);
        }
    }
    for (key, flag) in [
        ("add_bos_token", add_bos),
        ("add_eos_token", add_eos),
        ("add_space_prefix", add_space_prefix),
        ("remove_extra_whitespaces", remove_extra_whitespaces),
    ] {
        metadata.bool(&format!("tokenizer.ggml.{key}"), *flag);
    }
}

/// Numbers of value types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Entries, written one after the other.
#[derive(Default)]
struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        self.bytes.extend(string(key));
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.entry(key, U32, &value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.entry(key, F32, &value.to_le_bytes());
    }

    fn bool(&mut self, key: &str, value: bool) {
        self.entry(key, BOOL, &[u8::from(value)]);
    }

    fn string(&mut self, key: &str, value: &str) {
        self.entry(key, STRING, &string(value));
    }

    fn strings(&mut self, key: &str, values: &[String]) {
        self.array(key, STRING, values.iter().map(|value| string(value)));
    }

    fn array<B: AsRef<[u8]>>(&mut self, key: &str, kind: u32, values: impl Iterator<Item = B>) {
        let (mut count, mut bytes) = (0_u64, Vec::new());
        for value in values {
            count += 1;
            bytes.extend_from_slice(value.as_ref());
        }
        let head = [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
        self.entry(key, ARRAY, &[head, bytes].concat());
    }
}

/// A length and as many bytes.
fn string(text: &str) -> Vec<u8> {
    [(text.len() as u64).to_le_bytes().as_slice(), text.as_bytes()].concat()
}
