//! The flags that choose a device and its kernels, and those of `killick devices`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::DtypeArg;
use crate::gpu::{F16, Family, GpuOptions};

#[derive(ClapArgs, Debug)]
pub(crate) struct DevicesArgs {
    /// Say which kernels run a model's products on one GPU, and why; measured, if need be.
    #[arg(long)]
    pub(crate) kernels: bool,
    /// The model of `--kernels`, as elsewhere. Default: the small anchor model that is a part of this program.
    #[arg(long, value_name = "PATH", requires = "kernels")]
    pub(crate) model: Option<PathBuf>,
    /// How its weights are kept on the device.
    #[arg(long, value_enum, default_value_t = DtypeArg::File, requires = "kernels")]
    pub(crate) dtype: DtypeArg,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    /// Print one JSON array.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FamilyArg {
    /// For programs on the CPU that pose as a GPU, such as Mesa's lavapipe.
    Software,
    /// For real GPUs.
    Gpu,
}

impl From<FamilyArg> for Family {
    fn from(family: FamilyArg) -> Self {
        match family {
            FamilyArg::Software => Self::Software,
            FamilyArg::Gpu => Self::Gpu,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TuneArg {
    /// On a real GPU, at the first start with a model, for two seconds; what comes of it is kept in the cache folder.
    Auto,
    /// Never: the usual kernels run.
    Off,
    /// As `auto`, on a software device too.
    On,
    /// Once more, whatever is kept, and on any device.
    Anew,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum F16Arg {
    /// Where the GPU has them and a measurement has found them faster; in `score` and `eval` never.
    Auto,
    /// Never.
    Off,
    /// For all products of prompts that are kept in rows (the kernels for GPUs); an error where the GPU has them not.
    On,
}

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct GpuArgs {
    /// Index, or part of a name that only one GPU has, as `killick devices` lists them. Default: discrete, then integrated, virtual, other, software.
    #[arg(long, value_name = "GPU")]
    pub(crate) gpu: Option<String>,
    /// Use no optional feature and WebGPU's default limits.
    #[arg(long)]
    pub(crate) baseline: bool,
    /// Lower the binding limit, so that weights are split as on a smaller device.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_binding: Option<u64>,
    /// Take the kernels made for this kind of device. Default: those that suit the adapter's type.
    #[arg(long)]
    pub(crate) family: Option<FamilyArg>,
    /// Whether to measure which kernels are fastest here for a model.
    #[arg(long, value_enum, default_value_t = TuneArg::Auto)]
    pub(crate) tune: TuneArg,
    /// Whether products of prompts are computed in 16-bit floats.
    #[arg(long, value_enum, default_value_t = F16Arg::Auto)]
    pub(crate) f16: F16Arg,
}

impl GpuArgs {
    /// The same for figures that are compared between machines: what one of them has measured to be fast makes no number less exact.
    pub(crate) fn for_figures(&self) -> Self {
        let f16 = if self.f16 == F16Arg::Auto { F16Arg::Off } else { self.f16 };
        Self { f16, ..self.clone() }
    }

    pub(crate) fn options(&self) -> GpuOptions {
        GpuOptions {
            select: self.gpu.clone(),
            baseline: self.baseline,
            max_binding_bytes: self.max_binding,
            family: self.family.map(Family::from),
            f16: match self.f16 {
                F16Arg::Auto => None,
                F16Arg::Off => Some(F16::Off),
                F16Arg::On => Some(F16::Always),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        gpu: GpuArgs,
    }

    #[test]
    fn figures_are_in_32_bits_unless_asked_otherwise() {
        let f16 = |words: &[&str]| Line::parse_from(words).gpu.for_figures().options().f16;
        assert_eq!(f16(&["killick"]), Some(F16::Off));
        assert_eq!(f16(&["killick", "--f16", "off"]), Some(F16::Off));
        assert_eq!(f16(&["killick", "--f16", "on"]), Some(F16::Always));
    }
}
