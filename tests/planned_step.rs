//! The decode step as plain data, recorded without a driver: what runs on which family, to be read and counted.

mod support {
    pub mod golden;
}

use killick::generate::planned_step;
use killick::gpu::{Capabilities, Dispatch, Family, Recording};
use killick::kernels::{WeightFormat, choose};
use killick::kv::{Policy, PolicySpec, Preset};
use killick::model_file::{Config, ModelFile};
use killick::{KvFormat, SamplerOptions, SessionOptions};
use support::golden::data;

fn config(name: &str) -> Config {
    ModelFile::open_path(&data(name)).unwrap().config
}

fn policy(config: &Config) -> Policy {
    PolicySpec { anchors: Some(vec![7]), ..PolicySpec::new(Preset::Anchor) }.resolve(config).unwrap()
}

fn step(config: &Config, format: WeightFormat, sampler: &SamplerOptions, device: &Capabilities) -> Recording {
    step_with(KvFormat::F32, config, format, sampler, device)
}

fn step_with(
    kv: KvFormat,
    config: &Config,
    format: WeightFormat,
    sampler: &SamplerOptions,
    device: &Capabilities,
) -> Recording {
    let options = SessionOptions { kv, ..SessionOptions::default() };
    planned_step(config, format, &policy(config), options, sampler, device).unwrap()
}

fn greedy() -> SamplerOptions {
    SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }
}

/// The dispatches one a line; of the layers, the first.
fn listing(step: &Recording) -> String {
    let later = |label: &&str| label.strip_prefix("layer ").is_some_and(|rest| !rest.starts_with("0 "));
    let line = |dispatch: &Dispatch| {
        let Dispatch { kernel, groups, .. } = dispatch;
        format!("{:<16} {groups:?}  {}", kernel.name, dispatch.labels().join(", "))
    };
    let of_first = step.dispatches().iter().filter(|dispatch| !dispatch.labels().iter().any(later));
    of_first.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_step_for_gpus_is_recorded_as_written_down() {
    let device = Capabilities::baseline(Family::Gpu);
    let step = step(&config("tiny/gqa"), WeightFormat::F32, &greedy(), &device);
    insta::assert_snapshot!("step_for_gpus", listing(&step));
}

#[test]
fn a_step_for_software_devices_is_recorded_as_written_down() {
    let device = Capabilities::baseline(Family::Software);
    let step = step(&config("tiny/gqa"), WeightFormat::F16, &greedy(), &device);
    insta::assert_snapshot!("step_for_software", listing(&step));
}

/// Six dispatches a layer and five more, in either family.
#[test]
fn both_families_take_as_many_dispatches() {
    let config = config("tiny/gqa");
    for family in [Family::Gpu, Family::Software] {
        for kv in KvFormat::ALL {
            let step = step_with(kv, &config, WeightFormat::F16, &greedy(), &Capabilities::baseline(family));
            assert_eq!(step.dispatches().len() as u32, 6 * config.n_layers + 5, "{family:?} {kv:?}");
        }
    }
}

/// What is recorded is what the validators of other backends have seen: `Implementation::variants`.
#[test]
fn every_variant_recorded_is_a_declared_one() {
    let rich = SamplerOptions {
        temperature: 0.8,
        top_k: 5,
        repetition_penalty: 1.1,
        logprobs: 3,
        ..SamplerOptions::default()
    };
    let mut seen = 0;
    for name in ["tiny/gqa", "tiny/mha-untied"] {
        let config = config(name);
        for family in [Family::Gpu, Family::Software] {
            for software in [false, true] {
                for subgroups in [0, 4, 8, 64] {
                    for sampled_texels in [false, true] {
                        let base = Capabilities::baseline(family);
                        let device = Capabilities { software, subgroups, sampled_texels, ..base };
                        for format in WeightFormat::ALL {
                            if format.precision(None).blocks().is_some()
                                && !config.ffn_size.is_multiple_of(32)
                            {
                                continue;
                            }
                            for sampler in [&greedy(), &rich] {
                                for kv in KvFormat::ALL {
                                    let step = step_with(kv, &config, format, sampler, &device);
                                    for dispatch in step.dispatches() {
                                        assert!(choose::is_declared(dispatch), "{dispatch:?}");
                                        seen += 1;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn q8_0_on_the_device_takes_little_more_than_half_of_f16() {
    use killick::model::{MemoryPlan, SessionShape};
    let config = Config { hidden_size: 576, ffn_size: 1536, vocab_size: 49_152, ..config("tiny/gqa") };
    let config = Config { n_heads: 9, n_kv_heads: 3, head_dim: 64, rope_dim: 64, ..config };
    let policy = policy(&config);
    let shape = SessionShape { chunk: 16, in_flight: 8, ..SessionShape::default() };
    let device = Capabilities::baseline(Family::Gpu);
    let weights = |format| MemoryPlan::new(&config, format, &policy, shape, &device).unwrap().lines[0].bytes;
    let share = weights(WeightFormat::Q8_0) as f64 / weights(WeightFormat::F16) as f64;
    assert!((0.52..0.56).contains(&share), "{share}");
}

#[test]
fn a_matrix_that_has_no_whole_blocks_is_refused_by_name() {
    let config = Config { hidden_size: 40, ..config("tiny/gqa") };
    let device = Capabilities::baseline(Family::Gpu);
    let options = SessionOptions::default();
    let error =
        planned_step(&config, WeightFormat::Q8_0, &policy(&config), options, &greedy(), &device).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("40") && text.contains("q8") && text.contains("f16"), "{text}");
}
