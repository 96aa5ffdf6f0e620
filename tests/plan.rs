//! A plan that does not fit says what would: the value it names fits, and one more does not.

mod support {
    pub mod golden;
}

use killick::gpu::{Capabilities, Family};
use killick::kernels::{KvFormat, WeightFormat};
use killick::kv::{PolicySpec, Preset};
use killick::model::{MemoryPlan, PlanError, SessionShape};
use killick::model_file::{Config, ModelFile};
use support::golden::data;

/// The smallest model there is, trained on a context as long as that of large ones.
fn config() -> Config {
    let config = ModelFile::open_path(&data("tiny/gqa")).unwrap().config;
    Config { context_len: 1 << 17, ..config }
}

fn device(family: Family, limit: u64) -> Capabilities {
    Capabilities { max_binding_bytes: limit, ..Capabilities::baseline(family) }
}

fn plan(spec: &PolicySpec, kv: KvFormat, family: Family, limit: u64) -> Result<MemoryPlan, PlanError> {
    let config = config();
    let policy = spec.resolve(config.context_len).unwrap();
    let shape = SessionShape { chunk: 16, in_flight: 32, kv, ..SessionShape::default() };
    MemoryPlan::new(&config, WeightFormat::F32, &policy, shape, &device(family, limit))
}

#[test]
fn the_largest_setting_named_is_the_largest_that_fits() {
    let anchors = Some(vec![7]);
    let anchored = PolicySpec { anchors: anchors.clone(), ..PolicySpec::new(Preset::Anchor) };
    type Set = fn(&mut PolicySpec, u32);
    let cases: [(&str, PolicySpec, Set); 6] = [
        ("ctx", PolicySpec::new(Preset::Full), |spec, value| spec.ctx = Some(value)),
        (
            "window",
            PolicySpec { window: Some(90_000), ..PolicySpec::new(Preset::Streaming) },
            |spec, value| spec.window = Some(value),
        ),
        ("sinks", PolicySpec { sinks: Some(90_000), ..PolicySpec::new(Preset::Window) }, |spec, value| {
            spec.sinks = Some(value);
        }),
        ("max-anchors", PolicySpec { max_anchors: Some(90_000), ..anchored.clone() }, |spec, value| {
            spec.max_anchors = Some(value);
        }),
        ("max-segment", PolicySpec { max_segment: Some(90_000), ..anchored.clone() }, |spec, value| {
            spec.max_segment = Some(value);
        }),
        (
            "window",
            PolicySpec { window: Some(80_000), max_segment: Some(20_000), ..anchored },
            |spec, value| spec.window = Some(value),
        ),
    ];
    let families =
        [Family::Gpu, Family::Software].map(|family| KvFormat::ALL.map(|kv| (family, kv))).concat();
    for ((name, spec, set), (family, kv)) in
        cases.iter().flat_map(|case| families.iter().map(move |family| (case, *family)))
    {
        // A slot of one layer is two heads of 16 floats; other buffers are far smaller.
        let limit = 65_000 * kv.bytes(2, 16);
        let error = plan(spec, kv, family, limit).unwrap_err();
        let PlanError::BufferTooLarge { setting, most, .. } = &error else { panic!("{error}") };
        assert_eq!(setting, name, "{error}");
        assert!(error.to_string().contains(&format!("the largest {name} that fits is {most}")), "{error}");
        let with = |value: u64| {
            let mut spec = spec.clone();
            set(&mut spec, u32::try_from(value).unwrap());
            plan(&spec, kv, family, limit)
        };
        assert!(with(*most).is_ok(), "{name} {most}");
        assert!(with(most + 1).is_err(), "{name} {} fits as well", most + 1);
    }
}

/// What a chunk takes is checked as it is allocated: filled up to whole units, and folded into textures.
#[test]
fn the_largest_chunk_named_is_the_largest_that_fits() {
    let config = Config { context_len: 64, ..config() };
    let policy =
        PolicySpec { window: Some(32), ..PolicySpec::new(Preset::Window) }.resolve(config.context_len);
    for family in [Family::Gpu, Family::Software] {
        // One buffer after the other is the first too large, as the limit grows.
        for limit in (330_000..800_000).step_by(4_000) {
            let with = |chunk: u64| {
                let shape = SessionShape { chunk: chunk as u32, in_flight: 32, ..SessionShape::default() };
                let policy = policy.as_ref().unwrap();
                MemoryPlan::new(&config, WeightFormat::F16, policy, shape, &device(family, limit))
            };
            let error = with(20_000).unwrap_err();
            let PlanError::BufferTooLarge { setting: "prompt chunk", mut most, .. } = error else {
                panic!("{limit}: {error}")
            };
            // A chunk of that size may be too large for a buffer farther down, which then says so.
            while let Err(PlanError::BufferTooLarge { most: less, .. }) = with(most) {
                assert!(less < most, "{family:?} {limit}: {less}");
                most = less;
            }
            assert!(with(most).is_ok() && with(most + 1).is_err(), "{family:?} {limit}: {most}");
        }
    }
}

/// The window of a model is what takes the room, not the context around it.
#[test]
fn a_model_with_a_window_is_told_of_its_window() {
    let config = Config { sliding_window: Some(90_000), ..config() };
    let shape = SessionShape { chunk: 16, in_flight: 32, ..SessionShape::default() };
    let plan = |spec: PolicySpec| {
        MemoryPlan::new(
            &config,
            WeightFormat::F32,
            &spec.resolve(&config).unwrap(),
            shape,
            &device(Family::Gpu, 65_000 * 128),
        )
    };
    let error = plan(PolicySpec::new(Preset::Full)).unwrap_err();
    let PlanError::BufferTooLarge { setting: "window", most, .. } = error else { panic!("{error}") };
    let with = |window| plan(PolicySpec { window: Some(window), ..PolicySpec::new(Preset::Full) });
    assert!(with(most as u32).is_ok() && with(most as u32 + 1).is_err());
}

#[test]
fn where_no_single_setting_is_enough_the_slots_are_named() {
    let spec = PolicySpec {
        anchors: Some(vec![7]),
        sinks: Some(60_000),
        max_anchors: Some(60_000),
        window: Some(60_000),
        ..PolicySpec::new(Preset::SepLlm)
    };
    let error = plan(&spec, KvFormat::F32, Family::Gpu, 20_000 * 128).unwrap_err();
    assert!(error.to_string().ends_with("the largest number of slots that fits is 20000"), "{error}");
}
