//! Shapes of known models, as the config.json that their makers published says them, as far as the engine reads it.

use serde_json::json;

use super::BenchError;
use crate::model_file::FileSet;

/// A known shape.
struct Shape {
    name: &'static str,
    /// hidden, ffn, layers, query heads, key and value heads, width of a head, vocabulary, context.
    sizes: [u32; 8],
    theta: f64,
    eps: f64,
    tied: bool,
    model_type: &'static str,
}

const LLAMA: Shape =
    Shape { name: "", sizes: [0; 8], theta: 10_000.0, eps: 1e-5, tied: false, model_type: "llama" };

/// In the order of their size.
const SHAPES: [Shape; 12] = [
    Shape {
        name: "smollm2-135m",
        sizes: [576, 1536, 30, 9, 3, 64, 49_152, 8192],
        theta: 100_000.0,
        tied: true,
        ..LLAMA
    },
    Shape {
        name: "smollm2-360m",
        sizes: [960, 2560, 32, 15, 5, 64, 49_152, 8192],
        theta: 100_000.0,
        tied: true,
        ..LLAMA
    },
    Shape {
        name: "qwen2.5-0.5b",
        sizes: [896, 4864, 24, 14, 2, 64, 151_936, 32_768],
        theta: 1e6,
        eps: 1e-6,
        tied: true,
        model_type: "qwen2",
    },
    Shape { name: "tinyllama-1.1b", sizes: [2048, 5632, 22, 32, 4, 64, 32_000, 2048], ..LLAMA },
    Shape {
        name: "llama-3.2-1b",
        sizes: [2048, 8192, 16, 32, 8, 64, 128_256, 131_072],
        theta: 500_000.0,
        tied: true,
        ..LLAMA
    },
    Shape {
        name: "smollm2-1.7b",
        sizes: [2048, 8192, 24, 32, 32, 64, 49_152, 8192],
        theta: 130_000.0,
        tied: true,
        ..LLAMA
    },
    Shape {
        name: "llama-3.2-3b",
        sizes: [3072, 8192, 28, 24, 8, 128, 128_256, 131_072],
        theta: 500_000.0,
        tied: true,
        ..LLAMA
    },
    Shape {
        name: "qwen3-4b",
        sizes: [2560, 9728, 36, 32, 8, 128, 151_936, 40_960],
        theta: 1e6,
        eps: 1e-6,
        tied: true,
        model_type: "qwen3",
    },
    Shape { name: "llama-2-7b", sizes: [4096, 11_008, 32, 32, 32, 128, 32_000, 4096], ..LLAMA },
    Shape {
        name: "mistral-7b",
        sizes: [4096, 14_336, 32, 32, 8, 128, 32_000, 32_768],
        model_type: "mistral",
        ..LLAMA
    },
    Shape {
        name: "llama-3.1-8b",
        sizes: [4096, 14_336, 32, 32, 8, 128, 128_256, 131_072],
        theta: 500_000.0,
        ..LLAMA
    },
    Shape { name: "llama-2-13b", sizes: [5120, 13_824, 40, 40, 40, 128, 32_000, 4096], ..LLAMA },
];

/// The names of the known shapes.
pub fn shape_names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// The config.json of a known shape.
pub fn shape_config(name: &str) -> Option<String> {
    SHAPES.iter().find(|shape| shape.name == name).map(Shape::config)
}

/// The name and the sizes of a known shape: hidden, ffn, layers, query heads, key and value heads, width of a head, vocabulary, context.
pub(super) fn shape_sizes(name: &str) -> Option<(&'static str, [u32; 8])> {
    SHAPES.iter().find(|shape| shape.name == name).map(|shape| (shape.name, shape.sizes))
}

/// The error for a name that is none.
pub(super) fn unknown_shape(name: &str) -> BenchError {
    BenchError::Setting {
        field: "shape",
        value: format!("{name:?}"),
        need: format!("one of {}, or a config.json", shape_names().collect::<Vec<_>>().join(", ")),
    }
}

/// A model of a known shape with made-up weights.
///
/// # Errors
/// A name that is not known; the error lists those that are.
pub fn shape(name: &str) -> Result<FileSet, BenchError> {
    let config = shape_config(name).ok_or_else(|| unknown_shape(name))?;
    Ok(FileSet::synthetic(name, &config)?)
}

impl Shape {
    fn config(&self) -> String {
        let [hidden, ffn, layers, heads, kv_heads, head_dim, vocab, context] = self.sizes;
        // A scaling of RoPE changes what is computed and not how long it takes, so none is made up.
        json!({
            "model_type": self.model_type,
            "hidden_size": hidden,
            "intermediate_size": ffn,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "vocab_size": vocab,
            "max_position_embeddings": context,
            "rms_norm_eps": self.eps,
            "rope_theta": self.theta,
            "tie_word_embeddings": self.tied,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_file::{ModelFile, WeightName};

    #[test]
    fn the_shapes_have_the_parameters_that_their_makers_count() {
        let parameters = |name: &str| {
            let file = pollster::block_on(ModelFile::open(shape(name).unwrap())).unwrap();
            let of = |weight: WeightName| {
                let (rows, columns) = weight.shape(&file.config);
                u64::from(rows) * u64::from(columns)
            };
            WeightName::all(&file.config).map(of).sum::<u64>()
        };
        for (name, count) in [
            ("smollm2-135m", 134_515_008),
            ("smollm2-360m", 361_821_120),
            ("qwen2.5-0.5b", 494_032_768),
            ("tinyllama-1.1b", 1_100_048_384),
            ("llama-3.2-1b", 1_235_814_400),
            ("smollm2-1.7b", 1_711_376_384),
            ("llama-3.2-3b", 3_212_749_824),
            ("qwen3-4b", 4_022_468_096),
            ("llama-2-7b", 6_738_415_616),
            ("mistral-7b", 7_241_732_096),
            ("llama-3.1-8b", 8_030_261_248),
            ("llama-2-13b", 13_015_864_320),
        ] {
            assert_eq!(parameters(name), count, "{name}");
        }
        assert_eq!(shape_names().count(), 12);
    }

    #[test]
    fn an_unknown_shape_is_refused_with_the_list_of_those_there_are() {
        let error = shape("gpt-5").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("\"gpt-5\"") && error.contains("tinyllama-1.1b"), "{error}");
    }
}
