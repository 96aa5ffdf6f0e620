//! From what was measured to the rows of the report.

use std::time::Duration;

use web_time::{SystemTime, UNIX_EPOCH};

use super::ceilings::Ceilings;
use super::measure::{Measured, Method};
use super::schema::{Kind, Machine, ProfileRow, SCHEMA, TestRow, mean_and_deviation};
use super::traffic::Cost;
use crate::gpu::{Gpu, KernelTime};
use crate::kernels::WeightFormat;
use crate::kv::Policy;
use crate::model::Model;

impl Machine {
    /// This program on `gpu`, now. `commit` is what the program was built from, if that is known.
    pub fn of(gpu: &Gpu, commit: Option<&str>, ceilings: Option<Ceilings>) -> Self {
        let adapter = gpu.adapter();
        let mut features: Vec<String> = adapter.features.iter().map(|name| (*name).to_owned()).collect();
        features.sort();
        Self {
            schema: SCHEMA,
            build_commit: commit.unwrap_or("unknown").to_owned(),
            build_version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH).trim().to_owned(),
            test_time: utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            gpu_info: adapter.name.clone(),
            backends: adapter.backend.clone(),
            device_type: adapter.device_type.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            family: gpu.capabilities().family.name().to_owned(),
            features,
            bandwidth: ceilings.map(|ceilings| ceilings.bytes_per_second),
            arithmetic: ceilings.map(|ceilings| ceilings.flops_per_second),
        }
    }
}

/// What the rows of one model have in common.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The program and the device.
    pub machine: Machine,
    /// Name of the file, folder or shape.
    pub label: String,
    /// How the weights are kept.
    pub format: WeightFormat,
    /// How long loading took.
    pub load: Duration,
}

impl TestRow {
    /// The row of a test; `policy` is what it was asked for by.
    pub fn of(
        subject: &Subject,
        model: &Model,
        (name, policy): (&str, &Policy),
        method: &Method,
        measured: &Measured,
    ) -> Self {
        let (test, cost) = (measured.test, Cost::of(model, method.session.kv));
        let tokens = test.tokens() as f64;
        let texts = u64::from(test.batch);
        let samples_ns: Vec<u64> = measured.times.iter().map(nanoseconds).collect();
        let samples_ts: Vec<f64> =
            measured.times.iter().map(|time| tokens / time.as_secs_f64().max(1e-9)).collect();
        let (avg_ns, stddev_ns) =
            mean_and_deviation(&samples_ns.iter().map(|ns| *ns as f64).collect::<Vec<_>>());
        let (avg_ts, stddev_ts) = mean_and_deviation(&samples_ts);
        let all = tokens * measured.times.len() as f64;
        let traffic = measured.traffic;
        let (bytes, flops) = (traffic.bytes() as f64 / tokens, traffic.flops as f64 / tokens);
        let per_token = |number: u64| number as f64 / all;
        let architecture = model.config().architecture.name();
        Self {
            machine: subject.machine.clone(),
            kind: Kind::Test,
            model_filename: subject.label.clone(),
            model_type: format!("{architecture} {} {}", count(cost.parameters), subject.format.name()),
            model_size: cost.model_bytes,
            model_n_params: cost.parameters,
            type_k: method.session.kv.name().to_owned(),
            type_v: method.session.kv.name().to_owned(),
            policy: name.to_owned(),
            segment: if policy.anchors.is_empty() { 0 } else { method.segment },
            batch: test.batch,
            test: test.name(),
            n_prompt: test.n_prompt,
            n_gen: test.n_gen,
            n_depth: test.n_depth,
            avg_ns: avg_ns.round() as u64,
            stddev_ns: stddev_ns.round() as u64,
            avg_ts,
            stddev_ts,
            samples_ns,
            samples_ts,
            live_entries: measured.kv.live,
            kv_bytes_live: measured.kv.bytes_live * texts,
            kv_bytes: measured.kv.bytes_allocated * texts,
            bytes_per_token: bytes,
            weight_bytes_per_token: traffic.weights as f64 / tokens,
            kv_bytes_per_token: traffic.kv as f64 / tokens,
            activation_bytes_per_token: traffic.activations as f64 / tokens,
            flops_per_token: flops,
            dispatches_per_token: per_token(measured.dispatches),
            submits_per_token: per_token(measured.submits),
            cpu_s_per_token: measured.cpu_seconds.map(|seconds| seconds / all),
            device_ns_per_token: measured.device.map(|time| time.as_nanos() as f64 / all),
            ttft_ns: measured.first_token.as_ref().map(nanoseconds),
            load_ns: nanoseconds(&subject.load),
            bandwidth_percent: percent(bytes * avg_ts, subject.machine.bandwidth),
            arithmetic_percent: percent(flops * avg_ts, subject.machine.arithmetic),
        }
    }
}

impl ProfileRow {
    /// The rows of the kernels of a test, whose own row is `of`; none where they were not timed one by one.
    pub fn all(of: &TestRow, measured: &Measured) -> Vec<Self> {
        let tokens = measured.test.tokens() as f64;
        let busy: Duration = measured.kernels.iter().map(|kernel| kernel.busy).sum();
        let row = |kernel: &KernelTime| Self {
            machine: of.machine.clone(),
            kind: Kind::Profile,
            model_type: of.model_type.clone(),
            policy: of.policy.clone(),
            batch: of.batch,
            test: of.test.clone(),
            implementation: kernel.kernel.to_owned(),
            layout: kernel.layout.to_owned(),
            dispatches_per_token: f64::from(kernel.dispatches) / tokens,
            device_ns_per_token: kernel.busy.as_nanos() as f64 / tokens,
            percent: 100.0 * kernel.busy.as_secs_f64() / busy.as_secs_f64().max(1e-12),
        };
        measured.kernels.iter().map(row).collect()
    }
}

/// `rate` as a part of a ceiling, in percent; `None` where none was measured.
pub(super) fn percent(rate: f64, ceiling: Option<f64>) -> Option<f64> {
    ceiling.filter(|most| *most > 0.0).map(|most| 100.0 * rate / most)
}

fn nanoseconds(time: &Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A number of parameters for people.
pub(super) fn count(parameters: u64) -> String {
    let n = parameters as f64;
    if n >= 1e9 { format!("{:.2} B", n / 1e9) } else { format!("{:.2} M", n / 1e6) }
}

/// Time since 1970 as date and time in UTC. The days of the calendar after Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013).
fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of the year 0, so that the leap day ends a year.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_part_of_what_was_measured() {
        assert_eq!(percent(50.0, Some(200.0)), Some(25.0));
        assert_eq!(percent(50.0, Some(0.0)), None);
        assert_eq!(percent(50.0, None), None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), date);
        }
    }

    #[test]
    fn parameters_are_counted_in_millions_and_billions() {
        assert_eq!((count(134_515_008), count(6_738_415_616)), ("134.52 M".to_owned(), "6.74 B".to_owned()));
    }
}
