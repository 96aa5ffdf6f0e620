//! Measurements on a tiny random model, against what brute force over whole texts gives.
//!
//! `eval/program.rs` runs the program that makes them, `eval/pytorch.rs` compares them with PyTorch's.

#[path = "support/gpu.rs"]
mod device;
#[path = "support/golden.rs"]
mod golden;
mod support;

mod eval {
    mod program;
    mod pytorch;
}

use std::sync::Arc;

use device::{gpu, share};
use killick::eval::{
    Choices, FactKind, HeldOut, Item, Judge, LossReport, PromptOptions, RecallOptions, choices, filler_of,
    perplexity, recall, trials, uncached,
};
use killick::kernels::WeightFormat;
use killick::kv::{Insert, Place, Policy, PolicySpec, Preset, Tagger};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, Score, score};
use killick::{KvReport, SessionOptions, Tokenizer};
use pollster::block_on;
use support::bounds::bound;
use support::skip;
use support::tiny_model::TinyModel;

/// An added token that can stand for `<AC>`.
const AC: u32 = 510;

/// Rows of docs/numerics.md: nats of a token and of a mean, and figures of 64 bits.
const TOKEN: &str = "nats of a token of a tiny model";
const EXACT: &str = "a figure made anew in 64 bits";

const TEXT: &str = "Tom has a boat. It is old, but it is dry! Did he row to the mill? He did. The mill is far from the sea; \
                    a road leads there. In the mill there was a miller, and he had two sons. They row a boat.";

struct Opened {
    model: Arc<Model>,
    tokenizer: Tokenizer,
}

fn open() -> Opened {
    let files = TinyModel::speaking().folder(3, "{{ messages }}");
    let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
    let model = block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
    Opened { model: Arc::new(model), tokenizer: Tokenizer::from_source(file.tokenizer(), "tiny").unwrap() }
}

impl Opened {
    /// Policies whose bounds act within a few dozen tokens, the second of which inserts anchors, also where a segment gets too long.
    fn policies(&self) -> Vec<Policy> {
        let stops = || Some(self.tokenizer.ids_of_bytes(b"."));
        let specs = [
            PolicySpec::new(Preset::Full),
            PolicySpec {
                anchors: Some(vec![AC]),
                insert: Some(Insert { id: AC, place: Place::Between }),
                max_segment: Some(11),
                ..PolicySpec::new(Preset::Anchor)
            },
            PolicySpec { anchors: stops(), window: Some(6), ..PolicySpec::new(Preset::SepLlm) },
            PolicySpec {
                anchors: stops(),
                sinks: Some(2),
                max_anchors: Some(2),
                ..PolicySpec::new(Preset::Anchor)
            },
            PolicySpec { window: Some(9), ..PolicySpec::new(Preset::Streaming) },
            PolicySpec { window: Some(7), ..PolicySpec::new(Preset::Window) },
        ];
        let some = specs.iter().take(share(specs.len(), 3));
        some.map(|spec| spec.resolve(self.model.config()).unwrap()).collect()
    }

    /// The whole text by brute force.
    fn masked(&self, policy: &Policy, ids: &[u32]) -> Score {
        block_on(score(&self.model, policy, ids, Path::Masked)).unwrap()
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, false).unwrap()
    }

    /// What stands in front of every text: the tokenizer of the test puts one token there, and one behind, which belongs to none of
    /// these texts.
    fn prefix(&self) -> Vec<u32> {
        assert_eq!(self.tokenizer.prefix().len(), 1);
        self.tokenizer.prefix().to_vec()
    }

    /// The log-likelihood of the last tokens of a text, and whether each of them was the likeliest; inserted anchors are not
    /// counted.
    fn last(&self, policy: &Policy, before: &[u32], rest: &[u32]) -> (f64, bool) {
        let ids = Tagger::default().close_segments(policy, &[before, rest].concat());
        let first = Tagger::default().close_segments(policy, before).len();
        let score = self.masked(policy, &ids);
        let inserted = |i: &usize| policy.insert.is_some_and(|insert| insert.id == ids[*i]);
        let counted: Vec<usize> = (first..ids.len()).filter(|i| !inserted(i)).collect();
        assert_eq!(counted.len(), rest.len());
        let logprob = -counted.iter().map(|i| f64::from(score.nll[i - 1])).sum::<f64>();
        (logprob, counted.iter().all(|i| score.top1[i - 1] == ids[*i]))
    }
}

