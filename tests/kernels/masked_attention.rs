//! `masked_attention`: the rule by brute force, for random policies and the five presets.

use killick::kernels::masked_attention::{self, MaskedAttention};
use killick::kv::{Policy, Tag, Tags};
use killick::model_file::Heads;

use crate::support::gpu::{Produced, buffer, output, run, share, thorough};
use crate::support::inputs::{off_by_one_row, swap_two};
use crate::support::numerics::{compare, compare_row_sums, passes, rejects};
use crate::support::random::Random;
use crate::support::skip::skipped;
use crate::support::text::{HEADS, ONES, Text, presets, random_ids, random_policy};

fn produce(text: &Text, policy: &Policy, tags: &[Tag], n: usize) -> Produced {
    let out = output("out", text.ids.len() * text.heads.q_dim() as usize);
    let (tags, q) = (buffer("tags", tags), buffer("q", &text.q));
    let (k, v) = (buffer("k", &text.k), buffer("v", &text.v));
    let io = MaskedAttention { tags: &tags, q: &q, k: &k, v: &v, out: &out };
    run(&out, |rec| masked_attention::record(rec, io, n as u32, (text.heads, text.scoring), policy))
}

fn check(text: &Text) {
    let n = text.ids.len();
    let got = produce(text, &text.policy, text.tags.as_slice(), n);
    passes("masked_attention", &text.name(), &got, compare("masked_attention", &got, &text.masked()));
    let sums = compare_row_sums(&got, n * text.heads.n_heads as usize, text.heads.head_dim as usize, ONES);
    passes("masked_attention", "row sums", &got, sums);
}

#[test]
fn random_policies_match_the_reference() {
    let mut random = Random(4711);
    for round in 0..share(90, 18) {
        let n = [1, 2, 63, 64, 65, 110][round % 6];
        let (policy, ids) = (random_policy(&mut random), random_ids(&mut random, n));
        check(&Text::new(policy, ids, HEADS[round % HEADS.len()]));
    }
}

#[test]
fn every_preset_matches_over_several_tiles_of_keys() {
    let mut random = Random(7);
    for policy in presets() {
        let ids = (0..300).map(|_| random.below(9) as u32).collect();
        check(&Text::new(policy, ids, Heads { n_heads: 3, n_kv_heads: 1, head_dim: 16 }));
    }
}

#[test]
fn more_rows_and_heads_than_one_dimension_has_workgroups() {
    if !thorough() {
        skipped(
            "masked_attention of more rows and heads than one dimension has workgroups",
            "asked where a step is thorough (KILLICK_THOROUGH=1)",
        );
        return;
    }
    let heads = Heads { n_heads: 256, n_kv_heads: 1, head_dim: 4 };
    check(&Text::new(presets()[0].clone(), vec![5; 257], heads));
}

#[test]
fn no_row_is_nothing_to_do() {
    let text = Text::new(presets()[0].clone(), vec![], HEADS[0]);
    let got = produce(&text, &text.policy, &[], 0);
    passes("masked_attention", "no row", &got, compare("masked_attention", &got, &[]));
}

#[test]
fn the_check_rejects_faults() {
    let right = Policy {
        seg_rule: true,
        isolated: true,
        sinks: 3,
        window: 3,
        max_anchors: 4,
        max_distance: 14,
        max_segment: 5,
        ..presets()[1].clone()
    };
    let ids: Vec<u32> = (0..90).map(|i| u32::from(i % 13 != 4 && i % 11 != 0)).collect();
    let text = Text::new(right.clone(), ids.clone(), Heads { n_heads: 4, n_kv_heads: 2, head_dim: 64 });
    let want = text.masked();
    check(&text);
    let tags = text.tags.as_slice();
    for (fault, wrong) in [
        ("without isolation", Policy { isolated: false, ..right.clone() }),
        ("without the segment rule", Policy { seg_rule: false, ..right.clone() }),
        ("a window one wider", Policy { window: 4, ..right.clone() }),
        ("one sink less", Policy { sinks: 2, ..right.clone() }),
        ("one anchor more", Policy { max_anchors: 5, ..right.clone() }),
        ("a distance one shorter", Policy { max_distance: 13, ..right.clone() }),
    ] {
        let got = produce(&text, &wrong, tags, 90);
        rejects("masked_attention", fault, &got, compare("masked_attention", &got, &want));
    }
    let longer = Tags::of(&Policy { max_segment: 6, ..right.clone() }, &ids);
    let got = produce(&text, &right, longer.as_slice(), 90);
    rejects("masked_attention", "another bound of segments", &got, compare("masked_attention", &got, &want));
    let got = produce(&text, &right, tags, 89);
    rejects("masked_attention", "last workgroups missing", &got, compare("masked_attention", &got, &want));
    let got = produce(&text, &right, tags, 90);
    for (fault, wrong) in [
        ("off-by-one row", off_by_one_row(&want, text.heads.q_dim() as usize)),
        ("off-by-one head", off_by_one_row(&want, text.heads.head_dim as usize)),
        ("two lanes swapped", swap_two(&want)),
    ] {
        rejects("masked_attention", fault, &got, compare("masked_attention", &got, &wrong));
    }
}
