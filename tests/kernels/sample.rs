//! `sample`: the same ids as the CPU wherever rounding cannot decide, in the right distribution, for every combination
//! of settings; a greedy row takes what `argmax` takes.

use killick::gpu::{Buffer, Recorder};
use killick::kernels::adjust::{self, Adjust};
use killick::kernels::argmax;
use killick::kernels::emit::LoopState;
use killick::kernels::penalize::{self, Penalize};
use killick::kernels::sample::{self, RowSettings, Sample};
use killick::kv::{RingState, TokenSet};
use killick::reference;
use killick::sampling::{BANNED, NO_TOKEN, Sampler, SamplerOptions};

use crate::support::gpu::{POISON, Produced, buffer, gpu, output, share, try_run};
use crate::support::inputs::numbers;
use crate::support::numerics::{bound, passes, rejects};

/// Draws that one submit makes, for positions 0, 1, ...
const DRAWS: u32 = 256;
/// Scores that there is room for, where many small vocabularies take turns.
const ROOM: usize = 1200;

/// Buffers for many draws from the same scores.
struct Bench {
    scores: Buffer,
    loop_state: Buffer,
    settings: Buffer,
    states: Vec<Buffer>,
    outs: Vec<Buffer>,
}

impl Bench {
    fn new(draws: u32, room: usize) -> Self {
        let state = |pos| buffer("state", &[RingState { pos, ..RingState::default() }]);
        Self {
            scores: output("scores", room),
            loop_state: buffer("loop state", &[LoopState::default()]),
            settings: buffer("settings", &[RowSettings::default()]),
            states: (0..draws).map(state).collect(),
            outs: (0..draws).map(|_| output("out", 1)).collect(),
        }
    }

    fn set(&self, options: &SamplerOptions, vocab: u32) {
        gpu().upload(&self.settings, 0, bytemuck::bytes_of(&RowSettings::of(options, vocab))).unwrap();
    }

    fn io<'a>(&'a self, state: &'a Buffer, out: &'a Buffer) -> Sample<'a> {
        let Self { scores, loop_state, settings, .. } = self;
        Sample { scores, state, loop_state, settings, out }
    }

    /// The ids drawn for the positions of this bench.
    fn draw(&self, scores: &[f32], options: &SamplerOptions) -> Produced {
        let mut words: Vec<u32> = scores.iter().map(|score| score.to_bits()).collect();
        words.resize(self.scores.size() as usize / 4, POISON);
        gpu().upload(&self.scores, 0, bytemuck::cast_slice(&words)).unwrap();
        let outs: Vec<&Buffer> = self.outs.iter().collect();
        let vocab = scores.len() as u32;
        self.set(options, vocab);
        let mut drawn = try_run(&outs, |rec| {
            let mut pairs = self.states.iter().zip(&self.outs);
            pairs.try_for_each(|(state, out)| sample::record(rec, self.io(state, out), 1, vocab))
        })
        .unwrap();
        for one in &drawn {
            assert!(one.words[1..].iter().all(|word| *word == POISON), "written behind the output");
        }
        let ids = drawn.iter().map(|one| one.words[0]).collect();
        let mut first = drawn.remove(0);
        first.words = ids;
        first
    }
}

/// The same ids as the twin's, those within the margin aside; how many those are.
fn agreement(got: &Produced, scores: &[f32], options: &SamplerOptions, first: u32) -> Result<f64, String> {
    let (mut doubtful, margin) = (0.0, bound("margin of a draw"));
    for (position, id) in (first..).zip(&got.words) {
        let want = reference::sample(scores, options, position);
        if want.margin <= margin {
            doubtful += 1.0;
        } else if want.id != *id {
            return Err(format!("position {position} draws {id} and should draw {want:?} with {options:?}"));
        }
    }
    Ok(doubtful)
}

/// `vocab` scores: some with ties, some with banned ids.
fn scores(seed: u64, vocab: usize) -> Vec<f32> {
    let mut scores: Vec<f32> = numbers(seed, 1, vocab).iter().map(|score| 3.0 * score).collect();
    if seed.is_multiple_of(2) {
        scores.iter_mut().for_each(|score| *score = (2.0 * *score).round() / 2.0);
    }
    if seed.is_multiple_of(3) && vocab > 8 {
        [0, 5, vocab / 2, vocab - 1].into_iter().for_each(|id| scores[id] = BANNED);
    }
    scores
}

