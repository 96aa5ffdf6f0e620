//! What a benchmark reports: rows of plain data. `docs/bench.md` explains every field; the names of llama-bench are kept where it has one.
//!
//! Each row says all there is to say of its machine, as llama-bench's rows do, so that a line can be cut out of one file and put beside
//! one of another. The command line and the page in the browser write the same rows, and `--compare` reads them again: a file is hostile
//! until it has passed [`rows`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BenchError;
use crate::model_file::{QUOTED_CHARS, cut};

/// The version of the schema. It is raised when a field is renamed or removed, or changes its meaning; new fields do not raise it.
pub const SCHEMA: u32 = 1;

/// A field's type: how it is read, and what it is called in an error.
trait Field: DeserializeOwned {
    const NEED: &'static str;
}

macro_rules! fields_of {
    ($($ty:ty: $need:literal,)*) => { $(impl Field for $ty { const NEED: &'static str = $need; })* };
}

fields_of! {
    String: "a text",
    bool: "true or false",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0",
    f64: "a number",
    Option<u32>: "a whole number from 0 to 4294967295, or null",
    Option<u64>: "a whole number from 0, or null",
    Option<f64>: "a number, or null",
    Vec<u64>: "a list of whole numbers from 0",
    Vec<f64>: "a list of numbers",
    Vec<String>: "a list of texts",
    Kind: "\"test\", \"kernel\" or \"profile\"",
}

/// One row of a file, and what it is called in an error.
struct Fields<'a> {
    file: &'a str,
    row: usize,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// The value of a field. One that is missing reads as null, so that what may be null may be missing.
    fn get<T: Field>(&self, field: &'static str) -> Result<T, BenchError> {
        let value = self.map.get(field);
        let read = serde_json::from_value(value.cloned().unwrap_or(Value::Null));
        read.map_err(|_| BenchError::Field {
            file: self.file.to_owned(),
            row: self.row,
            field,
            found: value.map_or_else(|| "missing".to_owned(), shown),
            need: T::NEED.to_owned(),
        })
    }
}

/// A value of unknown origin in an error.
fn shown(value: &Value) -> String {
    format!("{:?}", cut(&value.to_string(), QUOTED_CHARS).0)
}

/// Declares a struct of fields that are read one by one, so that an error can name the one that is wrong.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty,)* } $(with $machine:ident)?) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub struct $name {
            $(
                /// Where it was measured.
                #[serde(flatten)]
                pub $machine: Machine,
            )?
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl $name {
            fn read(from: &Fields<'_>) -> Result<Self, BenchError> {
                Ok(Self { $($machine: Machine::read(from)?,)? $($field: from.get(stringify!($field))?,)* })
            }
        }
    };
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model, end to end.
    Test,
    /// One kernel at one shape.
    Kernel,
    /// One kernel's share of a model, end to end.
    Profile,
}

row! {
    /// The program and the device.
    Machine {
        /// [`SCHEMA`].
        schema: u32,
        /// The commit that the program was built from; `unknown` where the build did not say.
        build_commit: String,
        /// The program's version.
        build_version: String,
        /// Operating system and processor architecture.
        platform: String,
        /// When it was measured, in UTC.
        test_time: String,
        /// The adapter's name.
        gpu_info: String,
        /// What the GPU library drives it with: `vulkan`, `metal`, `dx12` or `webgpu`.
        backends: String,
        /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
        device_type: String,
        /// Name and version of the driver.
        driver: String,
        /// The family of kernels: `gpu` or `software`.
        family: String,
        /// Optional features in use.
        features: Vec<String>,
        /// Bytes a second that a kernel which only reads has reached.
        bandwidth: Option<f64>,
        /// 32-bit operations a second that a kernel which only multiplies and adds has reached.
        arithmetic: Option<f64>,
    }
}

