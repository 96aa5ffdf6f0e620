//! The sampler chain over several texts of one pool: `adjust`, `penalize`, `sample` and `top_logprobs` by row, each row with its own text
//! and its own settings.

use killick::gpu::Recorder;
use killick::kernels::adjust::{self, Adjust};
use killick::kernels::emit::LoopState;
use killick::kernels::penalize::{self, Penalize};
use killick::kernels::sample::{self, RowSettings, Sample};
use killick::kernels::top_logprobs::{self, ENTRY_WORDS, TopLogprobs};
use killick::kv::{RingState, TokenSet};
use killick::reference;
use killick::sampling::{BANNED, MAX_PENALTY_LAST_N, Sampler, SamplerOptions};

use crate::support::gpu::{POISON, Produced, buffer, output, try_run};
use crate::support::inputs::numbers;
use crate::support::numerics::{bound, compare, passes, rejects};

const VOCAB: u32 = 321;
/// Places for recent tokens of a text.
const CAPACITY: u32 = MAX_PENALTY_LAST_N;
/// Places of the pool, and the texts that the rows are of.
const PLACES: u32 = 6;
const ROWS: [u32; 5] = [3, 0, 5, 2, 1];

/// Every row asks for something else: a draw with penalties and a bias, the likeliest with penalties, a wide draw with neither, nothing
/// at all, the likeliest with a ban.
fn settings() -> [SamplerOptions; 5] {
    let off = SamplerOptions::default;
    let penalties = SamplerOptions {
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: -2.0, // below zero, so that recent ids are drawn often
        penalty_last_n: 40,
        ..off()
    };
    [
        SamplerOptions {
            temperature: 0.7,
            logit_bias: vec![(7, 3.0), (100, -2.0)],
            unpenalized: vec![21, 25],
            seed: 99,
            logprobs: 5,
            ..penalties.clone()
        },
        SamplerOptions { penalty_last_n: 30, unpenalized: vec![0, 36], logprobs: 1, ..penalties.clone() },
        SamplerOptions { temperature: 40.0, top_k: 200, top_p: 0.9, min_p: 0.01, seed: 5 << 33, ..off() },
        off(),
        SamplerOptions { banned: vec![0, 17, 320], logit_bias: vec![(50, 9.0)], logprobs: 20, ..off() },
    ]
}

/// What penalties of a row leave alone: the anchors of all, and ids of its own.
fn exempt(options: &SamplerOptions, anchors: &TokenSet) -> TokenSet {
    anchors.ids().iter().chain(&options.unpenalized).copied().collect()
}

/// The text at a place: each has its own length and tokens.
fn text(place: u32) -> Vec<u32> {
    (0..10 + 13 * place).map(|pos| (pos * pos + 7 * place) % 45).collect()
}

/// Ids drawn, the scores after penalties, and log-probabilities, of rows with these texts and settings. What a row has no bias for holds
/// that of nobody.
fn produce(rows: &[u32], logits: &[f32], options: &[SamplerOptions], anchors: &TokenSet) -> Vec<Produced> {
    let n = rows.len() as u32;
    let states: Vec<_> = (0..PLACES)
        .map(|place| RingState { pos: text(place).len() as u32, ..RingState::default() })
        .collect();
    let mut recent = vec![0; (PLACES * CAPACITY) as usize];
    for place in 0..PLACES {
        for (pos, id) in (0..).zip(text(place)) {
            recent[(place * CAPACITY + pos % CAPACITY) as usize] = id;
        }
    }
    let loops: Vec<_> = (0..)
        .zip(rows)
        .map(|(r, text)| LoopState { text: *text, emitted: r, ..LoopState::default() })
        .collect();
    let words = options.iter().flat_map(|one| exempt(one, anchors).bitset_words(VOCAB));
    let exempt_bits = buffer("exempt bits", &words.collect::<Vec<u32>>());
    let bias: Vec<f32> = options
        .iter()
        .flat_map(|one| match one.has_bias() {
            true => one.bias_vector(VOCAB),
            false => vec![f32::from_bits(POISON); VOCAB as usize],
        })
        .collect();
    let settings: Vec<_> = options.iter().map(|one| RowSettings::of(one, VOCAB)).collect();
    let (logits, bias, settings) =
        (buffer("logits", logits), buffer("bias", &bias), buffer("settings", &settings));
    let (state, recent, loop_state) =
        (buffer("state", &states), buffer("recent", &recent), buffer("loop state", &loops));
    let (scores, out) = (output("scores", (n * VOCAB) as usize), output("out", rows.len()));
    let entries = output("log-probabilities", (n * 3 * ENTRY_WORDS) as usize);
    let record = |rec: &mut Recorder| {
        let (settings, loop_state, state, scores) = (&settings, &loop_state, &state, &scores);
        adjust::record(rec, Adjust { logits: &logits, bias: &bias, settings, scores }, n, VOCAB)?;
        let (recent, exempt_bits) = (&recent, &exempt_bits);
        let io = Penalize { state, recent, exempt_bits, loop_state, settings, scores };
        penalize::record(rec, io, n, CAPACITY, VOCAB, MAX_PENALTY_LAST_N)?;
        sample::record(rec, Sample { scores, state, loop_state, settings, out: &out }, n, VOCAB)?;
        let io = TopLogprobs { logits: &logits, chosen: &out, loop_state, settings, out: &entries };
        top_logprobs::record(rec, io, n, VOCAB, 3)
    };
    try_run(&[&out, &scores, &entries], record).unwrap()
}

