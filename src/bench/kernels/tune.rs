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
use crate::bench::agree::POISON;
use crate::bench::timing::repeat;
use crate::gpu::{Capabilities, Gpu, Recorder, Tuned, TunedOp, Tuning};
use crate::kernels::{Implementation, Layout, choose};
use crate::model::PlannedProduct;

/// Weights of a matrix that is measured, at most: the rest of a larger one only takes longer.
const MOST_WEIGHTS: u32 = 4 << 20;
/// How long one candidate is timed, and in how many repetitions: by the host's clock the fastest counts, by the device's their mean.
const TIMED: Duration = Duration::from_millis(9);
const REPETITIONS: u32 = 3;
/// A submit should not take longer, so that a display lives on and a slow device is soon done.
const SUBMIT: Duration = Duration::from_millis(10);
/// What takes so many times as long as the fastest so far cannot win.
const HOPELESS: f64 = 4.0;
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
/// The device is lost or has reported an error; or nothing at all could be measured, for want of memory.
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
    let mut refused = None;
    for product in heaviest_first {
        if begun.elapsed() >= budget {
            break;
        }
        // What was begun is finished, so that each call comes nearer to the end. What there is no memory for is left out.
        match tune_one(gpu, product).await {
            Ok(done) => tuned.extend(done),
            Err(error) if gpu.check().is_ok() => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    match refused {
        Some(error) if tuned.is_empty() => Err(error),
        _ => Ok(tuned),
    }
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
    let with = |(one, workgroup): (&'static Implementation, u32)| {
        let candidate = Tuned { implementation: one.kernel.name.to_owned(), workgroup };
        let tuning = Tuning::new([(of(rows_measured), candidate.clone())]);
        (candidate, Capabilities { tuning, ..gpu.capabilities().clone() })
    };
    let mut trials: Vec<Trial> = Vec::new();
    // Each is judged by its own tolerance.
    let case = |(implementation, _)| KernelCase { implementation, ..case };
    for candidate in &candidates {
        let case = case(*candidate);
        let (candidate, device) = with(*candidate);
        let fastest = trials.iter().filter_map(|trial| trial.ns).fold(f64::INFINITY, f64::min);
        trials.push(attempt(gpu, &case, &built, candidate, &device, fastest).await?);
    }
    // The default went first, when the chip may still have been waking up, so it is timed again.
    if let Some(first) = trials.first_mut().filter(|trial| trial.fault.is_none()) {
        let (candidate, device) = with(*default);
        let again = attempt(gpu, &case(*default), &built, candidate, &device, f64::INFINITY).await?;
        first.ns = first.ns.into_iter().chain(again.ns).reduce(f64::min);
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
    // Where 16-bit floats were asked for, nothing else is a candidate for what they can do.
    let asked_f16 = default.0.needs_f16;
    let is_fit = |one: &Implementation| {
        if asked_f16 { one.needs_f16 } else { !(one.for_hardware && device.software) }
    };
    let may_be =
        |one: &&Implementation| one.reads(Layout::Weight(layout)) && one.runs_on(device) && is_fit(one);
    for one in choose::implementations(op).filter(may_be) {
        let [_, on_gpu] = one.lanes;
        let sizes: BTreeSet<u32> = one.tunable.iter().copied().chain([on_gpu]).collect();
        all.extend(sizes.into_iter().map(|workgroup| (one, workgroup)));
    }
    let mut seen = BTreeSet::new();
    all.retain(|(one, workgroup)| seen.insert((one.kernel.name, *workgroup)));
    all
}

/// Checks a candidate and times it; one whose first call takes many times as long as the `fastest` so far is not looked at longer.
async fn attempt(
    gpu: &Gpu,
    case: &KernelCase,
    built: &Built,
    of: Tuned,
    device: &Capabilities,
    fastest: f64,
) -> Result<Trial, BenchError> {
    // What another candidate has written there would be right.
    for (output, _) in &built.outputs {
        gpu.upload(output, 0, bytemuck::cast_slice(&vec![POISON; (output.size() / 4) as usize]))?;
    }
    let fault = case.fault(gpu, built, Recorder::new(device)).await?;
    if fault.is_some() {
        return Ok(Trial { of, ns: None, fault });
    }
    let recording = |calls: usize| {
        let mut rec = Recorder::new(device);
        (0..calls).try_for_each(|copy| (built.record)(&mut rec, copy)).map(|()| rec.finish())
    };
    // The check has compiled it.
    let begun = Instant::now();
    gpu.run(recording(1)?)?;
    gpu.idle().await?;
    let one = begun.elapsed().as_secs_f64().max(1e-9);
    if one * 1e9 > HOPELESS * fastest && one > SUBMIT.as_secs_f64() {
        return Ok(Trial { of, ns: Some(one * 1e9), fault: None });
    }
    let calls = ((SUBMIT.as_secs_f64() / one) as usize).clamp(1, built.copies);
    let timed = repeat(gpu, recording(calls)?, TIMED, REPETITIONS, None).await?;
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
    use crate::gpu::{F16, Family};
    use crate::kernels::WeightLayout;

    #[test]
    fn sixteen_bit_floats_are_candidates_where_they_are_there() {
        let product = PlannedProduct { op: "matmul", layout: WeightLayout::Q4Rows, shape: [64, 64], uses: 1 };
        let names = |f16, software| {
            let device = Capabilities { f16, software, ..Capabilities::baseline(Family::Gpu) };
            let all = candidates(product, &device);
            all.iter().map(|(one, workgroup)| (one.kernel.name, *workgroup)).collect::<Vec<_>>()
        };
        let is_f16 = |(name, _): &(&str, u32)| *name == "matmul_tiled_f16";
        assert!(!names(F16::Off, false).iter().any(is_f16));
        let measured = names(F16::Measured, false);
        assert_eq!(measured[0], ("matmul_tiled", 64), "what runs without a measurement goes first");
        let f16: Vec<_> = measured.iter().filter(|one| is_f16(one)).collect();
        assert_eq!(f16, [&("matmul_tiled_f16", 64), &("matmul_tiled_f16", 256)]);
        assert!(!names(F16::Measured, true).iter().any(is_f16), "a program on the CPU gains nothing by them");
        for software in [false, true] {
            let asked = names(F16::Always, software);
            assert_eq!(asked, [("matmul_tiled_f16", 64), ("matmul_tiled_f16", 256)], "asked for");
        }
    }

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
