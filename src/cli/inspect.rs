//! `killick inspect`: what a model is and what it would take, before anything reaches a device.

use std::io::Write;

use serde::Serialize;

use super::args::InspectArgs;
use super::{load, print_json, printable};
use crate::error::Error;
use crate::gpu::Capabilities;
use crate::kv::Policy;
use crate::model::{MemoryPlan, PrecisionLine, Precisions};
use crate::model_file::{Activation, Biases, Config, RopeScaling, TensorInfo};

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    format: String,
    config: &'a Config,
    tokenizer: Option<TokenizerReport>,
    chat_template: bool,
    adapters: Vec<AdapterReport<'a>>,
    policy: &'a Policy,
    plan: &'a MemoryPlan,
    tensors: Vec<TensorReport<'a>>,
}

#[derive(Serialize)]
struct TokenizerReport {
    vocab_size: u32,
    bos: Option<u32>,
    eos: Option<u32>,
    special: usize,
}

#[derive(Serialize)]
struct AdapterReport<'a> {
    name: &'a str,
    scale: f32,
    weights: usize,
}

#[derive(Serialize)]
struct TensorReport<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [u64],
    bytes: u64,
}

impl<'a> TensorReport<'a> {
    fn new(tensor: &'a TensorInfo) -> Self {
        Self { name: &tensor.name, dtype: tensor.dtype.name(), shape: &tensor.shape, bytes: tensor.bytes }
    }
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let model = load::open(&args.model)?;
    let policy = load::policy(&model, &args.policy.options()?)?;
    let file = &model.file;
    let shape = args.policy.session().shape();
    let device =
        Capabilities { max_binding_bytes: args.max_binding, ..Capabilities::baseline(args.family.into()) };
    let precisions = Precisions::of(file, args.model.dtype.into());
    let plan = MemoryPlan::new(&file.config, precisions, &policy, shape, &device).map_err(Error::from)?;
    let tokenizer = model.optional_tokenizer()?.map(|tokenizer| TokenizerReport {
        vocab_size: tokenizer.vocab_size(),
        bos: tokenizer.bos(),
        eos: tokenizer.eos(),
        special: tokenizer.special_ids().len(),
    });
    let report = Report {
        model: file.label(),
        format: file.format().to_string(),
        config: &file.config,
        tokenizer,
        chat_template: file.chat_template().is_some(),
        adapters: file
            .adapters()
            .map(|(name, weights, scale)| AdapterReport { name, scale, weights })
            .collect(),
        policy: &policy,
        plan: &plan,
        tensors: file.tensors().iter().map(TensorReport::new).collect(),
    };
    if args.json {
        return print_json(&report);
    }
    print(&report)
}

fn print(report: &Report<'_>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (c, p, plan) = (report.config, report.policy, report.plan);
    writeln!(out, "{} ({})", printable(report.model), report.format)?;
    writeln!(
        out,
        "  {}: {} layers, hidden {}, feed-forward {}, {} heads ({} for keys and values) of {}, vocabulary {}, context {}{}",
        c.architecture.name(),
        c.n_layers,
        c.hidden_size,
        c.ffn_size,
        c.n_heads,
        c.n_kv_heads,
        c.head_dim,
        c.vocab_size,
        c.context_len,
        if c.tied_embeddings { ", tied embeddings" } else { "" }
    )?;
    for line in more_than_llama(c) {
        writeln!(out, "  {line}")?;
    }
    match &report.tokenizer {
        Some(t) => writeln!(
            out,
            "  tokenizer of {} tokens, {} special{}",
            t.vocab_size,
            t.special,
            if report.chat_template { ", with a chat template" } else { "" }
        )?,
        None => writeln!(out, "  no tokenizer")?,
    }
    let mut by_dtype = std::collections::BTreeMap::<&str, (usize, u64)>::new();
    for tensor in &report.tensors {
        let entry = by_dtype.entry(tensor.dtype).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.bytes);
    }
    for (dtype, (count, bytes)) in by_dtype {
        writeln!(out, "  {count} tensors of {dtype}, {:.1} MiB", mib(bytes))?;
    }
    for AdapterReport { name, scale, weights } in &report.adapters {
        writeln!(out, "  adapter {} times {scale}, which changes {weights} tensors", printable(name))?;
    }
    writeln!(out, "policy {}", p.preset)?;
    writeln!(
        out,
        "  window {}, sinks {}, {} anchor ids, segments {}, at most {} anchors, {} tokens a segment, distance {}",
        p.window,
        p.sinks,
        p.anchors.ids().len(),
        if p.seg_rule { "on" } else { "off" },
        p.max_anchors,
        p.max_segment,
        p.max_distance
    )?;
    writeln!(out, "memory on the device")?;
    for line in &plan.lines {
        let kept = if line.what == "weights" { matrices(plan) } else { String::new() };
        writeln!(out, "  {:<15} {:>10.1} MiB{kept}", line.what, mib(line.bytes))?;
    }
    let [pinned, anchors, live] = plan.slots;
    writeln!(
        out,
        "  {:<15} {:>10.1} MiB   ({pinned} pinned, {anchors} anchor and {live} live slots of {} bytes in {})",
        "in all",
        mib(plan.total_bytes),
        plan.entry_bytes,
        plan.kv_format.name()
    )?;
    if report.chat_template {
        let bytes = plan.total_bytes + plan.undo_bytes;
        writeln!(
            out,
            "  {:<15} {:>10.1} MiB   (a second text, so that /undo can take a turn back)",
            "in a chat",
            mib(bytes)
        )?;
    }
    Ok(())
}

