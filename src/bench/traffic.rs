//! What a token costs by formula: bytes that have to be moved at least, and operations.
//!
//! "At least" is each weight once a pass, each key and value that a token may see once, and each number that one kernel hands another
//! once written and once read. A kernel may move more; then it reaches less of the bandwidth than it could. The formulas stand in
//! `docs/bench.md`.

use std::ops::AddAssign;

use crate::kernels::{KvFormat, Weight, choose};
use crate::kv::{KvError, Ring, Row};
use crate::model::{Network, entry_bytes};
use crate::model_file::{Config, WeightName};

/// Bytes of a number that kernels hand each other.
const FLOAT: u64 = 4;

/// Bytes and operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of keys and values, read and written.
    pub kv: u64,
    /// Bytes of what the kernels hand each other.
    pub activations: u64,
    /// Floating-point operations; a multiplication and its addition are two.
    pub flops: u64,
}

impl Traffic {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.weights + self.kv + self.activations
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.weights += other.weights;
        self.kv += other.kv;
        self.activations += other.activations;
        self.flops += other.flops;
    }
}

/// What the shape of a model makes passes cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of all weights on the device.
    pub model_bytes: u64,
    /// Parameters.
    pub parameters: u64,
    /// Bytes of the weights that every pass reads.
    layers: u64,
    /// Bytes of the matrix that makes logits, and operations for one row of them.
    head: (u64, u64),
    /// Bytes of one row of the token embedding.
    embedding_row: u64,
    /// Layers: those with a window of their own, and the others.
    layers_near_and_far: [u64; 2],
    /// Bytes of one entry of the cache in one layer.
    entry: u64,
    /// Bytes that the kernels hand each other for one row: of the layers, of the logits.
    activations: (u64, u64),
    /// Of those of the layers, what is handed on by norms: none of it where products normalize what they read.
    norms: u64,
    /// Operations of a row but for attention and logits.
    row: u64,
    /// Operations for each key that a row sees in one layer.
    key: u64,
}

impl Cost {
    /// Of a model as it lies on its device, with keys and values of this format.
    pub(crate) fn of(network: &Network, kv: KvFormat) -> Self {
        let (config, weights) = (&network.config, &network.weights);
        let matrix = |weight: &Weight| {
            weight.parts.iter().map(|part| part.layout.bytes(part.rows, weight.cols)).sum::<u64>()
        };
        let products = |weight: &Weight| 2 * u64::from(weight.rows) * u64::from(weight.cols);
        let (mut layers, mut row) = (weights.output_norm.size(), 0);
        for layer in &weights.layers {
            layers += layer.attn_norm.size() + layer.ffn_norm.size();
            for gain in [&layer.qk_norm, &layer.attn_post_norm, &layer.ffn_post_norm] {
                layers += gain.as_ref().map_or(0, crate::gpu::Buffer::size);
            }
            for linear in [&layer.qkv, &layer.o, &layer.gate, &layer.up, &layer.down] {
                layers += matrix(&linear.weight) + linear.bias.as_ref().map_or(0, crate::gpu::Buffer::size);
                row += products(&linear.weight);
            }
        }
        let (head, embedding) = (weights.head(), &weights.embedding);
        let heads = config.heads();
        Self {
            model_bytes: layers + matrix(embedding) + weights.output.as_ref().map_or(0, matrix),
            parameters: parameters(config),
            layers,
            head: (matrix(head), products(head)),
            embedding_row: matrix(embedding) / u64::from(config.vocab_size.max(1)),
            layers_near_and_far: {
                let near = (0..config.n_layers).filter(|layer| config.scoring(*layer).near).count() as u64;
                [near, u64::from(config.n_layers) - near]
            },
            entry: entry_bytes(config, kv) / u64::from(config.n_layers),
            activations: activations(config),
            // Twice a layer and once at the end: h written, and x read once more than products would read it anyway.
            norms: (2 * u64::from(config.n_layers) + 1) * 2 * u64::from(config.hidden_size) * FLOAT,
            row,
            // Scores and values: a multiplication and an addition for each column of each query head.
            key: 4 * u64::from(heads.q_dim()),
        }
    }

    /// Decode steps that consume `ids`, of `texts` texts alike, each with its logits.
    ///
    /// # Errors
    /// Ids that the ring does not take.
    pub(crate) fn steps(&self, ring: &mut Ring, ids: &[u32], texts: u32) -> Result<Traffic, KvError> {
        let fused = if choose::norm_is_fused(texts) { self.norms } else { 0 };
        let (mut all, texts) = (Traffic::default(), u64::from(texts));
        for id in ids {
            let keys = self.keys(&ring.step(*id)?);
            all += Traffic {
                weights: self.layers + texts * self.embedding_row,
                // The token's own entry is written and, as one of the keys, read.
                kv: texts * (keys + self.layers()) * self.entry,
                activations: texts * (self.activations.0 - fused),
                flops: texts * (self.row + keys * self.key),
            };
            all += self.logits(texts as u32);
        }
        Ok(all)
    }

