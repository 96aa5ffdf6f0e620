//! Random policies and texts with made-up queries, keys and values.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use killick::kv::{AtMaxSegment, Insert, Place, Policy, Preset, Tags};
use killick::model_file::{Heads, Scoring};
use killick::reference;

use super::inputs::numbers;
use super::random::Random;

/// Ids of a random text lie below this.
pub const VOCAB: u32 = 6;

/// The column of every value that is 1.
pub const ONES: usize = 1;

/// Head shapes: groups of one, two, three, four and eight queries, every width from a quarter of a tile to four tiles.
pub const HEADS: [Heads; 9] = [
    Heads { n_heads: 1, n_kv_heads: 1, head_dim: 16 },
    Heads { n_heads: 3, n_kv_heads: 1, head_dim: 48 },
    Heads { n_heads: 4, n_kv_heads: 1, head_dim: 64 },
    Heads { n_heads: 8, n_kv_heads: 1, head_dim: 80 },
    Heads { n_heads: 9, n_kv_heads: 3, head_dim: 64 },
    Heads { n_heads: 4, n_kv_heads: 4, head_dim: 96 },
    Heads { n_heads: 2, n_kv_heads: 1, head_dim: 128 },
    Heads { n_heads: 2, n_kv_heads: 2, head_dim: 256 },
    Heads { n_heads: 4, n_kv_heads: 2, head_dim: 4 },
];

/// One of `list`.
pub fn pick<T: Clone>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len() as u64) as usize].clone()
}

/// A policy with every field random, and every bound small enough to act on a text of a hundred tokens.
pub fn random_policy(random: &mut Random) -> Policy {
    let anchors = pick(random, &[vec![], vec![0], vec![0], vec![0, 1], vec![0, 1, 2, 3, 4, 5]]);
    let max_segment = pick(random, &[1, 2, 5, 9, 40]);
    let not_after = pick(random, &[vec![], vec![], vec![1], vec![0, 2]]);
    // Where the bound inserts, an anchor that stands there counts as forced.
    let inserts = random.below(4) == 0 && anchors.contains(&0) && max_segment > 1;
    Policy {
        preset: Preset::Anchor,
        seg_rule: random.below(2) == 1,
        window: pick(random, &[1, 1, 2, 5, 12, 70, 150]),
        sinks: pick(random, &[0, 0, 1, 4, 70]),
        anchors: anchors.into_iter().collect(),
        not_after: if inserts { [].into_iter().collect() } else { not_after.into_iter().collect() },
        isolated: random.below(2) == 1,
        max_anchors: pick(random, &[0, 1, 2, 3, 8, 1000]),
        max_segment,
        at_max_segment: if inserts { AtMaxSegment::Insert } else { AtMaxSegment::Close },
        max_distance: pick(random, &[1, 2, 3, 10, 25, u32::MAX]),
        limit: None,
        insert: inserts.then_some(Insert { id: 0, place: Place::After }),
        layer_window: pick(random, &[None, None, Some(1), Some(4), Some(20), Some(90)]),
    }
}

/// Some text; now and then nothing but anchors, or none.
pub fn random_ids(random: &mut Random, n: usize) -> Vec<u32> {
    match random.below(8) {
        0 => vec![0; n],
        1 => vec![VOCAB - 1; n],
        _ => (0..n).map(|_| random.below(VOCAB.into()) as u32).collect(),
    }
}

/// A text under a policy, with the queries, keys and values of one layer.
pub struct Text {
    pub policy: Policy,
    pub ids: Vec<u32>,
    pub tags: Tags,
    pub heads: Heads,
    /// Of a layer that has a window of its own, where the policy has one.
    pub scoring: Scoring,
    pub q: Vec<f32>, // (n, 2, n_heads, head_dim)
    pub k: Vec<f32>, // (n, n_kv_heads, head_dim)
    pub v: Vec<f32>, // (n, n_kv_heads, head_dim), column ONES is 1
}

impl Text {
    pub fn new(policy: Policy, ids: Vec<u32>, heads: Heads) -> Self {
        let (n, dim) = (ids.len(), heads.head_dim as usize);
        let seed = n as u64 * 1000 + u64::from(heads.qkv_dim());
        let mut v = numbers(seed, n * heads.n_kv_heads as usize, dim);
        v.chunks_mut(dim).for_each(|value| value[ONES] = 1.0);
        Self {
            tags: Tags::of(&policy, &ids),
            q: numbers(seed + 1, n * 2 * heads.n_heads as usize, dim),
            k: numbers(seed + 2, n * heads.n_kv_heads as usize, dim),
            v,
            scoring: Scoring { near: policy.layer_window.is_some(), ..Scoring::of(heads) },
            policy,
            ids,
            heads,
        }
    }

    /// Attention of the whole text by the mask.
    pub fn masked(&self) -> Vec<f64> {
        let how = (self.heads, self.scoring);
        reference::masked_attention(&self.policy, &self.tags, &self.q, &self.k, &self.v, how)
    }

    pub fn name(&self) -> String {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        let Policy { window, sinks, isolated, max_anchors, max_segment, max_distance, layer_window, .. } =
            self.policy;
        format!(
            "({} tokens, {n_heads}:{n_kv_heads} heads of {head_dim}) W {window} S {sinks} segments {} isolated {isolated} \
             anchors {:?} A {max_anchors} M {max_segment} D {max_distance} layer window {layer_window:?} cap {}",
            self.ids.len(),
            self.policy.seg_rule,
            self.policy.anchors.ids(),
            self.scoring.cap,
        )
    }
}

/// The five methods with bounds that a text of some hundred tokens reaches.
pub fn presets() -> [Policy; 5] {
    let base = Policy {
        preset: Preset::Full,
        seg_rule: false,
        window: 1000,
        sinks: 0,
        anchors: [0].into_iter().collect(),
        not_after: [].into_iter().collect(),
        isolated: false,
        max_anchors: 20,
        max_segment: 100,
        at_max_segment: AtMaxSegment::Close,
        max_distance: 1000,
        limit: None,
        insert: None,
        layer_window: None,
    };
    let none = || [].into_iter().collect();
    [
        Policy { anchors: none(), ..base.clone() },
        Policy { preset: Preset::Anchor, seg_rule: true, window: 1, isolated: true, ..base.clone() },
        Policy { preset: Preset::SepLlm, window: 65, sinks: 3, ..base.clone() },
        Policy {
            preset: Preset::Streaming,
            window: 130,
            sinks: 4,
            anchors: none(),
            max_distance: 134,
            ..base.clone()
        },
        Policy { preset: Preset::Window, window: 64, anchors: none(), ..base },
    ]
}
