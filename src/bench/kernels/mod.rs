//! Kernels one by one: every implementation at the shapes of real models, checked against its CPU twin and then timed.
//!
//! ```text
//! mod.rs        the list, the check, the row
//! products.rs   kernels that read a weight matrix
//! attending.rs  kernels around the cache
//! drawing.rs    kernels that come after the logits
//! rowwise.rs    kernels that go over rows of numbers
//! memory.rs     their inputs on the device
//! tune.rs       which is the fastest for a model's products
//! ```
//!
//! Before it is timed a kernel has to be right, because a fast wrong kernel is no kernel. A matrix that would lie in a cache of the device is
//! there several times, and each call reads another copy: in a model no layer reads what the one before has read.

mod attending;
mod drawing;
mod memory;
mod products;
mod rowwise;
mod tune;

use std::time::Duration;

pub use tune::{Trial, TunedProduct, tune};

use super::BenchError;
use super::agree::{Expected, agree};
use super::rows::percent;
use super::schema::{KernelRow, Kind, Machine, mean_and_deviation};
use super::shapes::{shape_sizes, unknown_shape};
use super::timing::repeat;
use crate::gpu::{Buffer, BufferRequest, Gpu, GpuError, Readback, Recorder};
use crate::kernels::{CacheLayout, IMPLEMENTATIONS, Implementation, KvFormat, Layout, attention};
use crate::kv::Preset;
use crate::model_file::Heads;
use memory::MadeUp;

/// Bytes that the copies of a matrix take at least: more than the caches of a device hold.
const COLD_ON_GPU: u64 = 256 << 20;
const COLD_ON_SOFTWARE: u64 = 16 << 20;
const MOST_COPIES: u64 = 64;

/// A model whose kernels are measured.
#[derive(Clone, Copy, Debug)]
struct Dims {
    of: &'static str,
    hidden: u32,
    ffn: u32,
    heads: Heads,
    vocab: u32,
}

/// Sizes that no block or workgroup divides.
const ODD: Dims = Dims {
    of: "odd",
    hidden: 264,
    ffn: 1028,
    heads: Heads { n_heads: 7, n_kv_heads: 7, head_dim: 36 },
    vocab: 32_003,
};
/// The models that are measured where none is named; on a software device the first, unless a filter asks for more.
const MODELS: [&str; 3] = ["smollm2-135m", "tinyllama-1.1b", "llama-2-7b"];

/// The product that engines are compared with each other by (tools/peers); no model has it.
const SQUARE: (Sizes, &str) = (Sizes::Product { rows: 512, cols: 512, inputs: 512 }, "square");

impl Dims {
    /// Of a known shape.
    fn of(name: &str) -> Option<Self> {
        let (of, [hidden, ffn, _, n_heads, n_kv_heads, head_dim, vocab, _]) = shape_sizes(name)?;
        Some(Self { of, hidden, ffn, heads: Heads { n_heads, n_kv_heads, head_dim }, vocab })
    }
}

/// What a kernel is run on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sizes {
    Product { rows: u32, cols: u32, inputs: u32 },
    Gated { rows: u32, cols: u32 },
    Table { rows: u32, cols: u32, tokens: u32 },
    Attention { heads: Heads, preset: Preset, tokens: u32, rows: u32 },
    Shares { heads: Heads, splits: u32 },
    Rotation { heads: Heads, rows: u32 },
    Entries { heads: Heads, rows: u32 },
    HeadNorm { heads: Heads, rows: u32 },
    Rows { rows: u32, cols: u32 },
    Stream { mebibytes: u32 },
    Rounds(u32),
}

/// One implementation of an op at one shape.
#[derive(Clone, Copy, Debug)]
pub struct KernelCase {
    implementation: &'static Implementation,
    layout: Layout,
    sizes: Sizes,
    of: &'static str,
}

