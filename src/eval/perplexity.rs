//! The loss on held-out text under one policy, and what the cache held for it.

use std::sync::Arc;

use serde::Serialize;
use web_time::Instant;

use super::{EvalError, HeldOut, Progress, Window, fitted, mean_and_error};
use crate::kv::Policy;
use crate::model::Model;
use crate::score::{Score, extend, following};
use crate::session::{KvReport, Session, SessionOptions};

/// The result of [`perplexity`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LossReport {
    /// Tokens of text whose loss is counted: all that are read, but those without a token before them and those that an earlier
    /// window has counted.
    pub tokens: u64,
    /// Bytes that these stand for.
    pub bytes: u64,
    /// Their mean negative log-likelihood, in nats.
    pub mean_nll: f64,
    /// `exp(mean_nll)`.
    pub perplexity: f64,
    /// Their negative log-likelihood in bits, by `bytes`.
    pub bits_per_byte: f64,
    /// C: 1 - live entries / tokens read, at the end of a window, the mean over windows.
    pub cache_reduction: f64,
    /// Live entries at the end of a window, the mean over windows.
    pub live: f64,
    /// The most live entries after any token.
    pub peak_live: u32,
    /// Bytes of `live` entries.
    pub kv_bytes_live: f64,
    /// Bytes of all slots of the cache.
    pub kv_bytes_allocated: u64,
    /// Anchors read.
    pub anchors: u64,
    /// Anchors put into the text, which are read and not counted.
    pub inserted: u64,
    /// Anchors made by the bound on segments.
    pub forced_anchors: u64,
    /// Anchors let go by the bounds on number or distance.
    pub dropped_anchors: u64,
    /// Tokens read by the second, anchors and all; reading gives the logits of every token, not only of the last.
    pub tokens_per_second: f64,
    /// Mean negative log-likelihood of each window, in nats.
    pub window_nll: Vec<f64>,
}

/// Reads `windows` of `text` under `policy`, each as a text of its own.
///
/// # Errors
/// A window longer than `full` has room for, a plan that does not fit, the device.
pub async fn perplexity(
    model: &Arc<Model>,
    policy: &Policy,
    options: SessionOptions,
    text: &HeldOut,
    windows: &[Window],
    progress: Progress<'_>,
) -> Result<LossReport, EvalError> {
    let readings: Vec<_> = windows.iter().map(|window| text.reading(policy, window)).collect();
    let longest = readings.iter().map(|reading| reading.ids.len()).max().unwrap_or_default();
    let mut session = Session::new(model, &fitted(policy, longest), options).await?;
    // What is made on first use is no part of the speed.
    if let Some(reading) = readings.first() {
        let some: Vec<u32> = reading.ids.iter().take(session.chunk as usize).copied().collect();
        extend(&mut session, &some, &following(&some), &mut Score::default()).await?;
    }

    let (mut nats, mut window_nll, mut kvs) = (0.0, Vec::new(), Vec::new());
    let (mut report, mut read, mut seconds) = (LossReport::default(), 0_u64, 0.0);
    for (i, (window, reading)) in windows.iter().zip(&readings).enumerate() {
        progress(i, windows.len());
        let mut score = Score::default();
        let started = Instant::now();
        session.reset()?;
        extend(&mut session, &reading.ids, &following(&reading.ids), &mut score).await?;
        seconds += started.elapsed().as_secs_f64();
        read += reading.ids.len() as u64;

        // The loss at index i is that of the token after it.
        let losses = score.nll.iter().zip(reading.origin.iter().skip(1));
        let counted = losses.filter_map(|(nll, origin)| Some((f64::from(*nll), (*origin)?)));
        let counted: Vec<(f64, usize)> =
            counted.filter(|(_, token)| window.counted.contains(token)).collect();
        let sum: f64 = counted.iter().map(|(nll, _)| nll).sum();
        nats += sum;
        report.tokens += counted.len() as u64;
        report.bytes += counted.iter().map(|(_, token)| text.bytes(*token..*token + 1)).sum::<u64>();
        if !counted.is_empty() {
            window_nll.push(sum / counted.len() as f64);
        }

        let kv = session.kv();
        report.peak_live = report.peak_live.max(kv.peak_live);
        report.anchors += u64::from(kv.anchors);
        report.forced_anchors += u64::from(kv.forced_anchors);
        report.dropped_anchors += u64::from(kv.dropped_anchors);
        report.inserted += (reading.ids.len() - window.read.len() - text.prefix().len()) as u64;
        kvs.push(kv);
    }
    progress(windows.len(), windows.len());

    let mean = |value: &dyn Fn(&KvReport) -> f64| mean_and_error(kvs.iter().map(value)).0;
    report.cache_reduction = mean(&|kv| 1.0 - f64::from(kv.live) / f64::from(kv.seen.max(1)));
    report.live = mean(&|kv| f64::from(kv.live));
    report.kv_bytes_live = mean(&|kv| kv.bytes_live as f64);
    report.kv_bytes_allocated = session.kv().bytes_allocated;
    report.mean_nll = nats / (report.tokens.max(1) as f64);
    report.perplexity = report.mean_nll.exp();
    report.bits_per_byte = nats / std::f64::consts::LN_2 / (report.bytes.max(1) as f64);
    report.tokens_per_second = read as f64 / seconds.max(f64::MIN_POSITIVE);
    report.window_nll = window_nll;
    Ok(report)
}
