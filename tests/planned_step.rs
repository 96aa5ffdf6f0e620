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
    step_with(KvFormat::F32, 1, config, format, sampler, device)
}

/// While a token sees so many keys.
fn step_with(
    kv: KvFormat,
    keys: u32,
    config: &Config,
    format: WeightFormat,
    sampler: &SamplerOptions,
    device: &Capabilities,
) -> Recording {
    let options = SessionOptions { kv, ..SessionOptions::default() };
    planned_step(config, format, &policy(config), options, sampler, keys, device).unwrap()
}

/// A step under `full`, with room for 8,192 tokens, while a token sees so many keys.
fn full_step(config: &Config, keys: u32, device: &Capabilities) -> Recording {
    let trained = Config { context_len: 8192, ..config.clone() };
    let policy = PolicySpec::new(Preset::Full).resolve(&trained).unwrap();
    let options = SessionOptions::default();
    planned_step(config, WeightFormat::F32, &policy, options, &greedy(), keys, device).unwrap()
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
            let device = Capabilities::baseline(family);
            let step = step_with(kv, 1, &config, WeightFormat::F16, &greedy(), &device);
            assert_eq!(step.dispatches().len() as u32, 6 * config.n_layers + 5, "{family:?} {kv:?}");
        }
    }
}

/// The shares that the keys of a row are split into, layer by layer; 1 where they are not.
fn shares(step: &Recording, n_heads: u32) -> Vec<u32> {
    let of_attention = |name: &str| name.starts_with("attention") && name != "attention_join";
    let attending = step.dispatches().iter().filter(|dispatch| of_attention(dispatch.kernel.name));
    attending.map(|dispatch| dispatch.groups[0] / n_heads).collect()
}

/// One dispatch more a layer, and only where a GPU would stand idle.
#[test]
fn keys_are_split_on_gpus_where_a_token_sees_many() {
    let config = config("tiny/gqa");
    let gpu = Capabilities::baseline(Family::Gpu);
    for (keys, splits) in
        [(0, 1), (1023, 1), (1024, 2), (1536, 4), (2560, 8), (4096, 8), (8192, 16), (u32::MAX, 16)]
    {
        let step = full_step(&config, keys, &gpu);
        assert_eq!(shares(&step, config.n_heads), vec![splits; config.n_layers as usize], "{keys} keys");
        let of_layer = if splits > 1 { 7 } else { 6 };
        assert_eq!(step.dispatches().len() as u32, of_layer * config.n_layers + 5, "{keys} keys");
        let names = step.kernel_names();
        assert_eq!(names.contains("attention_split"), splits > 1);
        assert_eq!(names.contains("attention_join"), splits > 1);
        assert_eq!(names.contains("attention"), splits == 1);
    }
    for device in [gpu.forcing("attention", "attention"), Capabilities::baseline(Family::Software)] {
        let step = full_step(&config, 8192, &device);
        assert_eq!(step.dispatches().len() as u32, 6 * config.n_layers + 5);
    }
    // A text that forgets has no room for so many keys, and none that splits them.
    let short =
        PolicySpec { anchors: Some(vec![7]), max_anchors: Some(100), ..PolicySpec::new(Preset::Anchor) };
    let short = PolicySpec { max_segment: Some(200), ..short }.resolve(&config).unwrap();
    let options = SessionOptions::default();
    let step = planned_step(&config, WeightFormat::F32, &short, options, &greedy(), 8192, &gpu).unwrap();
    assert_eq!(shares(&step, config.n_heads), vec![1; config.n_layers as usize]);
}

#[test]
fn a_layer_with_a_window_of_its_own_splits_no_more_keys_than_it_sees() {
    let config = config("tiny/gemma2");
    let step = full_step(&config, 8192, &Capabilities::baseline(Family::Gpu));
    let want: Vec<u32> = (0..config.n_layers).map(|l| if config.scoring(l).near { 1 } else { 16 }).collect();
    assert_eq!(shares(&step, config.n_heads), want);
    assert!(want.contains(&1) && want.contains(&16), "{want:?}");
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
                            for (sampler, keys) in [(&greedy(), 1), (&rich, 2000)] {
                                for kv in KvFormat::ALL {
                                    let step = step_with(kv, keys, &config, format, sampler, &device);
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
fn memory_for_shares_is_planned_where_a_cache_may_hold_so_many_keys() {
    use killick::model::{MemoryPlan, SessionShape};
    let config = config("tiny/gqa");
    let working = |family, ctx, texts| {
        let policy = PolicySpec::new(Preset::Full).resolve(ctx).unwrap();
        let shape = SessionShape { chunk: 16, in_flight: 8, texts, ..SessionShape::default() };
        let device = Capabilities::baseline(family);
        let plan = MemoryPlan::new(&config, WeightFormat::F32, &policy, shape, &device).unwrap();
        plan.lines[2].bytes
    };
    let row = u64::from(config.n_heads) * (u64::from(config.head_dim) + 2) * 4;
    // A buffer of nothing takes 16 bytes.
    for (ctx, texts, splits) in [(1000, 1, 0), (1024, 1, 2), (4096, 1, 8), (100_000, 1, 16), (4096, 5, 8)] {
        let more = working(Family::Gpu, ctx, texts) - working(Family::Gpu, 100, texts);
        let wanted = (row * u64::from(texts) * splits).max(16).next_multiple_of(16) - 16;
        assert_eq!(more, wanted, "{texts} texts of {ctx} tokens");
    }
    assert_eq!(working(Family::Software, 4096, 1), working(Family::Software, 100, 1));
}

#[test]
fn a_matrix_that_has_no_whole_blocks_is_refused_by_name() {
    let config = Config { hidden_size: 40, ..config("tiny/gqa") };
    let device = Capabilities::baseline(Family::Gpu);
    let options = SessionOptions::default();
    let error = planned_step(&config, WeightFormat::Q8_0, &policy(&config), options, &greedy(), 1, &device)
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("40") && text.contains("q8") && text.contains("f16"), "{text}");
}