/// A case on the device.
struct Built {
    /// Copies of what it reads.
    copies: usize,
    /// Records one call, which reads this copy.
    record: Box<Record>,
    /// What it writes, and what should stand there.
    outputs: Vec<(Buffer, Expected)>,
    bytes: u64,
    flops: u64,
    /// The part of the output that is compared.
    checked_percent: f64,
}

type Record = dyn Fn(&mut Recorder, usize) -> Result<(), GpuError>;

impl Built {
    fn nothing() -> Self {
        Self {
            copies: 1,
            record: Box::new(|_, _| Ok(())),
            outputs: Vec::new(),
            bytes: 0,
            flops: 0,
            checked_percent: 100.0,
        }
    }
}

/// Copies of a matrix of so many bytes.
fn copies_of(gpu: &Gpu, bytes: u64) -> usize {
    let cold = if gpu.is_software() { COLD_ON_SOFTWARE } else { COLD_ON_GPU };
    cold.div_ceil(bytes.max(1)).clamp(1, MOST_COPIES) as usize
}

/// Every case that has all texts of `filter` in its name, of the known shape `shape`, or where none is named of a few models and of odd
/// sizes and of one square product; those that the device can run. With neither a software device is asked the smallest model and the odd sizes.
///
/// # Errors
/// A shape that is not known.
pub fn kernel_cases(
    gpu: &Gpu,
    shape: Option<&str>,
    filter: &[String],
) -> Result<Vec<KernelCase>, BenchError> {
    let software = gpu.is_software();
    let few = software && filter.is_empty();
    let dims: Vec<Dims> = match shape {
        Some(name) => vec![Dims::of(name).ok_or_else(|| unknown_shape(name))?],
        None => {
            let models = if few { &MODELS[..1] } else { &MODELS };
            models.iter().filter_map(|name| Dims::of(name)).chain([ODD]).collect()
        }
    };
    let mut cases = Vec::new();
    for one in IMPLEMENTATIONS.iter().filter(|one| one.runs_on(gpu.capabilities())) {
        let op = one.kernel.op;
        let of_models =
            dims.iter().flat_map(|dims| sizes(op, dims, software).into_iter().map(|sizes| (sizes, dims.of)));
        let square = (op == "matmul" && shape.is_none() && !few).then_some(SQUARE);
        let all: Vec<_> = of_models.chain(square).collect();
        for &layout in one.layouts {
            for &(sizes, of) in &all {
                let case = KernelCase { implementation: one, layout, sizes, of };
                if case.fits() && case.is_named(filter) {
                    cases.push(case);
                }
            }
        }
    }
    Ok(cases)
}