/// What the matrices become on the device.
fn matrices(plan: &MemoryPlan) -> String {
    let line = |line: &PrecisionLine| format!("{} in {}", line.weights, line.precision);
    let lines: Vec<_> = plan.precisions.iter().map(line).collect();
    format!("   (matrices: {})", lines.join(", "))
}

/// What the first Llama did not have.
fn more_than_llama(c: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    match c.rope_scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => lines.push(format!("RoPE scaled linearly by {factor}")),
        RopeScaling::Llama3 { factor, original_context, .. } => {
            lines.push(format!("RoPE scaled as in Llama 3 by {factor} from a context of {original_context}"));
        }
        RopeScaling::Yarn { factor, original_context, attention_factor, .. } => lines.push(format!(
            "RoPE scaled by YaRN by {factor} from a context of {original_context}, attention factor {attention_factor}"
        )),
        RopeScaling::LongRope { original_context, attention_factor } => lines.push(format!(
            "RoPE scaled by one list up to a distance of {original_context} tokens and by another beyond, attention factor {attention_factor}"
        )),
        RopeScaling::Divisors => lines.push("RoPE scaled by a tensor of the file".to_owned()),
    }
    if c.rope_dim != c.head_dim {
        lines.push(format!("RoPE in the first {} columns of each head", c.rope_dim));
    }
    if !c.no_rope_layers.is_empty() {
        lines.push(format!("no RoPE in {} of the layers", c.no_rope_layers.len()));
    }
    if let Some(window) = c.sliding_window {
        let whose = match c.full_layers.len() {
            0 => "which is what policy full sees".to_owned(),
            full => {
                format!("in {} of the layers, which keep it under every policy", c.n_layers as usize - full)
            }
        };
        lines.push(format!("sliding window of {window} tokens, {whose}"));
    }
    if let Some(theta) = c.local_rope_theta {
        lines.push(format!("layers with a window turn by a base of {theta}, unscaled"));
    }
    if c.post_norms {
        lines.push("norms before and after each block".to_owned());
    }
    if c.activation == Activation::Gelu {
        lines.push(format!("GELU; embeddings times {}", c.embedding_scale));
    }
    if let Some(scalar) = c.query_scalar {
        lines.push(format!("scores divided by the root of {scalar}"));
    }
    for (what, cap) in [("scores", c.score_cap), ("logits", c.logit_cap)] {
        if let Some(cap) = cap {
            lines.push(format!("{what} bent to stay within {cap}"));
        }
    }
    if c.qk_norm {
        lines.push("normalized queries and keys".to_owned());
    }
    let Biases { qkv, attention_output, mlp } = c.biases;
    let biased: Vec<_> = [(qkv, "q, k and v"), (attention_output, "attention output"), (mlp, "feed-forward")]
        .into_iter()
        .filter_map(|(has, name)| has.then_some(name))
        .collect();
    if !biased.is_empty() {
        lines.push(format!("biases on {}", biased.join(", ")));
    }
    lines
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
