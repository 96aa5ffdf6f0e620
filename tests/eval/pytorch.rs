//! Accuracies and losses as the tools of the field compute them, in PyTorch (`tools/golden/eval.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use killick::eval::{Choices, HeldOut, Item, PromptOptions, choices, items, perplexity};
use killick::kernels::WeightFormat;
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::{SessionOptions, Tokenizer};
use pollster::block_on;

use super::super::device::{gpu, share};
use super::super::golden::{data, json, list, numbers, policy};
use super::super::support::bounds::bound;
use super::super::{EXACT, TOKEN, quiet};

#[test]
fn accuracy_and_loss_are_those_of_pytorch() {
    let mut files = BTreeMap::new();
    for (name, path) in [
        ("config.json", "eval/config.json"),
        ("model.safetensors", "eval/model.safetensors"),
        ("tokenizer.json", "tokenizer/tiny.json"),
    ] {
        files.insert(name.to_owned(), std::fs::read(data(path)).unwrap());
    }
    let file = block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap();
    let model = Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    let tokenizer = Tokenizer::from_source(file.tokenizer(), "eval").unwrap();

    let golden = json("eval/golden.json");
    let lines: String = list(&golden["items"]).iter().map(|item| format!("{item}\n")).collect();
    let all: Vec<Item> = items("golden.json", &lines).unwrap();
    let text = HeldOut::new(&tokenizer, golden["text"].as_str().unwrap(), None).unwrap();
    let (mut different, mut made) = (BTreeSet::new(), 0);
    let cases = list(&golden["cases"]);
    for case in cases.iter().take(share(cases.len(), 2)) {
        let policy = policy(case, model.config());
        for want in list(&case["choices"]) {
            let (shown, asked) = all.split_at(want["shots"].as_u64().unwrap() as usize);
            let task = Choices {
                demonstrations: shown.to_vec(),
                items: asked.to_vec(),
                prompt: PromptOptions {
                    delimiter: want["delimiter"].as_str().unwrap().to_owned(),
                    ..PromptOptions::default()
                },
            };
            let report = block_on(choices(
                &model,
                &tokenizer,
                &policy,
                SessionOptions::default(),
                &task,
                &mut quiet(),
            ))
            .unwrap();
            let what = format!("{} with {} demonstrations", policy.preset, shown.len());
            for (ours, theirs) in report.logprobs.iter().zip(list(&want["logprobs"])) {
                // A choice has at most ten tokens.
                for (ours, theirs) in ours.iter().zip(numbers(theirs)) {
                    assert!((ours - theirs).abs() < 10.0 * bound(TOKEN), "{what}: {ours} and {theirs}");
                }
            }
            assert_eq!(report.logprobs.len(), list(&want["logprobs"]).len());
            for (ours, field) in [
                (report.acc, "acc"),
                (report.acc_stderr, "acc_stderr"),
                (report.acc_norm, "acc_norm"),
                (report.acc_norm_stderr, "acc_norm_stderr"),
            ] {
                let theirs = want[field].as_f64().unwrap();
                assert!((ours - theirs).abs() < bound(EXACT), "{what}: {field} is {ours} and {theirs}");
            }
            different.insert(format!("{:.1?}", report.logprobs));
            made += 1;
        }
        for want in list(&case["perplexity"]) {
            let number = |field: &str| want[field].as_u64().unwrap();
            let windows =
                text.windows(number("size") as usize, number("stride") as usize, usize::MAX).unwrap();
            let report = block_on(perplexity(
                &model,
                &policy,
                SessionOptions::default(),
                &text,
                &windows,
                &mut quiet(),
            ))
            .unwrap();
            assert_eq!(report.tokens, number("tokens"), "{}", policy.preset);
            for (ours, field) in [(report.mean_nll, "mean_nll"), (report.bits_per_byte, "bits_per_byte")] {
                let theirs = want[field].as_f64().unwrap();
                assert!(
                    (ours - theirs).abs() < bound(TOKEN),
                    "{}: {field} is {ours} and {theirs}",
                    policy.preset
                );
            }
        }
    }
    assert_eq!(different.len(), made, "two policies that are one");
}