/// Of one row: the id that its text draws, and the scores it is drawn by.
struct Row {
    id: u32,
    margin: f64,
    scores: Vec<f32>,
}

fn want(place: u32, logits: &[f32], options: &SamplerOptions, anchors: &TokenSet) -> Row {
    let text = text(place);
    let exempt = &exempt(options, anchors);
    let drawn =
        Sampler::new(options.clone(), VOCAB, exempt).unwrap().sample(logits, &text, text.len() as u32);
    let mut scores = reference::adjust(logits, &options.bias_vector(VOCAB));
    if options.has_penalties() {
        let window = &text[text.len().saturating_sub(options.penalty_last_n as usize)..];
        reference::penalize(&mut scores, window, exempt, options);
    }
    Row { id: drawn.id, margin: drawn.margin, scores }
}

/// The ids that are those of the rows' own texts and settings, those within the margin aside.
fn ids(got: &Produced, rows: &[Row]) -> Result<f64, String> {
    for (r, (got, want)) in got.words.iter().zip(rows).enumerate() {
        if want.margin > bound("margin of a draw") && *got != want.id {
            return Err(format!("row {r} draws {got} and not {}", want.id));
        }
    }
    Ok(0.0)
}

/// The scores that are those of the rows' own texts and settings. Banned ones are so large that beside them no other would count, so they
/// are compared on their own.
fn scores(got: &mut Produced, rows: &[Row]) -> Result<f64, String> {
    let mut want: Vec<f64> = rows.iter().flat_map(|row| &row.scores).copied().map(f64::from).collect();
    for (i, want) in want.iter_mut().enumerate().filter(|(_, want)| **want == f64::from(BANNED)) {
        if got.words[i] != BANNED.to_bits() {
            return Err(format!("score {i} is not banned"));
        }
        (got.words[i], *want) = (0, 0.0);
    }
    compare("penalize", got, &want)
}

#[test]
fn each_row_is_drawn_by_its_own_text_and_its_own_settings() {
    let anchors: TokenSet = [3, 40].into_iter().collect();
    let options = settings();
    for seed in 11..17 {
        let logits = numbers(seed, ROWS.len(), VOCAB as usize);
        let mut got = produce(&ROWS, &logits, &options, &anchors);
        let by_row = || ROWS.into_iter().zip(logits.chunks(VOCAB as usize)).zip(&options);
        let of = |((place, logits), options): ((u32, &[f32]), &SamplerOptions)| {
            want(place, logits, options, &anchors)
        };
        let rows: Vec<Row> = by_row().map(of).collect();
        passes("sample", "rows of several texts", &got[0], ids(&got[0], &rows));
        let result = scores(&mut got[1], &rows);
        passes("penalize", "rows of several texts", &got[1], result);
        check_logprobs(&got, &logits, &options);

        // The texts of two rows, swapped, must show.
        let swapped = [ROWS[1], ROWS[0], ROWS[2], ROWS[3], ROWS[4]];
        let mut wrong = produce(&swapped, &logits, &options, &anchors);
        let result = scores(&mut wrong[1], &rows);
        rejects("penalize", "two texts swapped", &wrong[1], result);
        // So must the settings of any two, in the scores or in the draw.
        for (a, b) in [(0, 1), (1, 3), (2, 3), (3, 4), (0, 4)] {
            let mut swapped = options.clone();
            swapped.swap(a, b);
            let mut wrong = produce(&ROWS, &logits, &swapped, &anchors);
            let (drawn, scored) = (ids(&wrong[0], &rows), scores(&mut wrong[1], &rows));
            let fault = format!("the settings of rows {a} and {b} swapped");
            let (got, result) = if drawn.is_err() { (&wrong[0], drawn) } else { (&wrong[1], scored) };
            rejects("sample", &fault, got, result);
        }
    }
}

/// The entry of row r is number r mod 3 of its three, because its loop has handed out r tokens; it is as long as the row asks for.
fn check_logprobs(got: &[Produced], logits: &[f32], options: &[SamplerOptions]) {
    let mut expected = vec![f64::NAN; ROWS.len() * 3 * ENTRY_WORDS as usize];
    let rows = (0..).zip(&got[0].words[..ROWS.len()]).zip(logits.chunks(VOCAB as usize)).zip(options);
    for (((r, id), logits), options) in rows.filter(|(_, options)| options.logprobs > 0) {
        let first = ((r * 3 + r % 3) * ENTRY_WORDS) as usize;
        let listed = reference::top_logprobs(logits, *id, options.logprobs as usize);
        for (i, (want, logprob)) in listed.into_iter().enumerate() {
            let at = first + 2 * i;
            assert_eq!(got[2].words[at], want, "row {r}");
            (expected[at], expected[at + 1]) = (f64::from(f32::from_bits(want)), logprob);
        }
    }
    passes("top_logprobs", "rows of several texts", &got[2], compare("top_logprobs", &got[2], &expected));
}