/// Every combination of settings.
fn settings() -> Vec<SamplerOptions> {
    let mut settings = Vec::new();
    for temperature in [0.1, 0.7, 1.0, 1.5] {
        for top_k in [0, 1, 5, 40, 2000] {
            for top_p in [1.0, 0.9, 0.5, 0.05] {
                for min_p in [0.0, 0.05, 0.5, 1.0] {
                    let seed = (settings.len() as u64) << 30;
                    let off = SamplerOptions::default();
                    settings.push(SamplerOptions { temperature, top_k, top_p, min_p, seed, ..off });
                }
            }
        }
    }
    settings
}

/// Lets the device draw with settings and vocabularies in turn; draws, and those within the margin.
fn agree(bench: &Bench, settings: &[SamplerOptions], batches: usize) -> (f64, f64) {
    let (mut draws, mut doubtful) = (0.0, 0.0);
    for (i, options) in settings.iter().cycle().take(batches).enumerate() {
        let vocab = [321, 2, 64, 255, 1, 256, 257, 1000, 7][i % 9];
        let scores = scores(i as u64, vocab);
        let options = SamplerOptions { seed: options.seed + i as u64, ..options.clone() };
        let got = bench.draw(&scores, &options);
        let result = agreement(&got, &scores, &options, 0);
        doubtful += result.clone().unwrap_or_default();
        draws += got.words.len() as f64;
        if i % 40 == 0 || result.is_err() {
            passes("sample", &format!("({vocab}) {options:?}"), &got, result);
        }
    }
    (draws, doubtful)
}

#[test]
fn draws_what_the_cpu_draws_with_every_combination_of_settings() {
    let settings = settings();
    let all = agree(&Bench::new(share(16, 4) as u32, ROOM), &settings, settings.len());
    // A search for a threshold makes sixteen times as many passes, so most draws do without one.
    let quick: Vec<_> = settings.into_iter().filter(|o| o.top_k == 0 && o.top_p == 1.0).collect();
    let batches = share(380, 20);
    let most = agree(&Bench::new(DRAWS, ROOM), &quick, batches);
    let (draws, doubtful) = (all.0 + most.0, all.1 + most.1);
    println!("{doubtful} of {draws} draws lie within the margin");
    assert!(
        draws >= (batches as u32 * DRAWS) as f64
            && doubtful / draws < bound("share of draws within the margin")
    );
}

#[test]
fn draws_what_the_cpu_draws_from_real_vocabularies() {
    for vocab in [128_256, 32_002, 49_152].into_iter().take(share(3, 1)) {
        let bench = Bench::new(6, vocab);
        for options in settings().iter().step_by(53) {
            let scores = scores(vocab as u64, vocab);
            let got = bench.draw(&scores, options);
            let result = agreement(&got, &scores, options, 0);
            passes("sample", &format!("({vocab}) {options:?}"), &got, result);
        }
    }
}

#[test]
fn the_chain_of_kernels_chooses_what_the_sampler_chooses() {
    let (vocab, capacity) = (321, 64);
    let exempt: TokenSet = [3, 40].into_iter().collect();
    let exempt_bits = buffer("exempt bits", &exempt.bitset_words(vocab));
    let bench = Bench::new(48, ROOM);
    let (mut differ, margin) = (0, bound("margin of a draw"));
    for (i, settings) in settings().iter().step_by(19).enumerate() {
        let options = SamplerOptions {
            repetition_penalty: 1.2,
            frequency_penalty: 0.3,
            presence_penalty: -2.0, // below zero, so that recent ids are drawn often
            penalty_last_n: 40,
            logit_bias: vec![(7, 3.0), (100, -2.0)],
            banned: vec![0, 320],
            ..settings.clone()
        };
        let sampler = Sampler::new(options.clone(), vocab, &exempt).unwrap();
        let peaked = scores(2 * i as u64 + 1, vocab as usize);
        let model: Vec<f32> = peaked.iter().map(|score| score.clamp(-3.0, 3.0)).collect();
        let text: Vec<u32> = (0..bench.outs.len() as u32).map(|pos| pos * pos % 45).collect();
        let (logits, bias) = (buffer("logits", &model), buffer("bias", &options.bias_vector(vocab)));
        let recent = buffer("recent", &text);
        bench.set(&options, vocab);
        let outs: Vec<&Buffer> = bench.outs.iter().collect();
        let drawn = try_run(&outs, |rec| {
            let Bench { scores, loop_state, settings, .. } = &bench;
            bench.states.iter().zip(&bench.outs).try_for_each(|(state, out)| {
                adjust::record(rec, Adjust { logits: &logits, bias: &bias, settings, scores }, 1, vocab)?;
                let (recent, exempt_bits) = (&recent, &exempt_bits);
                let io = Penalize { state, recent, exempt_bits, loop_state, settings, scores };
                penalize::record(rec, io, 1, capacity, vocab, options.penalty_last_n)?;
                sample::record(rec, bench.io(state, out), 1, vocab)
            })
        });
        for (pos, got) in drawn.unwrap().iter().enumerate() {
            let want = sampler.sample(&model, &text[..pos], pos as u32);
            assert!(want.margin <= margin || got.words[0] == want.id, "{want:?} at {pos} with {options:?}");
            let unpenalized = sampler.sample(&model, &[], pos as u32);
            differ += usize::from(unpenalized.id != want.id);
        }
    }
    assert!(differ > 100, "the penalties decide too little to be tested: {differ}");
}