row! {
    /// A model, end to end.
    TestRow {
        /// [`Kind::Test`].
        kind: Kind,
        /// Name of the file, folder or shape.
        model_filename: String,
        /// Architecture, size and format of the weights.
        model_type: String,
        /// Bytes of the weights on the device.
        model_size: u64,
        /// Parameters.
        model_n_params: u64,
        /// Format of keys in the cache.
        type_k: String,
        /// Format of values in the cache.
        type_v: String,
        /// The cache policy, as it was asked for.
        policy: String,
        /// Tokens of a segment in the synthetic text; 0 under a policy without anchors.
        segment: u32,
        /// Texts that go on at the same time.
        batch: u32,
        /// Name of the test: `pp512`, `tg128`, `pp512+tg128`, with ` @ d4096` after it for a depth.
        test: String,
        /// Prompt tokens timed, of each text.
        n_prompt: u32,
        /// Generated tokens timed, of each text.
        n_gen: u32,
        /// Tokens in the cache before.
        n_depth: u32,
        /// Mean time of a repetition, in nanoseconds.
        avg_ns: u64,
        /// Its standard deviation.
        stddev_ns: u64,
        /// Mean of the tokens a second, of all texts together.
        avg_ts: f64,
        /// Its standard deviation.
        stddev_ts: f64,
        /// The repetitions, in nanoseconds.
        samples_ns: Vec<u64>,
        /// The repetitions, in tokens a second.
        samples_ts: Vec<f64>,
        /// Entries of the cache that the next token reads, of one text, at the end.
        live_entries: u32,
        /// Bytes of them, of all texts.
        kv_bytes_live: u64,
        /// Bytes of the cache as it was made, of all texts.
        kv_bytes: u64,
        /// Bytes that a token has to move at least: the three below.
        bytes_per_token: f64,
        /// Of weights.
        weight_bytes_per_token: f64,
        /// Of keys and values.
        kv_bytes_per_token: f64,
        /// Of what the kernels hand each other.
        activation_bytes_per_token: f64,
        /// Floating-point operations of a token.
        flops_per_token: f64,
        /// Dispatches a token.
        dispatches_per_token: f64,
        /// Submits a token.
        submits_per_token: f64,
        /// Seconds of processor time a token, of all threads of the process; null where the system does not say.
        cpu_s_per_token: Option<f64>,
        /// Nanoseconds a token that the device says it worked; null without timestamps.
        device_ns_per_token: Option<f64>,
        /// Nanoseconds from the beginning of a prompt to its first token, the mean; null without a prompt.
        ttft_ns: Option<u64>,
        /// Nanoseconds that loading the model took.
        load_ns: u64,
        /// Bytes a second that were moved, as a part of `bandwidth`, in percent.
        bandwidth_percent: Option<f64>,
        /// Operations a second, as a part of `arithmetic`, in percent.
        arithmetic_percent: Option<f64>,
    }
    with machine
}

row! {
    /// One kernel at one shape.
    KernelRow {
        /// [`Kind::Kernel`].
        kind: Kind,
        /// The op.
        op: String,
        /// The implementation.
        implementation: String,
        /// What it reads: a layout of weights or of the cache; `plain` for all else.
        layout: String,
        /// The shape, in the op's own terms.
        shape: String,
        /// The model that has this shape.
        of: String,
        /// `ok`, or how it differs from its CPU twin.
        check: String,
        /// The part of the output that was compared, in percent.
        checked_percent: f64,
        /// Dispatches timed in one repetition.
        dispatches: u32,
        /// Mean time of one call of the kernel, in nanoseconds.
        avg_ns: f64,
        /// Its standard deviation.
        stddev_ns: f64,
        /// The repetitions, in nanoseconds a call.
        samples_ns: Vec<f64>,
        /// Nanoseconds a call that the device says it worked; null without timestamps.
        device_ns: Option<f64>,
        /// Seconds of processor time a call; null where the system does not say.
        cpu_s: Option<f64>,
        /// Bytes that a call has to move at least.
        bytes: u64,
        /// Floating-point operations of a call.
        flops: u64,
        /// Bytes moved, in 10^9 a second.
        gb_per_s: f64,
        /// Operations, in 10^9 a second.
        gflop_per_s: f64,
        /// Of the bandwidth measured, in percent.
        bandwidth_percent: Option<f64>,
        /// Of the arithmetic measured, in percent.
        arithmetic_percent: Option<f64>,
    }
    with machine
}

row! {
    /// One kernel's share of a test.
    ProfileRow {
        /// [`Kind::Profile`].
        kind: Kind,
        /// As in the test's row.
        model_type: String,
        /// As in the test's row.
        policy: String,
        /// As in the test's row.
        batch: u32,
        /// As in the test's row.
        test: String,
        /// The implementation.
        implementation: String,
        /// What it reads: a layout of weights or a format of keys and values; `plain` for all else.
        layout: String,
        /// Dispatches of it a token.
        dispatches_per_token: f64,
        /// Nanoseconds a token that the device says it worked on them.
        device_ns_per_token: f64,
        /// Of the time of all kernels, in percent.
        percent: f64,
    }
    with machine
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A model, end to end.
    Test(Box<TestRow>),
    /// One kernel at one shape.
    Kernel(Box<KernelRow>),
    /// One kernel's share of a test.
    Profile(Box<ProfileRow>),
}

