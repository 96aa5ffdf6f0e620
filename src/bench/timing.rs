//! How a kernel is timed: one recording, submitted so often that the time of a submit itself is lost in it.

use std::time::Duration;

use web_time::Instant;

use super::BenchError;
use crate::gpu::{self, Gpu, Recording};

/// Times a recording is run in one submit, at most.
const MOST_TIMES: u32 = 256;
/// A submit should not take longer, so that a display lives on.
const SUBMIT: Duration = Duration::from_millis(30);

/// How long it took.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    /// Seconds of one run, of each repetition.
    pub(super) seconds: Vec<f64>,
    /// Seconds of one run by the device's own clock, over all repetitions.
    pub(super) device_seconds: Option<f64>,
    /// Processor seconds of one run.
    pub(super) cpu_seconds: Option<f64>,
    /// Runs in one repetition.
    pub(super) times: u32,
}

/// Runs a recording again and again: `repetitions` times for about `long` together, after a run that does not count.
///
/// # Errors
/// The device.
pub(super) async fn repeat(
    gpu: &Gpu,
    recording: Recording,
    long: Duration,
    repetitions: u32,
    cpu_seconds: Option<fn() -> f64>,
) -> Result<Timed, BenchError> {
    let prepared = gpu.prepare(recording)?;
    let once = async |times: u32| -> Result<Duration, BenchError> {
        let begun = Instant::now();
        gpu.submit(&prepared, times, &[])?;
        gpu.idle().await?;
        Ok(begun.elapsed())
    };
    // The first compiles; the second says how often one fits.
    once(1).await?;
    let single = once(1).await?.max(Duration::from_nanos(200));
    let repetitions = repetitions.max(1);
    let each = (long / repetitions).min(SUBMIT);
    let times = ((each.as_secs_f64() / single.as_secs_f64()) as u32).clamp(1, MOST_TIMES);
    // What one alone took was mostly the submit, so it is looked at once more.
    let several = once(times).await?.max(Duration::from_nanos(200));
    let times = ((f64::from(times) * each.as_secs_f64() / several.as_secs_f64()) as u32).clamp(1, MOST_TIMES);

    gpu.start_timing(gpu::Timed::Submits);
    let cpu = cpu_seconds.unwrap_or(|| 0.0);
    let before = cpu();
    let mut seconds = Vec::new();
    for _ in 0..repetitions {
        seconds.push(once(times).await?.as_secs_f64() / f64::from(times));
    }
    let runs = f64::from(times) * f64::from(repetitions);
    let cpu_seconds = cpu_seconds.map(|_| (cpu() - before) / runs);
    let device = gpu.stop_timing().await?.filter(|passes| passes.missed == 0);
    let device_seconds =
        device.map(|passes| passes.busy.as_secs_f64() / runs).filter(|seconds| *seconds > 0.0);
    Ok(Timed { seconds, device_seconds, cpu_seconds, times })
}