#[test]
fn without_a_temperature_the_likeliest_is_taken() {
    let bench = Bench::new(2, ROOM);
    let options = SamplerOptions { top_k: 3, ..SamplerOptions::default() };
    for seed in 0..6 {
        let scores = scores(seed, 321);
        let want = reference::sample(&scores, &options, 0).id;
        assert_eq!(bench.draw(&scores, &options).words, [want, want]);
    }
}

/// Rows that draw and rows that do not may share a step, so a greedy row must be what it is where none draws: `argmax`, bit by bit.
#[test]
fn a_greedy_row_is_what_argmax_takes_ties_included() {
    let bench = Bench::new(1, 32_002);
    let greedy = SamplerOptions { seed: 3, top_p: 0.5, ..SamplerOptions::default() };
    let likeliest = |vocab: usize| {
        let out = output("out", 1);
        let record = |rec: &mut Recorder| argmax::record(rec, &bench.scores, &out, 1, vocab as u32, 0);
        try_run(&[&out], record).unwrap()[0].words[0]
    };
    for vocab in [1, 2, 255, 256, 257, 321, 32_002] {
        let mut cases = vec![
            scores(1, vocab),
            scores(2, vocab),
            vec![0.5; vocab],
            vec![f32::MIN; vocab],
            vec![BANNED; vocab],
            // Zeros of both signs are equal.
            (0..vocab).map(|id| if id % 2 == 0 { -0.0 } else { 0.0 }).collect(),
            (0..vocab).map(|id| if id < vocab / 2 { -1.0 } else { 7.0 }).collect(),
        ];
        cases.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|broken| {
            let mut scores = scores(1, vocab);
            scores[vocab / 2] = broken;
            scores
        }));
        for (i, scores) in cases.iter().enumerate() {
            let got = bench.draw(scores, &greedy);
            assert_eq!(got.words, [likeliest(vocab)], "case {i} of {vocab}");
            // The check sees a draw: among equals it would be another id.
            if i == 2 && vocab > 2 {
                let drawn = bench.draw(scores, &SamplerOptions { temperature: 1.0, ..greedy.clone() });
                assert_ne!(drawn.words, got.words, "{vocab}");
            }
        }
    }
}

#[test]
fn a_banned_token_is_never_drawn() {
    let bench = Bench::new(4, ROOM);
    for options in settings().iter().step_by(7) {
        for kept in [0, 200, 320] {
            let mut scores = [BANNED; 321];
            scores[kept] = -50.0;
            assert_eq!(bench.draw(&scores, options).words, [kept as u32; 4], "{options:?}");
        }
    }
}

#[test]
fn scores_that_are_not_finite_have_no_token() {
    let bench = Bench::new(2, ROOM);
    for broken in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (options, id) in settings().iter().step_by(61).zip([0, 1, 255, 256, 320].into_iter().cycle()) {
            let mut scores = scores(1, 321);
            scores[id] = broken;
            assert_eq!(bench.draw(&scores, options).words, [NO_TOKEN; 2], "{broken} with {options:?}");
        }
    }
}