/// What an op is run on for a model.
fn sizes(op: &str, dims: &Dims, software: bool) -> Vec<Sizes> {
    let Dims { hidden, ffn, heads, vocab, .. } = *dims;
    let qkv = heads.qkv_dim();
    let product = |inputs: u32| move |(rows, cols)| Sizes::Product { rows, cols, inputs };
    let projections = [(qkv, hidden), (hidden, ffn)];
    let (prompt, depth) = if software { (32, 512) } else { (128, 4096) };
    match op {
        "matvec" => projections
            .into_iter()
            .chain([(hidden, heads.q_dim()), (vocab, hidden)])
            .map(product(1))
            .collect(),
        "matmul" => projections
            .into_iter()
            .flat_map(|shape| [4, prompt].map(|inputs| product(inputs)(shape)))
            .collect(),
        "gated_mlp" => vec![Sizes::Gated { rows: ffn, cols: hidden }],
        "embed" => [1, prompt].map(|tokens| Sizes::Table { rows: vocab, cols: hidden, tokens }).into(),
        "attention" => {
            let cases = [(Preset::Full, depth, 1), (Preset::Anchor, depth, 1), (Preset::Full, depth, prompt)];
            // So many keys that they are split, whatever the device.
            let long = software.then_some((Preset::Full, 4096, 1));
            let of = |(preset, tokens, rows)| Sizes::Attention { heads, preset, tokens, rows };
            cases.into_iter().chain(long).map(of).collect()
        }
        // A row in as many shares as there are at most.
        "attention_join" => vec![Sizes::Shares { heads, splits: attention::splits(u32::MAX) }],
        "rope" => [1, prompt].map(|rows| Sizes::Rotation { heads, rows }).into(),
        "kv_write" => vec![Sizes::Entries { heads, rows: prompt }],
        "qk_norm" => [1, prompt].map(|rows| Sizes::HeadNorm { heads, rows }).into(),
        "rms_norm" => [1, prompt].map(|rows| Sizes::Rows { rows, cols: hidden }).into(),
        "gate_mul" => vec![Sizes::Rows { rows: prompt, cols: ffn }],
        "add_bias" => vec![Sizes::Rows { rows: prompt, cols: qkv }],
        "nll" => vec![Sizes::Rows { rows: 8, cols: vocab }],
        // What comes after the logits of a token.
        "adjust" | "penalize" | "sample" | "soft_cap" | "top_logprobs" => {
            vec![Sizes::Rows { rows: 1, cols: vocab }]
        }
        "argmax" => [1, 8].map(|rows| Sizes::Rows { rows, cols: vocab }).into(),
        // What has no model is measured once.
        "stream" if dims.of == "odd" => vec![Sizes::Stream { mebibytes: if software { 16 } else { 128 } }],
        "multiply_add" if dims.of == "odd" => vec![Sizes::Rounds(4096)],
        _ => Vec::new(),
    }
}