    fn layers(&self) -> u64 {
        self.of_layers(1, 1)
    }

    /// A number of each layer with a window of its own, and of each other one, summed over the layers.
    fn of_layers(&self, near: u32, far: u32) -> u64 {
        let [near_layers, far_layers] = self.layers_near_and_far;
        near_layers * u64::from(near) + far_layers * u64::from(far)
    }

    /// Keys that a row sees, summed over the layers.
    fn keys(&self, row: &Row) -> u64 {
        let near = row.ranges(true).map(|range| range.end.saturating_sub(range.start)).iter().sum();
        self.of_layers(near, row.n_keys)
    }

    /// One row of logits for each of `texts` texts.
    pub(crate) fn logits(&self, texts: u32) -> Traffic {
        let texts = u64::from(texts);
        Traffic {
            weights: self.head.0,
            kv: 0,
            activations: texts * self.activations.1,
            flops: texts * self.head.1,
        }
    }

    /// A prompt of `ids`, `chunk` at a time, of `texts` texts one after the other.
    ///
    /// # Errors
    /// Ids that the ring does not take.
    pub(crate) fn prompt(
        &self,
        ring: &mut Ring,
        ids: &[u32],
        chunk: u32,
        texts: u32,
    ) -> Result<Traffic, KvError> {
        let mut rows = vec![Row::default(); chunk as usize];
        let mut anchors = vec![0; chunk as usize];
        let (mut all, texts) = (Traffic::default(), u64::from(texts));
        for piece in ids.chunks(chunk.max(1) as usize) {
            let near = ring.policy().layer_window.unwrap_or(u32::MAX);
            let live = ring.stats().live;
            let live = self.of_layers(live.min(near.saturating_sub(1)), live);
            ring.chunk(piece, &mut rows, &mut anchors)?;
            let keys: u64 = rows.iter().take(piece.len()).map(|row| self.keys(row)).sum();
            let n = piece.len() as u64;
            all += Traffic {
                weights: texts * (self.layers + n * self.embedding_row),
                // What lives is read once for all rows; their own entries are written, read, and put into the cache.
                kv: texts * (live + 3 * n * self.layers()) * self.entry,
                activations: texts * n * self.activations.0,
                flops: texts * (n * self.row + keys * self.key),
            };
        }
        Ok(all)
    }
}

/// All weights that the config asks for.
fn parameters(config: &Config) -> u64 {
    let of = |name: WeightName| {
        let (rows, columns) = name.shape(config);
        u64::from(rows) * u64::from(columns)
    };
    WeightName::all(config).filter(|name| !name.is_divisors()).map(of).sum()
}

