//! How precisely weights are kept: what a user asks for, and what one weight then gets.

use crate::model_file::{Blocks, Dtype};

/// What becomes of the weights of a file on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// Blocks as the file keeps them, where there is a layout for them; all else as [`WeightFormat::F16`].
    #[default]
    File,
    /// 32-bit floats.
    F32,
    /// 16-bit floats; arithmetic stays 32-bit.
    F16,
    /// Signed bytes under a 16-bit scale for every 32 columns, as GGUF's block format of that name.
    Q8_0,
    /// Numbers of four bits under a 16-bit scale for every 32 columns, as GGUF's block format of that name.
    Q4_0,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::File, Self::F32, Self::F16, Self::Q8_0, Self::Q4_0];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// What a weight becomes that a file keeps in `dtype`, `None` where what it keeps is not what the model computes with.
    pub fn precision(self, dtype: Option<Dtype>) -> Precision {
        match self {
            Self::File => dtype.and_then(Blocks::of).map_or(Precision::F16, Precision::of),
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
            Self::Q8_0 => Precision::Q8,
            Self::Q4_0 => Precision::Q4,
        }
    }
}

/// What one weight is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Numbers of 8 bits around zero; one 16-bit scale for 32 columns.
    Q8,
    /// Numbers of 6 bits around zero; one 16-bit scale for 16 columns.
    Q6,
    /// Numbers of 5 bits; a 16-bit scale and a 16-bit minimum for 32 columns.
    Q5,
    /// Numbers of 4 bits; a 16-bit scale and a 16-bit minimum for 32 columns.
    Q4,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Q8, Self::Q6, Self::Q5, Self::Q4];

    /// A name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q6 => "q6",
            Self::Q5 => "q5",
            Self::Q4 => "q4",
        }
    }

    fn of(blocks: Blocks) -> Self {
        match blocks {
            Blocks::Q4 => Self::Q4,
            Blocks::Q5 => Self::Q5,
            Blocks::Q6 => Self::Q6,
            Blocks::Q8 => Self::Q8,
        }
    }

    /// The blocks it is made of; `None` for floats.
    pub fn blocks(self) -> Option<Blocks> {
        match self {
            Self::F32 | Self::F16 => None,
            Self::Q8 => Some(Blocks::Q8),
            Self::Q6 => Some(Blocks::Q6),
            Self::Q5 => Some(Blocks::Q5),
            Self::Q4 => Some(Blocks::Q4),
        }
    }
}
