//! The Llama forward pass, from top to bottom.
//!
//! Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023), with grouped-query attention
//! (Ainslie et al., 2023). What its descendants add (biases, norms more, layers without positions, bounds of scores) is
//! there if the weights or the config have it. One function serves a decoded token, a prompt chunk and the brute-force pass;
//! they differ in where keys and values lie ([`Attend`]) and in nothing else.

use super::Network;
use super::session_buffers::{Memory, Scratch};
use super::weights::Linear;
use crate::gpu::{Buffer, GpuError, Recorder};
use crate::kernels::attention::{self, Attention};
use crate::kernels::kv_step::{self, KvStep};
use crate::kernels::kv_write::{self, KvWrite};
use crate::kernels::masked_attention::{self, MaskedAttention};
use crate::kernels::rms_norm::{self, RmsNorm};
use crate::kernels::rope::{self, Rope, Target};
use crate::kernels::{
    Inputs, Norm, Product, Update, add_bias, choose, embed, gate_mul, gated_mlp, product, qk_norm, soft_cap,
};
use crate::kv::{Chunk, Policy, Ring};
use crate::model_file::Config;

/// How the rows of a pass find their keys.
#[derive(Clone, Copy)]
pub(crate) enum Attend<'a> {
    /// One token of each text; the GPU's ring step decides, and everything is in the cache. There is room for so many shares of a row's keys.
    Step(&'a Ring, u32),
    /// A prompt chunk of one text; the host's ring has uploaded its rows.
    Chunk(&'a Ring, &'a Chunk),
    /// A whole text, each query testing the rule on every token.
    Masked(&'a Policy),
}

/// Records one pass over `n` rows, each the token of a text: those whose ids lie in the scratch, or of a step those that the loop is to
/// consume. What the layers make of them is left in `x` (n, hidden); [`last_norm`] or [`keep`] make hidden states of it.
pub(crate) fn forward(
    rec: &mut Recorder,
    model: &Network,
    Memory { scratch: s, texts, control }: Memory<'_>,
    n: u32,
    attend: Attend<'_>,
) -> Result<(), GpuError> {
    let (config, weights, heads) = (&model.config, &model.weights, model.config.heads());
    let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);

    let policy = match attend {
        Attend::Step(ring, _) | Attend::Chunk(ring, _) => ring.policy(),
        Attend::Masked(policy) => policy,
    };
    if let Attend::Step(ring, _) = attend {
        let io = KvStep {
            token: &control.token,
            anchor_bits: &texts.anchor_bits,
            state: &texts.state,
            anchor_pos: &texts.anchor_pos,
            rows: &s.rows,
            loop_state: &control.loop_state,
        };
        kv_step::record(rec, io, n, ring.params())?;
    }

    let tokens = if matches!(attend, Attend::Step(..)) { &control.token } else { &s.tokens };
    embed::record(rec, &weights.embedding, tokens, &s.x, n, config.embedding_scale)?; // x (n, hidden)

    for (layer, w) in (0..).zip(&weights.layers) {
        // Attention.
        let h = normalized(rec, s, Norm { gain: &w.attn_norm, eps }, n, hidden)?; // h (n, hidden)
        linear(rec, &w.qkv, h, &s.qkv)?; // qkv (n, q_dim + 2 kv_dim)
        if let Some(gains) = &w.qk_norm {
            qk_norm::record(rec, gains, &s.qkv, n, heads, eps)?;
        }
        let chunk_kv = (&s.k_chunk, &s.v_chunk);
        let cache = texts.caches.get(layer as usize).map_or(chunk_kv, |[k, v]| (k, v)); // (slots, kv_dim)
        let ((k, v), target) = match attend {
            Attend::Step(..) => (cache, Target::Cache),
            Attend::Chunk(..) | Attend::Masked(_) => (chunk_kv, Target::Chunk),
        };
        let io = Rope {
            rows: &s.rows,
            qkv: &s.qkv,
            table: model.rope_tables.of(config, layer, policy),
            q: &s.q,
            k,
            v,
        };
        let rope_dim = if config.has_rope(layer) { config.rope_dim } else { 0 };
        rope::record(rec, io, n, heads, rope_dim, target)?; // q (n, 2, q_dim), k and v (n or slots, kv_dim)
        let heads_and_scoring = (heads, config.scoring(layer));
        match attend {
            Attend::Step(ring, splits) => {
                // A layer with a window of its own sees no more keys than that.
                let near = heads_and_scoring.1.near.then_some(ring.params().layer_window);
                let splits = near.map_or(splits, |window| splits.min(attention::splits(window)));
                let io = Attention { splits, ..ring_io(s, cache) };
                attention::record(rec, io, n, heads_and_scoring, ring.layout(), None)?;
            }
            Attend::Chunk(ring, chunk) => {
                attention::record(rec, ring_io(s, cache), n, heads_and_scoring, ring.layout(), Some(chunk))?;
                let (k_chunk, v_chunk) = chunk_kv;
                let (k_cache, v_cache) = cache;
                let io = KvWrite { rows: &s.rows, k_chunk, v_chunk, k_cache, v_cache };
                kv_write::record(rec, io, n, heads)?;
            }
            Attend::Masked(policy) => {
                let io = MaskedAttention { tags: &s.tags, q: &s.q, k, v, out: &s.attended };
                masked_attention::record(rec, io, n, heads_and_scoring, policy)?;
            }
        }
        add_block(rec, s, (&w.o, w.attn_post_norm.as_ref()), Inputs::rows(&s.attended, n), eps)?;

        // Feed-forward: down(activated(gate(h)) * up(h)).
        let h = normalized(rec, s, Norm { gain: &w.ffn_norm, eps }, n, hidden)?;
        if choose::gate_is_fused(n, config.biases.mlp, &w.gate.weight, &w.up.weight) {
            gated_mlp::record(rec, &w.gate.weight, &w.up.weight, h, &s.gate, config.activation)?; // gate (1, ffn)
        } else {
            linear(rec, &w.gate, h, &s.gate)?; // gate (n, ffn)
            linear(rec, &w.up, h, &s.up)?; // up (n, ffn)
            gate_mul::record(rec, &s.gate, &s.up, n * config.ffn_size, config.activation)?;
        }
        add_block(rec, s, (&w.down, w.ffn_post_norm.as_ref()), Inputs::rows(&s.gate, n), eps)?;
    }
    Ok(())
}