fn quiet() -> impl FnMut(usize, usize) {
    |_, _| {}
}

fn loss(opened: &Opened, policy: &Policy, text: &HeldOut, size: usize, stride: usize) -> LossReport {
    let windows = text.windows(size, stride, usize::MAX).unwrap();
    block_on(perplexity(&opened.model, policy, SessionOptions::default(), text, &windows, &mut quiet()))
        .unwrap()
}

#[test]
fn perplexity_is_that_of_the_score_of_each_window() {
    let opened = open();
    let ids = opened.ids(TEXT);
    let text = HeldOut::new(&opened.tokenizer, TEXT, None).unwrap();
    assert_eq!(text.len(), ids.len());
    let mut losses = Vec::new();
    for policy in opened.policies().into_iter().filter(|policy| policy.insert.is_none()) {
        for (size, stride) in [(24, 24), (24, 10), (1000, 1000)] {
            let report = loss(&opened, &policy, &text, size, stride);
            let (mut nats, mut counted, mut done, mut kvs) = (0.0, 0, 0, Vec::<KvReport>::new());
            while done < ids.len() {
                let start = done.saturating_sub(size - stride);
                let window = &ids[start..ids.len().min(start + size - 1)];
                let score = opened.masked(&policy, &[&opened.prefix(), window].concat());
                for (_, nll) in (start..).zip(&score.nll).filter(|(i, _)| *i >= done) {
                    (nats, counted) = (nats + f64::from(*nll), counted + 1);
                }
                kvs.push(score.kv);
                done = start + window.len();
            }
            let what = format!("{} {size} {stride}", policy.preset);
            assert_eq!(report.tokens, counted, "{what}");
            assert!(
                (report.mean_nll - nats / counted as f64).abs() < bound(TOKEN),
                "{what}: {report:?}, {nats}"
            );
            assert!((report.perplexity - report.mean_nll.exp()).abs() < bound(EXACT), "{what}");
            let mean =
                |value: &dyn Fn(&KvReport) -> f64| kvs.iter().map(value).sum::<f64>() / kvs.len() as f64;
            let reduction = mean(&|kv| 1.0 - f64::from(kv.live) / f64::from(kv.seen));
            assert!((report.cache_reduction - reduction).abs() < bound(EXACT), "{what}: {report:?}");
            assert_eq!(report.live, mean(&|kv| f64::from(kv.live)), "{what}");
            assert_eq!(report.peak_live, kvs.iter().map(|kv| kv.peak_live).max().unwrap(), "{what}");
            assert_eq!(report.kv_bytes_live, mean(&|kv| kv.bytes_live as f64), "{what}");
            assert_eq!(report.window_nll.len(), kvs.len(), "{what}");
            assert!(
                report.kv_bytes_allocated > 0 && report.tokens_per_second > 0.0 && report.inserted == 0,
                "{what}"
            );
            if stride == 1000 {
                losses.push(report.mean_nll);
                let bits = nats / std::f64::consts::LN_2 / TEXT.len() as f64;
                assert!(
                    (report.bits_per_byte - bits).abs() < bound(TOKEN),
                    "{what}: {} and {bits}",
                    report.bits_per_byte
                );
            }
        }
    }
    assert!(
        losses.iter().skip(1).all(|loss| (loss - losses[0]).abs() > 10.0 * bound(TOKEN)),
        "a policy that does nothing: {losses:?}"
    );
}

