//! peer-burn [ROUNDS]: times two products of Burn on its wgpu backend and prints a line of JSON for each case.
//!
//! Every result is read back and compared with sums of 64 bits before it is timed. Wall and processor time are per call; the latter is user
//! and system time of all threads of this process, so a software driver's own threads are in it. `tools/peers/kernels.py` runs it.

use std::time::{Duration, Instant};

use burn::cubecl::wgpu::{AutoGraphicsApi, RuntimeOptions, WgpuDevice, init_setup, wgpu};
use burn::tensor::{DType, Device, DeviceKind, Tensor, TensorData};
use cpu_time::ProcessTime;
use half::f16;
use serde_json::json;

/// A measurement takes at least this long, so that the clocks' steps and a submit's cost do not count.
const LONG: Duration = Duration::from_millis(1200);
const BURN: &str = "0.22.1";

/// One product: `a` of m x k times `b` of k x n.
struct Case {
    op: &'static str,
    form: &'static str,
    sizes: [usize; 3],
    dtype: DType,
}

impl Case {
    fn shape(&self) -> String {
        self.sizes.map(|size| size.to_string()).join("x")
    }
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(5, |text| text.parse().expect("ROUNDS is a number"));
    let setup = init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), RuntimeOptions::default());
    let info = setup.adapter.get_info();
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let square = |dtype| Case { op: "matmul", form: "a*b", sizes: [512; 3], dtype };
    // A layer of Burn multiplies a row by a matrix, other engines a matrix by a column; the faster form counts.
    let row = |dtype| Case { op: "matvec", form: "row*matrix", sizes: [1, 4096, 4096], dtype };
    let column = |dtype| Case { op: "matvec", form: "matrix*column", sizes: [4096, 4096, 1], dtype };
    for dtype in [DType::F32, DType::F16] {
        for case in [square(dtype), row(dtype), column(dtype)] {
            if device.supports_dtype(dtype) {
                measure(&case, &device, &info, rounds);
            } else {
                eprintln!("peer-burn: this adapter has no {dtype:?} for {} {}", case.op, case.shape());
            }
        }
    }
}

fn measure(case: &Case, device: &Device, info: &wgpu::AdapterInfo, rounds: usize) {
    let [m, k, n] = case.sizes;
    let (a_values, b_values) = (numbers(1, m * k, case.dtype), numbers(2, k * n, case.dtype));
    let on_device = |values: &[f32], shape: [usize; 2]| {
        Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), (device, case.dtype))
    };
    let (a, b) = (on_device(&a_values, [m, k]), on_device(&b_values, [k, n]));

    // The first calls try what there is and compile it.
    for _ in 0..3 {
        let _out = a.clone().matmul(b.clone());
        device.sync().expect("the device works");
    }
    let got = a.clone().matmul(b.clone()).into_data_as::<f32>().to_vec::<f32>().expect("numbers");
    let error = worst(case, &a_values, &b_values, &got);

    let run = |calls: u32| {
        let (wall, cpu) = (Instant::now(), ProcessTime::now());
        for _ in 0..calls {
            let _out = a.clone().matmul(b.clone());
        }
        device.sync().expect("the device works");
        (wall.elapsed(), cpu.elapsed())
    };
    let mut calls = 1;
    while run(calls).0 < LONG {
        calls *= 2;
    }
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (wall, cpu) = run(calls);
        walls.push(wall.as_nanos() as f64 / f64::from(calls));
        cpus.push(cpu.as_nanos() as f64 / f64::from(calls));
    }
    let line = json!({
        "engine": "burn", "version": BURN, "op": case.op, "form": case.form, "shape": case.shape(),
        "dtype": format!("{:?}", case.dtype).to_lowercase(),
        "gpu_info": info.name, "driver": format!("{} {}", info.driver, info.driver_info),
        "rounds": rounds, "calls": calls, "worst_relative_error": error,
        "wall_ns_min": least(&walls), "wall_ns_median": median(&walls),
        "cpu_ns_min": least(&cpus), "cpu_ns_median": median(&cpus),
    });
    println!("{line}");
}

/// Pseudo-random numbers between -1 and 1, as the format keeps them.
fn numbers(seed: u64, count: usize, dtype: DType) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let value = (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0;
        if dtype == DType::F16 { f16::from_f32(value).to_f32() } else { value }
    };
    (0..count).map(|_| next()).collect()
}

/// The greatest difference from sums of 64 bits, over the length of what is summed: a sum may be nearly zero, its parts are not.
fn worst(case: &Case, a: &[f32], b: &[f32], got: &[f32]) -> f64 {
    let [m, k, n] = case.sizes;
    assert_eq!(got.len(), m * n, "the result has another size");
    let mut worst: f64 = 0.0;
    for row in 0..m {
        for column in 0..n {
            let (mut sum, mut size) = (0.0_f64, 0.0_f64);
            for i in 0..k {
                let product = f64::from(a[row * k + i]) * f64::from(b[i * n + column]);
                sum += product;
                size += product * product;
            }
            let off = (f64::from(got[row * n + column]) - sum).abs() / size.sqrt();
            // A result that is no number must not pass for a small one.
            worst = if off.is_nan() { f64::INFINITY } else { worst.max(off) };
        }
    }
    worst
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