impl Row {
    /// Whether it is about a model.
    pub fn is_test(&self) -> bool {
        self.as_test().is_some()
    }

    /// Whether it is about a kernel.
    pub fn is_kernel(&self) -> bool {
        self.as_kernel().is_some()
    }

    /// The row of a model.
    pub fn as_test(&self) -> Option<&TestRow> {
        if let Self::Test(row) = self { Some(row) } else { None }
    }

    /// The row of a kernel.
    pub fn as_kernel(&self) -> Option<&KernelRow> {
        if let Self::Kernel(row) = self { Some(row) } else { None }
    }

    /// The row of a kernel's share of a test.
    pub fn as_profile(&self) -> Option<&ProfileRow> {
        if let Self::Profile(row) = self { Some(row) } else { None }
    }

    /// Where it was measured.
    pub fn machine(&self) -> &Machine {
        match self {
            Self::Test(row) => &row.machine,
            Self::Kernel(row) => &row.machine,
            Self::Profile(row) => &row.machine,
        }
    }

    /// Standard deviation over mean of the times, where there are several.
    pub fn spread(&self) -> Option<f64> {
        let (repetitions, deviation, mean) = match self {
            Self::Test(row) => (row.samples_ns.len(), row.stddev_ns as f64, row.avg_ns as f64),
            Self::Kernel(row) => (row.samples_ns.len(), row.stddev_ns, row.avg_ns),
            // It was timed once.
            Self::Profile(_) => return None,
        };
        (repetitions > 1 && mean > 0.0).then(|| deviation / mean)
    }

    /// The row as names and values, in order.
    pub fn values(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("a row is an object: {other:?}"),
        }
    }
}

/// The rows of a file: an array of objects, or one object a line.
///
/// # Errors
/// No JSON, no rows, rows of another version, or a field that is not what it must be; the error names file, row and field.
pub fn rows(file: &str, text: &str) -> Result<Vec<Row>, BenchError> {
    let not_rows = |problem: String| BenchError::NotRows { file: file.to_owned(), problem };
    let parse = |text: &str| serde_json::from_str::<Value>(text);
    let values = match parse(text) {
        Ok(Value::Array(values)) => values,
        Ok(one @ Value::Object(_)) => vec![one],
        Ok(_) => return Err(not_rows("it is JSON, but neither an array of rows nor a row".to_owned())),
        Err(error) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            // A broken array is no list of lines, and its own error says where it breaks.
            if text.trim_start().starts_with('[') || lines.clone().count() < 2 {
                return Err(not_rows(format!("it is no JSON: {error}")));
            }
            let of_line = |(n, line): (usize, &str)| {
                parse(line).map_err(|error| not_rows(format!("line {} is no JSON: {error}", n + 1)))
            };
            lines.enumerate().map(of_line).collect::<Result<_, _>>()?
        }
    };
    if values.is_empty() {
        return Err(not_rows("it holds no row".to_owned()));
    }
    values.iter().enumerate().map(|(index, value)| row(file, index + 1, value)).collect()
}

fn row(file: &str, row: usize, value: &Value) -> Result<Row, BenchError> {
    let Value::Object(map) = value else {
        let problem = format!("row {row} is {}, it must be an object", shown(value));
        return Err(BenchError::NotRows { file: file.to_owned(), problem });
    };
    let fields = Fields { file, row, map };
    let schema: u32 = fields.get("schema")?;
    if schema != SCHEMA {
        let (found, need) = (schema.to_string(), format!("{SCHEMA}, the version that this program knows"));
        return Err(BenchError::Field { file: file.to_owned(), row, field: "schema", found, need });
    }
    Ok(match fields.get("kind")? {
        Kind::Test => Row::Test(Box::new(TestRow::read(&fields)?)),
        Kind::Kernel => Row::Kernel(Box::new(KernelRow::read(&fields)?)),
        Kind::Profile => Row::Profile(Box::new(ProfileRow::read(&fields)?)),
    })
}

/// Mean and standard deviation of samples, as llama-bench takes them: over n - 1, and 0 of one sample.
pub(super) fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    if samples.is_empty() {
        return (0.0, 0.0);
    }
    let mean = samples.iter().sum::<f64>() / n;
    let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
    (mean, if samples.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}