#[test]
fn shapes_that_make_no_sense_are_refused() {
    let words = buffer("any", &[0_u32; 64]);
    for (vocab, what) in [(0, "vocab"), ((1 << 24) + 1, "vocab"), (1000, "bytes of scores")] {
        let mut rec = Recorder::new(gpu().capabilities());
        let io = Sample { scores: &words, state: &words, loop_state: &words, settings: &words, out: &words };
        let error = sample::record(&mut rec, io, 1, vocab).unwrap_err().to_string();
        assert!(error.contains(what), "{error} instead of {what}");
    }
}

#[test]
fn the_check_rejects_faults() {
    let bench = Bench::new(DRAWS, ROOM);
    let scores: Vec<f32> = scores(1, 321).iter().map(|score| score.clamp(-3.0, 3.0)).collect();
    type Change = fn(&mut SamplerOptions);
    let faults: [(&str, Change, Change); 8] = [
        ("the upper half of the seed ignored", |o| o.seed = 1 << 40, |o| o.seed = 0),
        ("a temperature off by a tenth", |o| o.temperature = 0.8, |o| o.temperature = 0.88),
        ("top-k off by one", |o| o.top_k = 9, |o| o.top_k = 10),
        ("top-k forgotten", |o| o.top_k = 60, |o| o.top_k = 0),
        ("top-p off by a tenth", |o| o.top_p = 0.5, |o| o.top_p = 0.55),
        (
            "top-p of everything instead of what top-k left",
            |o| (o.top_k, o.top_p) = (20, 0.5),
            |o| o.top_p = 0.06,
        ),
        ("min-p off by a tenth", |o| o.min_p = 0.5, |o| o.min_p = 0.55),
        ("min-p forgotten", |o| o.min_p = 0.5, |o| o.min_p = 0.0),
    ];
    for (fault, right, wrong) in faults {
        let mut options = SamplerOptions { temperature: 1.0, ..SamplerOptions::default() };
        right(&mut options);
        let got = bench.draw(&scores, &options);
        passes("sample", &format!("before: {fault}"), &got, agreement(&got, &scores, &options, 0));
        wrong(&mut options);
        rejects("sample", fault, &got, agreement(&got, &scores, &options, 0));
    }
    let options = SamplerOptions { temperature: 1.0, ..SamplerOptions::default() };
    let got = bench.draw(&scores, &options);
    rejects("sample", "the position before", &got, agreement(&got, &scores, &options, 1));
    let mut dropped = scores.clone();
    let largest = (0..321).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
    dropped[largest] = BANNED;
    rejects("sample", "the likeliest dropped", &got, agreement(&got, &dropped, &options, 0));
    // The order of the walk: without it the ids are drawn as often, but for other numbers.
    let mut walk: Vec<usize> = (0..321).collect();
    walk.sort_by_key(|id| (id % 256, *id));
    let unwalked: Vec<f32> = walk.iter().map(|id| scores[*id]).collect();
    rejects("sample", "walked in the order of ids", &got, agreement(&got, &unwalked, &options, 0));
}

/// The probabilities that the chain promises, step by step as probabilities.
fn exact(scores: &[f32], options: &SamplerOptions) -> Vec<f64> {
    let softmax = |score: &f32| (f64::from(*score) / f64::from(options.temperature)).exp();
    let mut p: Vec<f64> = scores.iter().map(softmax).collect();
    let keep = |p: &mut Vec<f64>, least: f64| {
        p.iter_mut().filter(|p| **p < least).for_each(|p| *p = 0.0);
        let total: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
    };
    let ranked = |p: &[f64]| {
        let mut ranked = p.to_vec();
        ranked.sort_by(|a, b| b.total_cmp(a));
        ranked
    };
    if options.top_k > 0 {
        let least = ranked(&p)[options.top_k as usize - 1];
        keep(&mut p, least);
    } else {
        keep(&mut p, 0.0);
    }
    let mut mass = 0.0;
    let reached = |p: &f64| {
        mass += p;
        mass >= f64::from(options.top_p)
    };
    let least = ranked(&p).into_iter().find(reached).unwrap_or(0.0);
    keep(&mut p, least);
    let least = f64::from(options.min_p) * ranked(&p)[0];
    keep(&mut p, least);
    p
}