impl KernelCase {
    /// The op.
    pub fn op(&self) -> &'static str {
        self.implementation.kernel.op
    }

    /// By whose row of `docs/numerics.md` its output is judged.
    pub fn judged_as(&self) -> &'static str {
        self.implementation.kernel.judged_as()
    }

    /// The shape, in the op's own terms.
    pub fn shape(&self) -> String {
        match self.sizes {
            Sizes::Product { rows, cols, inputs } => format!("{rows}x{cols}, {inputs} in"),
            Sizes::Gated { rows, cols } => format!("2 of {rows}x{cols}"),
            Sizes::Table { rows, cols, tokens } => format!("{tokens} of {rows}x{cols}"),
            Sizes::Attention { heads, preset, tokens, rows } => {
                let Heads { n_heads, n_kv_heads, head_dim } = heads;
                format!("{rows} of {tokens} tokens, {preset}, {n_heads}:{n_kv_heads} heads of {head_dim}")
            }
            Sizes::Shares { heads, splits } => {
                format!("{splits} shares, {} heads of {}", heads.n_heads, heads.head_dim)
            }
            Sizes::Rotation { heads, rows }
            | Sizes::Entries { heads, rows }
            | Sizes::HeadNorm { heads, rows } => {
                format!("{rows} rows, {}:{} heads of {}", heads.n_heads, heads.n_kv_heads, heads.head_dim)
            }
            Sizes::Rows { rows, cols } => format!("{rows}x{cols}"),
            Sizes::Stream { mebibytes } => format!("{mebibytes} MiB"),
            Sizes::Rounds(rounds) => format!("{rounds} rounds"),
        }
    }

    /// All by which it can be asked for.
    pub fn name(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.op(),
            self.implementation.kernel.name,
            self.layout_name(),
            self.shape(),
            self.of
        )
    }

    fn layout_name(&self) -> &'static str {
        match self.layout {
            Layout::Plain => "plain",
            Layout::Weight(layout) => layout.name(),
            Layout::Cache(layout) => layout.name(),
        }
    }

    fn is_named(&self, filter: &[String]) -> bool {
        let name = self.name().to_lowercase();
        filter.iter().all(|text| name.contains(&text.to_lowercase()))
    }

    /// Whether the layout takes matrices of this shape, and the implementation may be taken for it.
    fn fits(&self) -> bool {
        let cols = match self.sizes {
            // Keys of a prompt's rows are not split.
            Sizes::Attention { rows, .. } => return rows == 1 || self.implementation.least_inputs == 1,
            Sizes::Product { cols, .. } | Sizes::Gated { cols, .. } | Sizes::Table { cols, .. } => cols,
            _ => return true,
        };
        match self.layout {
            Layout::Weight(layout) => cols.is_multiple_of(layout.run_cols()),
            _ => true,
        }
    }

    async fn build(&self, gpu: &Gpu) -> Result<Built, BenchError> {
        let weight = |rows, cols| match self.layout {
            Layout::Weight(layout) => MadeUp { seed: u64::from(rows ^ cols), rows, cols, layout },
            _ => unreachable!("{} reads a weight", self.op()),
        };
        let cache = match self.layout {
            Layout::Cache(layout) => layout,
            _ => CacheLayout::F32Rows,
        };
        match self.sizes {
            Sizes::Product { rows, cols, inputs } => products::product(gpu, weight(rows, cols), inputs).await,
            Sizes::Gated { rows, cols } => products::gated(gpu, weight(rows, cols)).await,
            Sizes::Table { rows, cols, tokens } => products::table(gpu, weight(rows, cols), tokens).await,
            Sizes::Attention { heads, preset, tokens, rows } => {
                attending::attention(gpu, heads, cache, preset, (tokens, rows)).await
            }
            Sizes::Shares { heads, splits } => attending::joined(gpu, heads, splits).await,
            Sizes::Rotation { heads, rows } => attending::rotation(gpu, heads, cache, rows).await,
            Sizes::Entries { heads, rows } => attending::written(gpu, heads, cache, rows).await,
            Sizes::HeadNorm { heads, rows } => rowwise::head_norm(gpu, heads, rows).await,
            Sizes::Rows { rows, cols } => match self.op() {
                "rms_norm" => rowwise::norm(gpu, rows, cols).await,
                "gate_mul" => rowwise::gate(gpu, rows, cols).await,
                "nll" => drawing::likelihood(gpu, rows, cols).await,
                "sample" => drawing::drawn(gpu, cols).await,
                "adjust" => drawing::adjusted(gpu, cols).await,
                "penalize" => drawing::penalized(gpu, cols).await,
                "top_logprobs" => drawing::listed(gpu, cols).await,
                "soft_cap" => rowwise::capped(gpu, rows, cols).await,
                "add_bias" => rowwise::bias(gpu, rows, cols).await,
                _ => rowwise::likeliest(gpu, rows, cols).await,
            },
            Sizes::Stream { mebibytes } => rowwise::streamed(gpu, cache, mebibytes).await,
            Sizes::Rounds(rounds) => rowwise::multiplied(gpu, rounds).await,
        }
    }

    /// What the device makes of it, and what the twin says.
    ///
    /// # Errors
    /// The device, or memory that it has not.
    pub async fn outputs(&self, gpu: &Gpu) -> Result<Vec<(Vec<u32>, Expected)>, BenchError> {
        let built = self.build(gpu).await?;
        self.outputs_of(gpu, &built, self.recorder(gpu)).await
    }

    async fn outputs_of(
        &self,
        gpu: &Gpu,
        built: &Built,
        mut rec: Recorder,
    ) -> Result<Vec<(Vec<u32>, Expected)>, BenchError> {
        let sizes = built.outputs.iter().map(|(buffer, _)| buffer.size());
        let total = sizes.clone().sum();
        let staging = memory::memory(gpu, BufferRequest::readback("outputs", total)).await?;
        (built.record)(&mut rec, 0)?;
        let mut at = 0;
        for (buffer, _) in &built.outputs {
            rec.read(buffer, 0, &staging, at, buffer.size())?;
            at += buffer.size();
        }
        let submission = gpu.run(rec.finish())?;
        let bytes = Readback::new(staging).take(gpu, total, submission).await?;
        let mut rest = bytes.as_slice();
        let mut outputs = Vec::new();
        // Keys and values are what a rotation makes, and what is written into the cache.
        let head_dim = match self.sizes {
            Sizes::Rotation { heads, .. } | Sizes::Entries { heads, .. } => heads.head_dim,
            _ => 4,
        };
        for ((buffer, expected), size) in built.outputs.iter().zip(sizes) {
            let (own, others) = rest.split_at(size as usize);
            rest = others;
            let layout = CacheLayout::of(buffer);
            outputs.push(if layout.format() != KvFormat::F32 {
                let words: Vec<u32> = layout.unpack(own, head_dim).iter().map(|x| x.to_bits()).collect();
                let expected = expected.clone().kept(self.op(), layout.format(), head_dim, &words);
                (words, expected)
            } else {
                (bytemuck::pod_collect_to_vec(own), expected.clone())
            });
        }
        Ok(outputs)
    }

    /// In what the output differs from the twin's, if it does.
    async fn fault(&self, gpu: &Gpu, built: &Built, rec: Recorder) -> Result<Option<String>, BenchError> {
        let outputs = self.outputs_of(gpu, built, rec).await?;
        Ok(outputs.iter().find_map(|(got, expected)| agree(self.judged_as(), got, expected).err()))
    }

    /// A recorder that takes this implementation, whatever suits the device.
    fn recorder(&self, gpu: &Gpu) -> Recorder {
        let kernel = self.implementation.kernel;
        Recorder::new(&gpu.capabilities().forcing(kernel.op, kernel.name))
    }

    /// Checks it and times it: `repetitions` times, for about `long` together.
    ///
    /// # Errors
    /// The device, or memory that it has not. A wrong result is no error but a row that says so.
    pub async fn measure(
        &self,
        gpu: &Gpu,
        machine: &Machine,
        (repetitions, long): (u32, Duration),
        cpu_seconds: Option<fn() -> f64>,
    ) -> Result<KernelRow, BenchError> {
        let built = self.build(gpu).await?;
        let wrong = self.fault(gpu, &built, self.recorder(gpu)).await?;
        let mut rec = self.recorder(gpu);
        for copy in 0..built.copies {
            (built.record)(&mut rec, copy)?;
        }
        let timed = repeat(gpu, rec.finish(), long, repetitions, cpu_seconds).await?;
        let calls = built.copies as f64;
        let samples_ns: Vec<f64> = timed.seconds.iter().map(|seconds| 1e9 * seconds / calls).collect();
        let (avg_ns, stddev_ns) = mean_and_deviation(&samples_ns);
        // A device's own clock does not count what a submit costs the host.
        let device_ns = timed.device_seconds.map(|seconds| 1e9 * seconds / calls);
        let seconds = device_ns.unwrap_or(avg_ns).max(1e-3) / 1e9;
        let (bytes_per_s, flops_per_s) = (built.bytes as f64 / seconds, built.flops as f64 / seconds);
        Ok(KernelRow {
            machine: machine.clone(),
            kind: Kind::Kernel,
            op: self.op().to_owned(),
            implementation: self.implementation.kernel.name.to_owned(),
            layout: self.layout_name().to_owned(),
            shape: self.shape(),
            of: self.of.to_owned(),
            check: wrong.unwrap_or_else(|| "ok".to_owned()),
            checked_percent: built.checked_percent,
            dispatches: timed.times.saturating_mul(built.copies as u32),
            avg_ns,
            stddev_ns,
            samples_ns,
            device_ns,
            cpu_s: timed.cpu_seconds.map(|seconds| seconds / calls),
            bytes: built.bytes,
            flops: built.flops,
            gb_per_s: bytes_per_s / 1e9,
            gflop_per_s: flops_per_s / 1e9,
            bandwidth_percent: percent(bytes_per_s, machine.bandwidth),
            arithmetic_percent: percent(flops_per_s, machine.arithmetic).filter(|_| built.flops > 0),
        })
    }
}