/// Bytes of what the kernels hand each other for one row: in all layers, and around the logits.
fn activations(config: &Config) -> (u64, u64) {
    let heads = config.heads();
    let [hidden, ffn, q, qkv] =
        [config.hidden_size, config.ffn_size, heads.q_dim(), heads.qkv_dim()].map(u64::from);
    let norm = 2 * hidden; // x read, h written
    let post_norms = if config.post_norms { 2 * 2 * hidden } else { 0 }; // h written and read
    let attention = hidden + qkv // h read, q, k and v written
        + qkv + 2 * q // read again; queries written in two rotations
        + 2 * q + q // read; what they gathered written
        + q + 2 * hidden; // read; x read and written
    let feed_forward = hidden + ffn + ffn + 2 * hidden; // h read, gate written and read, x read and written
    let layer = 2 * norm + attention + feed_forward + post_norms;
    // The embedded row is written, and normalized at the end.
    let whole = u64::from(config.n_layers) * layer + hidden + norm;
    // h read, logits written, read by the draw.
    (whole * FLOAT, (hidden + 2 * u64::from(config.vocab_size)) * FLOAT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Capabilities, Family};
    use crate::kernels::WeightFormat;
    use crate::kv::{PolicySpec, Preset};
    use crate::model_file::{FileSet, ModelFile};

    const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 100, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5}"#;

    fn cost() -> Cost {
        cost_with(KvFormat::F32)
    }

    fn cost_with(kv: KvFormat) -> Cost {
        let file = pollster::block_on(ModelFile::open(FileSet::synthetic("tiny", CONFIG).unwrap())).unwrap();
        let device = Capabilities::baseline(Family::Gpu);
        Cost::of(&Network::planned(&file.config, WeightFormat::F16.into(), &device).unwrap(), kv)
    }

    fn ring(preset: Preset, anchors: &[u32]) -> Ring {
        let spec = PolicySpec { anchors: Some(anchors.to_vec()), ..PolicySpec::new(preset) };
        Ring::new(&spec.resolve(64).unwrap(), 4).unwrap()
    }

    // By hand, of the shape above: qkv (64, 32), o (32, 32), gate and up (48, 32), down (32, 48).
    const MATRIX: u64 = 64 * 32 + 32 * 32 + 3 * 48 * 32;
    const NORMS: u64 = 2 * 32 * 4;
    const LAYERS: u64 = 2 * (2 * MATRIX + NORMS) + 32 * 4;
    const TABLE: u64 = 2 * 100 * 32;
    const ENTRY: u64 = 2 * 2 * 16 * 4;
    /// Two norms, which a step of one text does without.
    const NORMED: u64 = 2 * 64;
    /// What the kernels of one layer hand each other: two norms, q, k and v, attention, its projection, gate, down.
    const HANDED: u64 = NORMED + (32 + 64) + (64 + 64) + (64 + 32) + (32 + 64) + (32 + 48) + (48 + 64);

    #[test]
    fn a_model_counts_its_weights() {
        let cost = cost();
        assert_eq!(cost.model_bytes, LAYERS + 2 * TABLE);
        assert_eq!(cost.parameters, 2 * (MATRIX + 2 * 32) + 32 + 2 * 100 * 32);
    }

    #[test]
    fn a_step_reads_each_weight_and_each_key_once() {
        let cost = cost();
        let mut full = ring(Preset::Full, &[]);
        let first = cost.steps(&mut full, &[5], 1).unwrap();
        let of_step = Traffic {
            weights: LAYERS + TABLE + 2 * 32,
            kv: 2 * ENTRY,
            activations: 4 * (2 * (HANDED - NORMED) + 32) + 4 * (32 + 200),
            flops: 2 * 2 * MATRIX + 2 * 100 * 32 + 2 * 4 * 32,
        };
        assert_eq!(first, of_step);
        let tenth = cost.steps(&mut full, &[5; 9], 1).unwrap();
        // 2 to 10 keys, 54 in all, and nine entries written.
        assert_eq!((tenth.kv, tenth.flops), ((54 + 9) * ENTRY, 9 * of_step.flops + (54 - 9) * 2 * 4 * 32));
        assert_eq!(first.bytes(), first.weights + first.kv + first.activations);
        // 16-bit entries are half the bytes, and nothing else changes.
        let half = cost_with(KvFormat::F16).steps(&mut ring(Preset::Full, &[]), &[5], 1).unwrap();
        assert_eq!(half, Traffic { kv: ENTRY, ..of_step });
    }

    #[test]
    fn a_layer_with_a_window_of_its_own_reads_no_more_than_that() {
        let windows = r#""qwen3", "use_sliding_window": true, "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention"]"#;
        let config = CONFIG.replacen("\"llama\"", windows, 1);
        let file = pollster::block_on(ModelFile::open(FileSet::synthetic("tiny", &config).unwrap())).unwrap();
        let device = Capabilities::baseline(Family::Gpu);
        let network = Network::planned(&file.config, WeightFormat::F16.into(), &device).unwrap();
        let cost = Cost::of(&network, KvFormat::F32);
        let policy = PolicySpec::new(Preset::Full).resolve(&file.config).unwrap();
        let mut ring = Ring::new(&policy, 4).unwrap();
        let steps = cost.steps(&mut ring, &[5; 5], 1).unwrap();
        // One layer reads 1 to 5 keys, the other 1, 2, and then 3; each writes five.
        assert_eq!(steps.kv, (15 + 12 + 2 * 5) * ENTRY / 2);
        // Of the five that live, the next piece of two tokens reads two and itself, or all.
        let prompt = cost.prompt(&mut ring, &[5, 5], 8, 1).unwrap();
        assert_eq!(prompt.kv, (5 + 2 + 2 * 3 * 2) * ENTRY / 2);
    }

    #[test]
    fn texts_of_one_step_share_the_weights_and_nothing_else() {
        let cost = cost();
        let one = cost.steps(&mut ring(Preset::Full, &[]), &[5, 6], 1).unwrap();
        let three = cost.steps(&mut ring(Preset::Full, &[]), &[5, 6], 3).unwrap();
        assert_eq!(three.weights - one.weights, 2 * 2 * (2 * 32), "two rows of the embedding more, twice");
        assert_eq!(
            [three.kv, three.activations, three.flops],
            [one.kv, one.activations + 2 * 4 * (2 * NORMED + 64), one.flops].map(|n| 3 * n)
        );
    }

    #[test]
    fn a_prompt_reads_the_weights_once_a_chunk_and_what_lives_once_a_chunk() {
        let cost = cost();
        let mut full = ring(Preset::Full, &[]);
        let all = cost.prompt(&mut full, &[5; 12], 8, 1).unwrap();
        assert_eq!(all.weights, 2 * LAYERS + 12 * 2 * 32);
        // Nothing lives before the first chunk, eight entries before the second.
        assert_eq!(all.kv, (8 + 3 * 12) * ENTRY);
        assert_eq!(all.flops, 12 * 2 * 2 * MATRIX + 78 * 2 * 4 * 32, "1 to 12 keys are 78");
        // An anchor every other token: of the closed segments only the anchors are read.
        let mut anchored = ring(Preset::Anchor, &[1]);
        cost.prompt(&mut anchored, &[5, 1, 5, 1, 5, 1], 8, 1).unwrap();
        assert_eq!(cost.steps(&mut anchored, &[5], 1).unwrap().kv, (4 + 1) * ENTRY);
    }
}
