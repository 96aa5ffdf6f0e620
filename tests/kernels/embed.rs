//! `embed`: bit-exact rows, tables in parts, ids at the edges of parts and beyond the table.

use killick::kernels::{Weight, WeightLayout, embed};
use killick::reference;

use crate::support::gpu::{POISON, Produced, buffer, each_layout, gpu, is_asked, output, run};
use crate::support::inputs::{TestWeight, off_by_one_row, swap_two};
use crate::support::numerics::{bound, compare_bits, passes, rejects};
use crate::support::random::Random;
use crate::support::skip::skipped;

fn tokens(seed: u64, n: usize, vocab: usize) -> Vec<u32> {
    let mut random = Random(seed);
    let mut ids: Vec<u32> = (0..n).map(|_| random.below(vocab as u64) as u32).collect();
    // The edges of the table and of parts of three, and ids that no table row has.
    let third = vocab.div_ceil(3) as u32;
    let last = vocab as u32 - 1;
    for (id, edge) in
        ids.iter_mut().skip(1).zip([0, last, third - 1, third.min(last), last, vocab as u32, u32::MAX])
    {
        *id = edge;
    }
    ids
}

fn produce(weight: &Weight, tokens: &[u32]) -> Produced {
    scaled(weight, tokens, 1.0)
}

fn scaled(weight: &Weight, tokens: &[u32], scale: f32) -> Produced {
    let cols = weight.cols as usize;
    let (ids, out) = (buffer("tokens", tokens), output("out", tokens.len() * cols));
    run(&out, |rec| embed::record(rec, weight, &ids, &out, tokens.len() as u32, scale))
}

fn want(table: &TestWeight, tokens: &[u32]) -> Vec<f32> {
    let mut out = vec![f32::from_bits(POISON); tokens.len() * table.weight.cols as usize];
    reference::embed(table.matrix(), tokens, 1.0, &mut out);
    out
}

/// A power of two, so that the product is no rounding more.
#[test]
fn rows_are_multiplied_with_the_scale() {
    each_layout("embed", |layout| {
        let table = TestWeight::new(5, 40, 64, layout, 2);
        let tokens = tokens(6, 30, 40);
        let mut doubled = vec![f32::from_bits(POISON); tokens.len() * 64];
        reference::embed(table.matrix(), &tokens, 2.0, &mut doubled);
        let got = scaled(&table.weight, &tokens, 2.0);
        passes("embed", "scaled", &got, compare_rows(layout, &got, &doubled));
        let plain = want(&table, &tokens);
        rejects("embed", "not scaled", &got, compare_rows(layout, &got, &plain));
    });
}

/// Bit by bit, but for blocks: the product and the sum that make a weight of one are rounded once or twice, as the device likes.
fn compare_rows(layout: WeightLayout, got: &Produced, want: &[f32]) -> Result<f64, String> {
    if layout.precision().blocks().is_none() {
        return compare_bits("embed", got, want);
    }
    let close = bound("a weight out of a block") as f32;
    let largest =
        want.iter().filter(|want| want.is_finite()).fold(0.0_f32, |most, want| most.max(want.abs()));
    let near = |(got, want): (&u32, &f32)| {
        let (got, want) = (f32::from_bits(*got), *want);
        got.to_bits() == want.to_bits() || (got - want).abs() <= close * largest
    };
    let agreed: Vec<f32> = got
        .words
        .iter()
        .zip(want)
        .map(|(got, want)| match near((got, want)) {
            true => f32::from_bits(*got),
            false => *want,
        })
        .collect();
    compare_bits("embed", got, &agreed)
}

#[test]
fn matches_the_reference() {
    each_layout("embed", |layout| {
        for (rows, vocab, cols, parts) in [
            (1, 1, 4, 1),
            (0, 5, 4, 1),
            (15, 7, 4, 3),
            (63, 32_002, 4, 1),
            (64, 32_002, 4, 3),
            (65, 128_256, 8, 3),
            (257, 321, 252, 2),
            (9, 40, 576, 3),
            (30, 262_144, 64, 1),
        ] {
            if !is_asked(layout, vocab, cols) {
                continue;
            }
            let table = TestWeight::new(vocab as u64, vocab, cols, layout, parts);
            let tokens = tokens(cols as u64, rows, vocab);
            let got = produce(&table.weight, &tokens);
            let case =
                format!("{} ({rows} of {vocab}x{cols}) in {} parts", layout.name(), table.weight.parts.len());
            passes("embed", &case, &got, compare_rows(layout, &got, &want(&table, &tokens)));
        }
    });
}

#[test]
fn more_workgroups_than_one_dimension_has() {
    // 64 invocations in a workgroup, each of four columns of rows or eight of texels.
    let rows = 65_535_usize * 64 + 5;
    for layout in [WeightLayout::F32Rows, WeightLayout::F16Texels] {
        let table = TestWeight::new(3, 9, 4, layout, 1);
        let case = format!("{} ({rows} of 9x{})", layout.name(), table.cols());
        if gpu().max_binding_bytes() < (rows * table.cols() * 4 + 1024) as u64 {
            skipped(&format!("embed {case}"), "it does not fit a binding of this device");
            continue;
        }
        let tokens = tokens(4, rows, 9);
        let got = produce(&table.weight, &tokens);
        passes("embed", &case, &got, compare_rows(layout, &got, &want(&table, &tokens)));
    }
}

#[test]
fn the_check_rejects_faults() {
    each_layout("embed", |layout| {
        let table = TestWeight::new(8, 40, 20, layout, 3);
        let tokens: Vec<u32> = (0..130).map(|r| r * 7 % 40).collect();
        let want = want(&table, &tokens);
        let got = produce(&table.weight, &tokens);
        for (fault, wrong) in
            [("off-by-one row", off_by_one_row(&want, table.cols())), ("two lanes swapped", swap_two(&want))]
        {
            rejects("embed", fault, &got, compare_rows(layout, &got, &wrong));
        }
        let got = produce(&table.weight, &tokens[..129]);
        rejects("embed", "last workgroup missing", &got, compare_rows(layout, &got, &want));
        let mut without_a_part = table.weight.clone();
        without_a_part.parts.remove(1);
        let got = produce(&without_a_part, &tokens);
        rejects("embed", "a part missing", &got, compare_rows(layout, &got, &want));
        let mut shifted = table.weight.clone();
        shifted.parts[1].first_row += 1;
        let got = produce(&shifted, &tokens);
        rejects("embed", "a part off by one row", &got, compare_rows(layout, &got, &want));
    });
}