/// The hidden states of `n` rows, for logits that are made at once.
pub(crate) fn last_norm<'a>(
    rec: &mut Recorder,
    model: &'a Network,
    s: &'a Scratch,
    n: u32,
) -> Result<Inputs<'a>, GpuError> {
    let norm = Norm { gain: &model.weights.output_norm, eps: model.config.rms_norm_eps };
    normalized(rec, s, norm, n, model.config.hidden_size)
}

/// The hidden states of `n` rows in `h` (n, hidden), to be kept or read several times.
pub(crate) fn keep(rec: &mut Recorder, model: &Network, s: &Scratch, n: u32) -> Result<(), GpuError> {
    let Config { hidden_size, rms_norm_eps, .. } = model.config;
    let io = RmsNorm { x: &s.x, gain: &model.weights.output_norm, out: &s.h };
    rms_norm::record(rec, io, n, hidden_size, rms_norm_eps, Update::Replace)
}

/// Records the logits (count, vocab) of hidden states.
pub(crate) fn logits(
    rec: &mut Recorder,
    model: &Network,
    hidden: Inputs<'_>,
    out: &Buffer,
) -> Result<(), GpuError> {
    let weight = model.weights.head();
    product::record(rec, Product { weight, inputs: hidden, out, update: Update::Replace })?;
    match model.config.logit_cap {
        Some(cap) => soft_cap::record(rec, out, hidden.count * weight.rows, cap),
        None => Ok(()),
    }
}

/// The residual stream, normalized: by the products that read it, or in `h` before them.
fn normalized<'a>(
    rec: &mut Recorder,
    s: &'a Scratch,
    norm: Norm<'a>,
    n: u32,
    hidden: u32,
) -> Result<Inputs<'a>, GpuError> {
    if choose::norm_is_fused(n) {
        return Ok(Inputs::rows(&s.x, n).normalized(norm));
    }
    let io = RmsNorm { x: &s.x, gain: norm.gain, out: &s.h };
    rms_norm::record(rec, io, n, hidden, norm.eps, Update::Replace)?;
    Ok(Inputs::rows(&s.h, n))
}

/// `out = x w^T + bias` for each row of inputs.
fn linear(rec: &mut Recorder, w: &Linear, inputs: Inputs<'_>, out: &Buffer) -> Result<(), GpuError> {
    project(rec, w, inputs, out, Update::Replace)
}

/// The last projection of a block, added to the residual stream: as it is, or normalized where there is a gain for it.
fn add_block(
    rec: &mut Recorder,
    s: &Scratch,
    (w, post_norm): (&Linear, Option<&Buffer>),
    inputs: Inputs<'_>,
    eps: f32,
) -> Result<(), GpuError> {
    let Some(gain) = post_norm else {
        return project(rec, w, inputs, &s.x, Update::Add);
    };
    // Nobody reads the normalized inputs of the block any more.
    linear(rec, w, inputs, &s.h)?;
    let io = RmsNorm { x: &s.h, gain, out: &s.x };
    rms_norm::record(rec, io, inputs.count, w.weight.rows, eps, Update::Add)
}

fn project(
    rec: &mut Recorder,
    w: &Linear,
    inputs: Inputs<'_>,
    out: &Buffer,
    update: Update,
) -> Result<(), GpuError> {
    product::record(rec, Product { weight: &w.weight, inputs, out, update })?;
    match &w.bias {
        Some(bias) => add_bias::record(rec, bias, out, inputs.count, w.weight.rows),
        None => Ok(()),
    }
}

/// Attention over the cache of one layer, and over the chunk's own keys if there is a chunk.
fn ring_io<'a>(s: &'a Scratch, (k_cache, v_cache): (&'a Buffer, &'a Buffer)) -> Attention<'a> {
    Attention {
        rows: &s.rows,
        q: &s.q,
        k_cache,
        v_cache,
        k_chunk: &s.k_chunk,
        v_chunk: &s.v_chunk,
        chunk_anchors: &s.chunk_anchors,
        parts: &s.parts,
        splits: 1,
        share: attention::SHARE,
        out: &s.attended,
    }
}
