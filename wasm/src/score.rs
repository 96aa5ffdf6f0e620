//! Scoring: a model's files and JSON options in, the JSON of `killick score --json` out.

use std::error::Error;

use killick::gpu::Family;
use killick::model_file::FileSet;
use killick::score::Path;
use killick::{Engine, GpuOptions, ModelFile, Opened, PolicyOptions, PolicySpec};
use serde::Deserialize;

use crate::Dtype;

/// What to score, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Token ids, to which nothing is added. Either these or `text`.
    ids: Option<Vec<u32>>,
    /// A text, to which the special tokens are added that the tokenizer's own settings ask for.
    text: Option<String>,
    /// By default the one recorded with the model, else `full`.
    #[serde(default)]
    policy: Option<PolicySpec>,
    /// `masked`, `ring` or `chunk:N`.
    path: String,
    #[serde(default)]
    dtype: Dtype,
    /// No optional feature and WebGPU's default limits, whatever the adapter offers.
    #[serde(default)]
    baseline: bool,
    /// `gpu` or `software`: the kernels to run; those that suit the adapter where it is not given.
    #[serde(default)]
    family: Option<Family>,
}

/// Opens the model, scores the text and writes the report.
pub(crate) async fn score(files: FileSet, options: &str) -> Result<String, Box<dyn Error>> {
    let options: Options = serde_json::from_str(options)?;
    let path: Path = options.path.parse()?;
    let model = Opened::new(ModelFile::open(files).await?);
    let policy = match options.policy {
        Some(spec) => spec.resolve(&model.file.config)?,
        None => model.policy(&PolicyOptions::default())?.policy,
    };
    let ids = match (options.ids, options.text) {
        (Some(ids), None) => ids,
        (None, Some(text)) => model.tokenizer()?.encode_for(&text, true, &policy)?,
        _ => return Err("the options need either ids or text".into()),
    };
    model.check(&policy, &ids)?;

    let engine = Engine::open(&GpuOptions {
        baseline: options.baseline,
        family: options.family,
        ..GpuOptions::default()
    })
    .await?;
    let model = engine.load_opened(model, options.dtype.into(), &mut |_, _| {}).await?.model;
    let score = killick::score::score(&model, &policy, &ids, path).await?;
    Ok(serde_json::to_string(&score.report(&model, &policy, path, &ids))?)
}