#[test]
fn inserted_anchors_are_read_but_not_counted() {
    let opened = open();
    let policies = opened.policies();
    let (full, inserting) = (&policies[0], &policies[1]);
    let text = HeldOut::new(&opened.tokenizer, TEXT, Some(Place::Between)).unwrap();
    let plain = loss(&opened, full, &text, 1000, 1000);
    let report = loss(&opened, inserting, &text, 1000, 1000);
    assert_eq!((plain.tokens, plain.bytes), (report.tokens, report.bytes), "the same text");

    let ids = opened.tokenizer.encode_with_anchors(TEXT, false, inserting.insert.as_ref()).unwrap();
    let ids = Tagger::default().close_segments(inserting, &[opened.prefix(), ids].concat());
    let score = opened.masked(inserting, &ids);
    let anchors = ids.iter().filter(|id| **id == AC).count() as u64;
    assert!(anchors > 7, "one between any two sentences, and more where they are long: {anchors}");
    assert_eq!((report.inserted, report.anchors), (anchors, anchors));
    let counted: Vec<f64> =
        (1..ids.len()).filter(|i| ids[*i] != AC).map(|i| f64::from(score.nll[i - 1])).collect();
    let mean = counted.iter().sum::<f64>() / counted.len() as f64;
    assert_eq!(report.tokens, counted.len() as u64);
    assert!((report.mean_nll - mean).abs() < bound(TOKEN), "{} and {mean}", report.mean_nll);
    assert!((report.mean_nll - score.mean_nll()).abs() > bound(TOKEN), "counting the anchors would be seen");

    // In short windows all policies still read the same text, none more than the window holds.
    let windows = text.windows(20, 20, usize::MAX).unwrap();
    for window in &windows {
        assert_eq!(text.reading(full, window).ids.len(), 1 + window.read.len());
        let unbounded = Policy { max_segment: 100, ..inserting.clone() };
        assert!(text.reading(&unbounded, window).ids.len() <= 20);
    }
    assert_eq!(windows.iter().map(|window| window.counted.len()).sum::<usize>(), text.len());
}

fn item(query: &str, choices: &[&str], gold: usize) -> Item {
    Item {
        query: query.to_owned(),
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        gold,
    }
}

fn some_items() -> Vec<Item> {
    vec![
        item("Where is the boat. It is", &["in the mill", "on the sea, far from the road", "old"], 1),
        item("Who rows?", &["Tom", "The miller. He has a son"], 1),
        item(
            "A road leads",
            &["there", "far", "to the mill. It is dry. Did he row to the sea, to the sea, to the sea?"],
            0,
        ),
        item("He had", &["two sons", "a boat"], 0),
        item("The mill is", &["dry", "old"], 1),
    ]
}

