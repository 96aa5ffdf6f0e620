//! `killick score`: the likelihood of a text.

use std::io::Write;

use super::args::ScoreArgs;
use super::{load, print_json};
use crate::score::score_with;

pub(super) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let opened = load::open(&args.model)?;
    let text = match (&args.input.text, &args.input.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Some(load::read_text(path)?),
        (None, None) => None,
    };
    let policy = load::policy(&opened, &args.policy.options()?)?;
    let ids = match (text, &args.input.ids) {
        (Some(text), _) => opened.tokenizer()?.encode_for(&text, true, &policy)?,
        (None, ids) => ids.clone().unwrap_or_default(),
    };
    opened.check(&policy, &ids)?;
    let gpu = args.gpu.for_figures();
    let engine = load::open_device(&gpu)?;
    let model = load::load(&engine, opened, &args.model, &gpu)?.model;
    load::name_embedded(&args.model, args.json);
    let score = pollster::block_on(score_with(&model, &policy, args.policy.kv.into(), &ids, args.path))?;
    if args.json {
        return print_json(&score.report(&model, &policy, args.path, &ids));
    }
    let mut out = std::io::stdout().lock();
    let said = match score.mean_nll() {
        mean if mean.is_nan() => "1 token, which predicts nothing".to_owned(),
        mean => format!("{} tokens, mean {mean:.6} nats, perplexity {:.4}", ids.len(), score.perplexity()),
    };
    writeln!(out, "{said} (policy {}, path {})", policy.preset, args.path)?;
    let kv = score.kv;
    writeln!(out, "entries: {} live of {} seen, {} at most", kv.live, kv.seen, kv.peak_live)?;
    Ok(())
}
