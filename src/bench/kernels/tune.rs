//! Which kernels are fastest on a device for the products of a model: by measurement, as which it is depends on the chip and its driver.
//!
//! Products take nearly all of a token's time. Of each, every implementation that reads the layout, in workgroups of every size it allows,
//! is checked against its CPU twin and then timed, on made-up matrices that the device's caches do not hold. One that is wrong on this
//! driver cannot win, and one that is faster by less than the noise does not replace the default.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::{Built, KernelCase, Sizes};
use crate::bench::BenchError;
use crate::bench::timing::repeat;
use crate::gpu::{Capabilities, Gpu, Recorder, Tuned, TunedOp, Tuning};
use crate::kernels::{Implementation, Layout, choose};
use crate::model::PlannedProduct;

/// Weights of a matrix that is measured, at most: the rest of a larger one only takes longer.
const MOST_WEIGHTS: u32 = 4 << 20;
/// How long one candidate is timed, and in how many repetitions, of which the fastest counts.
const TIMED: Duration = Duration::from_millis(9);
const REPETITIONS: u32 = 3;
const CALLS_ON_SOFTWARE: usize = 4;
/// How much of its time a candidate has to save to replace the default.
const LEAST_GAIN: f64 = 0.03;

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The implementation and its workgroup.
    #[serde(flatten)]
    pub of: Tuned,
    /// Nanoseconds of one product, by the device's clock where it has one; `None` where the result is wrong.
    pub ns: Option<f64>,
    /// In what it differs from the CPU twin, if it does.
    pub fault: Option<String>,
}

/// What came of the candidates for one product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunedProduct {
    /// The product.
    #[serde(flatten)]
    pub of: TunedOp,
    /// The fastest, or the default where none is faster by more than the noise.
    pub chosen: Tuned,
    /// What runs where nothing was measured.
    pub default: Tuned,
    /// All of them, the default first.
    pub trials: Vec<Trial>,
}

impl TunedProduct {
    /// Whether it is this product.
    pub fn is(&self, planned: &PlannedProduct) -> bool {
        let TunedOp { op, layout, rows, cols } = &self.of;
        (op.as_str(), layout.as_str(), [*rows, *cols]) == (planned.op, planned.layout.name(), planned.shape)
    }

    /// The time of the default divided by that of what was chosen.
    pub fn gain(&self) -> f64 {
        let ns = |of: &Tuned| self.trials.iter().find(|trial| trial.of == *of).and_then(|trial| trial.ns);
        match (ns(&self.default), ns(&self.chosen)) {
            (Some(default), Some(chosen)) if chosen > 0.0 => default / chosen,
            _ => 1.0,
        }
    }
}

/// Measures `products`, those first that read the most, until `budget` is used up. What there was no time for is left out, for another call.
///
/// # Errors
/// The device, or memory that it has not.
pub async fn tune(
    gpu: &Gpu,
    products: &[PlannedProduct],
    budget: Duration,
) -> Result<Vec<TunedProduct>, BenchError> {
    let begun = Instant::now();
    let mut heaviest_first = products.to_vec();
    heaviest_first.sort_by_key(|product| {
        let PlannedProduct { layout, shape: [rows, cols], uses, .. } = *product;
        std::cmp::Reverse(layout.bytes(rows, cols).saturating_mul(uses.into()))
    });
    let mut tuned = Vec::new();
    for product in heaviest_first {
        if begun.elapsed() >= budget {
            break;
        }
        // What was begun is finished, so that each call comes nearer to the end.
        tuned.extend(tune_one(gpu, product).await?);
    }
    Ok(tuned)
}