/// Every text is put together as a person would write it down and scored whole, by brute force.
#[test]
fn choices_are_judged_as_by_scoring_every_text_whole() {
    let opened = open();
    let mut all = Vec::new();
    for (shots, delimiter) in [(0, " "), (2, "\nAnswer: ")] {
        let prompt = PromptOptions { delimiter: delimiter.to_owned(), ..PromptOptions::default() };
        let task = Choices::new(some_items(), None, shots, 10, 1, prompt).unwrap();
        for policy in opened.policies() {
            let report = block_on(choices(
                &opened.model,
                &opened.tokenizer,
                &policy,
                SessionOptions::default(),
                &task,
                &mut quiet(),
            ))
            .unwrap();
            let what = format!("{} {shots} {:?}", policy.preset, policy.insert);
            let (mut right, mut right_by_bytes, mut reduction) = (0, 0, 0.0);
            for (item, logprobs) in task.items.iter().zip(&report.logprobs) {
                let mut before = opened.prefix();
                for (i, shown) in task.demonstrations.iter().enumerate() {
                    let gap = if i == 0 { "" } else { "\n\n" };
                    let text = format!("{gap}{}{delimiter}{}", shown.query, shown.choices[shown.gold]);
                    before.extend(opened.ids(&text));
                    before.extend(policy.insert.map(|insert| insert.id));
                }
                let gap = if shots > 0 { "\n\n" } else { "" };
                before.extend(opened.ids(&format!("{gap}{}{}", item.query, delimiter.trim_end())));
                let whole: Vec<f64> = (item.choices.iter())
                    .map(|choice| opened.last(&policy, &before, &opened.ids(&format!(" {choice}"))).0)
                    .collect();
                // A choice has at most some ten tokens.
                for (ours, theirs) in logprobs.iter().zip(&whole) {
                    assert!(
                        (ours - theirs).abs() < 10.0 * bound(TOKEN),
                        "{what}: {logprobs:?} and {whole:?}"
                    );
                }
                let best =
                    |scores: &[f64]| (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
                right += usize::from(best(&whole) == Some(item.gold));
                let by_bytes: Vec<f64> = whole
                    .iter()
                    .zip(&item.choices)
                    .map(|(logprob, choice)| logprob / choice.len() as f64)
                    .collect();
                right_by_bytes += usize::from(best(&by_bytes) == Some(item.gold));
                let closed = Tagger::default().close_segments(&policy, &before);
                let kv = opened.masked(&policy, &closed).kv;
                reduction += 1.0 - f64::from(kv.live) / f64::from(kv.seen);
                if policy.insert.is_none() {
                    let text = opened.tokenizer.decode(&before, true).unwrap();
                    assert_eq!(opened.ids(&text), before[1..], "the pieces are the tokens of the whole");
                }
            }
            let n = task.items.len();
            assert_eq!(report.items, n, "{what}");
            assert!((report.acc - right as f64 / n as f64).abs() < bound(EXACT), "{what}");
            assert!((report.acc_norm - right_by_bytes as f64 / n as f64).abs() < bound(EXACT), "{what}");
            let p = report.acc;
            assert!(
                (report.acc_stderr - (p * (1.0 - p) / (n as f64 - 1.0)).sqrt()).abs() < bound(EXACT),
                "{what}"
            );
            assert!((report.cache_reduction - reduction / n as f64).abs() < bound(EXACT), "{what}");
            all.push((shots, report.logprobs));
        }
        let timed = block_on(uncached(&opened.model, &opened.tokenizer, SessionOptions::default(), &task, 2))
            .unwrap();
        assert!(timed.items == 2 && timed.seconds_per_item > 0.0, "{timed:?}");
    }
    for (i, (shots, logprobs)) in all.iter().enumerate() {
        let twin = all.iter().skip(i + 1).find(|other| *shots == other.0 && *logprobs == other.1);
        assert!(twin.is_none(), "two policies that are one: {twin:?}");
    }
}

#[test]
fn a_judge_forgets_one_context_before_the_next() {
    let opened = open();
    for policy in opened.policies() {
        let (opening, context) = (opened.ids("Tom has a boat. It is"), opened.ids(" old. The mill is"));
        let answers = [opened.ids(" far"), opened.ids(TEXT), opened.ids(" dry. Tom")];
        let judge =
            || block_on(Judge::new(&opened.model, &policy, SessionOptions::default(), &opening)).unwrap();
        let (mut used, mut fresh) = (judge(), judge());
        block_on(used.judge(&opened.ids(TEXT), &answers)).unwrap();
        let (again, first) =
            (block_on(used.judge(&context, &answers)), block_on(fresh.judge(&context, &answers)));
        let (again, first) = (again.unwrap(), first.unwrap());
        assert_eq!((&again.verdicts, again.kv.live), (&first.verdicts, first.kv.live), "{}", policy.preset);
        assert!(first.peak_live >= first.kv.live);
    }
}

#[test]
fn recall_is_that_of_scoring_every_text_whole() {
    let opened = open();
    let filler = filler_of(None);
    let options = RecallOptions {
        distances: vec![1, 3],
        trials: share(4, 2),
        lead: 1,
        distractors: 2,
        kinds: vec![FactKind::Name, FactKind::Number],
        seed: 5,
    };
    for policy in opened.policies() {
        let reports = block_on(recall(
            &opened.model,
            &opened.tokenizer,
            &policy,
            SessionOptions::default(),
            &options,
            &filler,
            &mut quiet(),
        ))
        .unwrap();
        for (report, distance) in reports.iter().zip(&options.distances) {
            let (mut right, mut exact, n) = (0, 0, options.trials as f64);
            for trial in trials(&options, &filler, *distance).unwrap() {
                let mut before = opened.prefix();
                for (i, sentence) in trial.sentences.iter().enumerate() {
                    before.extend(opened.ids(&format!("{}{sentence}", if i > 0 { " " } else { "" })));
                    before.extend(policy.insert.map(|insert| insert.id));
                }
                before.extend(opened.ids(&format!(" {}", trial.cue)));
                let results: Vec<(f64, bool)> = (trial.answers.iter())
                    .map(|answer| opened.last(&policy, &before, &opened.ids(&format!(" {answer}"))))
                    .collect();
                let better =
                    |(i, result): (usize, &(f64, bool))| i == trial.gold || result.0 < results[trial.gold].0;
                right += usize::from(results.iter().enumerate().all(better));
                exact += usize::from(results[trial.gold].1);
            }
            assert_eq!((report.distance, report.trials), (*distance, options.trials));
            assert_eq!((report.acc, report.exact), (right as f64 / n, exact as f64 / n), "{}", policy.preset);
            assert!((report.chance - 1.0 / 3.0).abs() < bound(EXACT));
        }
        assert!(reports[1].tokens_back > reports[0].tokens_back + 10.0, "{reports:?}");
    }
}
