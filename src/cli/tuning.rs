//! Which kernels are fastest on this machine's GPU: measured at the first start with a model, and kept for the next.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::args::{GpuArgs, TuneArg};
use super::load::bar;
use crate::bench::TunedProduct;
use crate::engine::{Engine, Opened};
use crate::error::Error;
use crate::gpu::{AdapterDescription, Capabilities, Family};
use crate::kernels::{WeightFormat, choose};
use crate::model::PlannedProduct;

/// How long a start may take over it; what there was no time for is measured at the next one.
const BUDGET: Duration = Duration::from_secs(2);
/// A file that is larger is none of ours.
const MAX_KEPT_BYTES: u64 = 1 << 20;

/// What runs a model's products here.
pub(super) struct Measured {
    /// The device, which goes by it.
    pub(super) engine: Engine,
    /// The products of the model.
    pub(super) planned: Vec<PlannedProduct>,
    /// Those that were measured, now or before.
    pub(super) products: Vec<TunedProduct>,
}

/// A file of the cache: one adapter with one driver.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// For people who look into the file.
    adapter: String,
    /// The kernels that were measured.
    kernels: u64,
    products: Vec<TunedProduct>,
}

/// `engine`, with the kernels that are fastest for `model`. Where that cannot be measured or kept, the usual ones run.
pub(super) fn measured(
    engine: &Engine,
    model: &Opened,
    format: WeightFormat,
    args: &GpuArgs,
) -> Result<Measured, Error> {
    let tune = args.tune;
    let capabilities = engine.gpu().capabilities();
    let planned = PlannedProduct::of(&model.file, format, capabilities)?;
    let is_worth_it = capabilities.family == Family::Gpu && !capabilities.software;
    if tune == TuneArg::Off || (tune == TuneArg::Auto && !is_worth_it) {
        return Ok(Measured { engine: engine.clone(), planned, products: Vec::new() });
    }
    let file = file_for(engine.gpu().adapter(), capabilities);
    let mut engine = engine.clone();
    let mut kept = file.as_ref().map(read).unwrap_or_default();
    if tune == TuneArg::Anew {
        kept.retain(|one| !planned.iter().any(|other| one.is(other)));
    }
    let missing: Vec<_> =
        planned.iter().filter(|other| !kept.iter().any(|one| one.is(other))).copied().collect();
    let can_be_kept =
        file.as_ref().and_then(|file| file.parent()).is_some_and(|to| fs::create_dir_all(to).is_ok());
    if !can_be_kept && tune == TuneArg::Auto {
        log::info!("there is no cache folder to write to, so kernels are not measured");
    } else if !missing.is_empty() {
        log::info!("measuring which kernels are fastest here");
        let bar = bar("measuring which kernels are fastest here, once {spinner}");
        bar.enable_steady_tick(Duration::from_millis(100));
        let found = pollster::block_on(engine.tune(&missing, BUDGET));
        bar.finish_and_clear();
        match found {
            Ok(found) if !found.is_empty() => {
                kept.extend(found);
                if let Some(file) = &file {
                    write(file, engine.gpu().adapter(), &kept);
                }
            }
            Ok(_) => {}
            Err(error) => {
                log::warn!(
                    "kernels were not measured, the usual ones run: {error}; --tune off leaves it out"
                );
                // A driver that refused one of them is asked no more by this device.
                if engine.gpu().check().is_err() {
                    engine = Engine::new(&args.options())?;
                }
            }
        }
    }
    let products: Vec<_> = kept.into_iter().filter(|one| planned.iter().any(|other| one.is(other))).collect();
    Ok(Measured { engine: engine.tuned(&products), planned, products })
}

/// Where what was measured on an adapter is kept, by the features that are used; `None` if the user has no home.
fn file_for(adapter: &AdapterDescription, used: &Capabilities) -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    let AdapterDescription { name, backend, driver, driver_info, vendor, device, .. } = adapter;
    let mut hasher = DefaultHasher::new();
    (name, backend, driver, driver_info, vendor, device, used.subgroups > 0, used.f16).hash(&mut hasher);
    let folder = etcetera::BaseStrategy::cache_dir(&folders).join("killick").join("tuning");
    Some(folder.join(format!("{:016x}.json", hasher.finish())))
}

/// What was kept of the kernels of this program; nothing where the file is not there or not what it must be.
fn read(file: &PathBuf) -> Vec<TunedProduct> {
    let mut text = String::new();
    let kept = fs::File::open(file)
        .and_then(|open| open.take(MAX_KEPT_BYTES).read_to_string(&mut text))
        .ok()
        .and_then(|_| serde_json::from_str::<Kept>(&text).ok());
    kept.filter(|kept| kept.kernels == choose::fingerprint()).map(|kept| kept.products).unwrap_or_default()
}

/// Keeps what was measured, in a folder that is there. Two programs may do so at a time: each file is whole, and the last one stays.
fn write(file: &PathBuf, adapter: &AdapterDescription, products: &[TunedProduct]) {
    let adapter = format!("{}, {} {}", adapter.name, adapter.driver, adapter.driver_info);
    let kept = Kept { adapter, kernels: choose::fingerprint(), products: products.to_vec() };
    let beside = file.with_extension(format!("{}.part", std::process::id()));
    let written = serde_json::to_vec(&kept)
        .map_err(std::io::Error::from)
        .and_then(|text| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        log::warn!("what was measured of the kernels could not be kept in {}: {error}", file.display());
    }
}
