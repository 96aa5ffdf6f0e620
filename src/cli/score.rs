//! `killick score`: the likelihood of a text.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use super::args::ScoreArgs;
use super::{load, print_json};
use crate::kv::Policy;
use crate::score::score;
use crate::session::KvReport;

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    policy: &'a Policy,
    path: String,
    ids: &'a [u32],
    nll: &'a [f32],
    mean_nll: f64,
    perplexity: f64,
    top1: &'a [u32],
    kv: KvReport,
    kernels: Vec<&'static str>,
}

pub(super) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let file = load::open_file(&args.model)?;
    let tokenizer = load::open_tokenizer(&file)?;
    let text = match (&args.input.text, &args.input.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => {
            Some(std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?)
        }
        (None, None) => None,
    };
    let ids = match (text, &args.input.ids) {
        (Some(text), _) => load::need_tokenizer(&file)?.encode(&text, true)?,
        (None, ids) => ids.clone().unwrap_or_default(),
    };
    let policy = load::policy(&args.policy, &file, tokenizer.as_ref(), None)?;
    let gpu = load::open_gpu(&args.gpu)?;
    let model = load::load_model(&gpu, &file, &args.model)?;
    let score = pollster::block_on(score(&model, &policy, &ids, args.path))?;
    if args.json {
        return print_json(&Report {
            model: file.label(),
            policy: &policy,
            path: args.path.to_string(),
            ids: &ids,
            nll: &score.nll,
            mean_nll: score.mean_nll(),
            perplexity: score.perplexity(),
            top1: &score.top1,
            kv: score.kv,
            kernels: score.kernels.iter().copied().collect(),
        });
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} tokens, mean {:.6} nats, perplexity {:.4} (policy {}, path {})",
        ids.len(),
        score.mean_nll(),
        score.perplexity(),
        policy.preset,
        args.path
    )?;
    let kv = score.kv;
    writeln!(out, "entries: {} live of {} seen, {} at most", kv.live, kv.seen, kv.peak_live)?;
    Ok(())
}