/// One product; `None` where there is nothing to choose from.
async fn tune_one(gpu: &Gpu, product: PlannedProduct) -> Result<Option<TunedProduct>, BenchError> {
    let PlannedProduct { op, layout, shape: [rows, cols], .. } = product;
    let candidates = candidates(product, gpu.capabilities());
    let [default, _, ..] = candidates.as_slice() else { return Ok(None) };
    let unit = layout.rows_unit().max(1);
    let rows_measured = rows.min((MOST_WEIGHTS / cols.max(1)).next_multiple_of(unit)).max(1);
    let of = |rows| TunedOp { op: op.to_owned(), layout: layout.name().to_owned(), rows, cols };
    let sizes = match op {
        "gated_mlp" => Sizes::Gated { rows: rows_measured, cols },
        "matmul" => Sizes::Product { rows: rows_measured, cols, inputs: choose::PROMPT_INPUTS },
        _ => Sizes::Product { rows: rows_measured, cols, inputs: 1 },
    };
    let case = KernelCase { implementation: default.0, layout: Layout::Weight(layout), sizes, of: "" };
    let built = case.build(gpu).await?;
    let mut trials = Vec::new();
    for (implementation, workgroup) in &candidates {
        let candidate =
            Tuned { implementation: implementation.kernel.name.to_owned(), workgroup: *workgroup };
        let device = Capabilities {
            tuning: Tuning::new([(of(rows_measured), candidate.clone())]),
            ..gpu.capabilities().clone()
        };
        trials.push(attempt(gpu, &case, &built, candidate, &device).await?);
    }
    let Some(default) = trials.first().map(|trial| trial.of.clone()) else { return Ok(None) };
    let chosen = best(&trials).unwrap_or(&default).clone();
    Ok(Some(TunedProduct { of: of(rows), chosen, default, trials }))
}

/// Implementations with workgroups, what runs without a measurement first.
fn candidates(product: PlannedProduct, device: &Capabilities) -> Vec<(&'static Implementation, u32)> {
    let PlannedProduct { op, layout, .. } = product;
    let Ok(default) = choose::usual_product(op, layout, device) else { return Vec::new() };
    let mut all = vec![default];
    let may_be =
        |one: &&Implementation| one.reads(Layout::Weight(layout)) && !(one.for_hardware && device.software);
    for one in choose::implementations(op).filter(may_be) {
        let [_, on_gpu] = one.lanes;
        let sizes: BTreeSet<u32> = one.tunable.iter().copied().chain([on_gpu]).collect();
        all.extend(sizes.into_iter().map(|workgroup| (one, workgroup)));
    }
    let mut seen = BTreeSet::new();
    all.retain(|(one, workgroup)| seen.insert((one.kernel.name, *workgroup)));
    all
}

/// Checks a candidate and times it.
async fn attempt(
    gpu: &Gpu,
    case: &KernelCase,
    built: &Built,
    of: Tuned,
    device: &Capabilities,
) -> Result<Trial, BenchError> {
    let fault = case.fault(gpu, built, Recorder::new(device)).await?;
    if fault.is_some() {
        return Ok(Trial { of, ns: None, fault });
    }
    let mut rec = Recorder::new(device);
    // A software device makes each call by itself, and its caches are those of the processor.
    let calls = if device.software { built.copies.min(CALLS_ON_SOFTWARE) } else { built.copies };
    for copy in 0..calls {
        (built.record)(&mut rec, copy)?;
    }
    let timed = repeat(gpu, rec.finish(), TIMED, REPETITIONS, None).await?;
    let fastest = timed.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let seconds = timed.device_seconds.unwrap_or(fastest);
    Ok(Trial { of, ns: Some(1e9 * seconds / calls as f64), fault: None })
}

/// The fastest, or the first, which is the default, where none is faster by more than the noise.
fn best(trials: &[Trial]) -> Option<&Tuned> {
    let ns = |trial: &Trial| trial.ns.unwrap_or(f64::INFINITY);
    let default = trials.first()?;
    let fastest = trials.iter().min_by(|a, b| ns(a).total_cmp(&ns(b)))?;
    let is_worth_it = ns(fastest) < ns(default) * (1.0 - LEAST_GAIN);
    Some(if is_worth_it { &fastest.of } else { &default.of })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(workgroup: u32, ns: Option<f64>) -> Trial {
        let of = Tuned { implementation: "matvec".to_owned(), workgroup };
        Trial { of, ns, fault: ns.is_none().then(|| "wrong".to_owned()) }
    }

    #[test]
    fn a_candidate_wins_by_more_than_the_noise() {
        let wins = |[a, b, c]: [f64; 3]| {
            let ns = |ns: f64| Some(ns).filter(|ns| *ns > 0.0);
            let trials = [trial(64, ns(a)), trial(32, ns(b)), trial(128, ns(c))];
            best(&trials).map(|of| of.workgroup)
        };
        assert_eq!(wins([100.0, 98.0, 99.0]), Some(64));
        assert_eq!(wins([100.0, 96.0, 95.0]), Some(128));
        assert_eq!(wins([100.0, 120.0, 130.0]), Some(64));
        // Zero stands for one that is wrong here: it loses to any that is right, the default too.
        assert_eq!(wins([0.0, 120.0, 0.0]), Some(32));
        assert_eq!(wins([0.0; 3]), Some(64));
    }
}
