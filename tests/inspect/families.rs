//! What `inspect` says of each family of models.

use serde_json::{Value, json};

use super::killick;
use super::support::golden::data;

#[test]
fn inspect_says_what_a_model_has_that_llama_had_not() {
    for (model, lines) in [
        ("linear", vec!["llama: 2 layers", "RoPE scaled linearly by 4\n"]),
        ("llama3", vec!["RoPE scaled as in Llama 3 by 8 from a context of 64\n"]),
        ("llama3.f16.gguf", vec!["RoPE scaled by a tensor of the file\n"]),
        ("yarn.f16.gguf", vec!["RoPE scaled by YaRN by 4 from a context of 64, attention factor 1.13"]),
        ("biases", vec!["biases on q, k and v, attention output, feed-forward\n"]),
        (
            "mistral",
            vec![
                "mistral: 2",
                "sliding window of 9 tokens, which is what policy full sees\n",
                "window 9, sinks 0",
            ],
        ),
        ("qwen2.f16.gguf", vec!["qwen2: 2 layers", "biases on q, k and v\n"]),
        ("qwen3", vec!["qwen3: 2 layers", "normalized queries and keys\n"]),
        ("smollm3.f16.gguf", vec!["smollm3: 5 layers", "no RoPE in 1 of the layers\n"]),
        ("phi3", vec!["phi3: 2 layers", "RoPE in the first 12 columns of each head\n"]),
        ("longrope", vec!["RoPE scaled by one list up to a distance of 32 tokens", "attention factor 1.26"]),
        (
            "gemma2",
            vec![
                "gemma2: 3 layers",
                "sliding window of 9 tokens, in 2 of the layers, which keep it under every policy\n",
                "norms before and after each block\n",
                "GELU; embeddings times 5.65",
                "scores bent to stay within 3\n",
                "logits bent to stay within 4\n",
            ],
        ),
        (
            "gemma3.f16.gguf",
            vec![
                "gemma3_text: 7 layers",
                "sliding window of 9 tokens, in 6 of the layers",
                "layers with a window turn by a base of 500, unscaled\n",
                "normalized queries and keys\n",
            ],
        ),
    ] {
        let output = killick(&["inspect", "--model", &data(&format!("tiny/{model}")).display().to_string()]);
        let text = String::from_utf8_lossy(&output.stdout);
        for line in lines {
            assert!(text.contains(line), "{model}: no {line:?} in\n{text}");
        }
    }
    let path = data("tiny/phi3").display().to_string();
    let report: Value =
        serde_json::from_slice(&killick(&["inspect", "--json", "--model", &path]).stdout).unwrap();
    assert_eq!(report["config"]["architecture"], "phi3");
    assert_eq!(report["config"]["rope_scaling"], json!({"type": "none"}));
}