/// The probability that a chi-square variable of `dof` degrees of freedom exceeds `x`: one minus the regularized lower
/// incomplete gamma function by its series.
fn chi_square_tail(x: f64, dof: usize) -> f64 {
    let (a, x) = (dof as f64 / 2.0, x / 2.0);
    if x > a + 500.0 {
        return 0.0; // where the series would begin below the smallest number
    }
    // x^a exp(-x) / gamma(a + 1), with gamma(1) = 1 and gamma(1/2) = sqrt(pi).
    let mut log_term = a * x.ln() - x;
    (0..dof.div_ceil(2)).for_each(|i| log_term -= (a - i as f64).ln());
    if dof % 2 == 1 {
        log_term -= std::f64::consts::PI.ln() / 2.0;
    }
    let (mut term, mut sum, mut n) = (log_term.exp(), 0.0, 0.0);
    while n < 10.0 * (x + 10.0) {
        sum += term;
        n += 1.0;
        term *= x / (a + n);
    }
    1.0 - sum
}

#[test]
fn the_tail_of_chi_square_is_that_of_the_tables() {
    for (dof, x) in [(1, 10.828), (2, 13.816), (5, 20.515), (20, 45.315), (29, 58.301)] {
        let close = bound("tail of chi-square, from the printed tables");
        assert!((chi_square_tail(x, dof) - 1e-3).abs() < close, "{dof}: {}", chi_square_tail(x, dof));
    }
}

/// Whether ids drawn so often can come from these probabilities.
fn fits(counts: &[f64], p: &[f64]) -> Result<f64, String> {
    let n: f64 = counts.iter().sum();
    if let Some(id) = (0..p.len()).find(|id| p[*id] == 0.0 && counts[*id] > 0.0) {
        return Err(format!("id {id} was drawn and cannot be"));
    }
    let kept: Vec<usize> = (0..p.len()).filter(|id| p[*id] > 0.0).collect();
    assert!(kept.iter().all(|id| n * p[*id] >= 5.0), "too few draws for the test to hold");
    let chi: f64 = kept.iter().map(|id| (counts[*id] - n * p[*id]).powi(2) / (n * p[*id])).sum();
    let tail = chi_square_tail(chi, kept.len() - 1);
    let what = format!("chi-square {chi:.1} over {} ids, p = {tail:.1e}", kept.len());
    println!("{what}");
    if tail > bound("p of a chi-square test") { Ok(tail) } else { Err(what) }
}

#[test]
fn the_draws_have_the_distribution_of_the_chain() {
    let bench = Bench::new(DRAWS, ROOM);
    let off = || SamplerOptions { temperature: 1.0, ..SamplerOptions::default() };
    let few: Vec<f32> = (0..21_u8).map(|i| 0.2 * f32::from(i * 8 % 21) - 2.0).collect();
    let many: Vec<f32> = (0..600_u32).map(|i| (i * 7 % 600) as f32 / 5.0 - 60.0).collect();
    let hotter = |o: &mut SamplerOptions| o.temperature *= 1.05;
    type Fault = (&'static str, fn(&mut SamplerOptions));
    let all = SamplerOptions { temperature: 2.0, top_k: 30, top_p: 0.95, min_p: 0.12, ..off() };
    let cases: [(_, _, _, Fault); 5] = [
        (&few, off(), 100, ("a temperature off by 5 %", hotter)),
        (&few, SamplerOptions { temperature: 1.7, ..off() }, 200, ("a temperature off by 5 %", hotter)),
        (&many, all.clone(), 10, ("top-k off by ten", |o| o.top_k = 20)),
        (&many, SamplerOptions { min_p: 0.0, ..all.clone() }, 10, ("top-p forgotten", |o| o.top_p = 1.0)),
        (&many, all, 10, ("min-p off by a fifth", |o| o.min_p = 0.15)),
    ];
    for (scores, options, batches, (fault, change)) in cases.into_iter().rev().take(share(5, 1)) {
        let mut got = bench.draw(scores, &SamplerOptions { seed: 1000, ..options.clone() });
        for seed in 1001..1000 + batches {
            got.words.extend(bench.draw(scores, &SamplerOptions { seed, ..options.clone() }).words);
        }
        let mut counts = vec![0.0; scores.len()];
        got.words.iter().for_each(|id| counts[*id as usize] += 1.0);
        let right = exact(scores, &options);
        passes("sample", &format!("chi-square of {options:?}"), &got, fits(&counts, &right).map(|_| 0.0));
        let mut moved = right.clone();
        moved.rotate_left(1);
        rejects("sample", "the neighbours' probabilities", &got, fits(&counts, &moved));
        let mut wrong = options.clone();
        change(&mut wrong);
        rejects("sample", fault, &got, fits(&counts, &exact(scores, &wrong)));
    }
}
