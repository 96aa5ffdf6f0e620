//! `qk_norm`: heads of every shape, in place, and values left alone.

use killick::kernels::qk_norm;
use killick::model_file::Heads;
use killick::reference;

use crate::support::gpu::{Produced, buffer, run};
use crate::support::inputs::{drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::text::HEADS;

const EPS: f32 = 1e-5;

fn inputs(rows: usize, heads: Heads) -> (Vec<f32>, Vec<f32>) {
    let dim = heads.head_dim as usize;
    let all = (heads.n_heads + 2 * heads.n_kv_heads) as usize;
    (numbers(dim as u64, 2, dim), numbers(dim as u64 + 1, rows * all, dim))
}

fn produce(gains: &[f32], qkv: &[f32], rows: usize, heads: Heads) -> Produced {
    let (gains, qkv) = (buffer("gains", gains), buffer("qkv", qkv));
    run(&qkv, |rec| qk_norm::record(rec, &gains, &qkv, rows as u32, heads, EPS))
}

fn check(rows: usize, heads: Heads) {
    let (gains, qkv) = inputs(rows, heads);
    let got = produce(&gains, &qkv, rows, heads);
    let want = reference::qk_norm(&gains, &qkv, heads, EPS);
    let case = format!("({rows} rows, {}:{} heads of {})", heads.n_heads, heads.n_kv_heads, heads.head_dim);
    passes("qk_norm", &case, &got, compare("qk_norm", &got, &want));
}

#[test]
fn matches_the_reference() {
    for heads in HEADS {
        for rows in [0, 1, 7] {
            check(rows, heads);
        }
    }
    check(3, Heads { n_heads: 2, n_kv_heads: 1, head_dim: 260 });
    check(2, Heads { n_heads: 2, n_kv_heads: 1, head_dim: 1024 });
}

#[test]
fn more_heads_than_one_dimension_has_workgroups() {
    check(700, Heads { n_heads: 128, n_kv_heads: 2, head_dim: 4 });
}

#[test]
fn the_check_rejects_faults() {
    let heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 64 };
    let (dim, rows) = (64, 5);
    let (gains, qkv) = inputs(rows, heads);
    let twin = |gains: &[f32], qkv: &[f32], eps| reference::qk_norm(gains, qkv, heads, eps);
    let (want, got) = (twin(&gains, &qkv, EPS), produce(&gains, &qkv, rows, heads));
    let other = |n_heads, n_kv_heads| {
        reference::qk_norm(&gains, &qkv, Heads { n_heads, n_kv_heads, head_dim: 64 }, EPS)
    };
    for (fault, wrong) in [
        ("last term dropped", twin(&gains, &drop_last_column(&qkv, dim), EPS)),
        ("keys with the gain of queries", twin(&[&gains[..dim], &gains[..dim]].concat(), &qkv, EPS)),
        ("gains of queries and keys swapped", twin(&off_by_one_row(&gains, dim), &qkv, EPS)),
        ("two gains swapped", twin(&swap_two(&gains), &qkv, EPS)),
        ("off-by-one head", off_by_one_row(&want, dim)),
        ("values normalized", other(8, 0)),
        ("keys left alone", other(4, 0)),
        ("a key taken for a query", other(5, 1)),
    ] {
        rejects("qk_norm", fault, &got, compare("qk_norm", &got, &wrong));
    }
    let got = produce(&gains, &qkv, rows - 1, heads);
    rejects("qk_norm", "last workgroups missing", &got, compare("qk_norm", &got, &want));
    // Only small heads show whether eps is added, and whether inside the root.
    let small: Vec<f32> = qkv.iter().map(|x| x * 1e-3).collect();
    let got = produce(&gains, &small, rows, heads);
    passes("qk_norm", "small heads", &got, compare("qk_norm", &got, &twin(&gains, &small, EPS)));
    rejects("qk_norm", "without eps", &got, compare("qk_norm", &got, &twin(&gains, &small, 0.0)));
}
