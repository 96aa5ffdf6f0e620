"""Writes tests/data/tiny/anllm/: a tiny checkpoint as pangjh3/AnLLM-AC-7B-PT lies on the hub, through tools/convert/pickled.py, and its golden logits.

Plain Llama of two layers, vocabulary 32,002 (a multiple of nothing), <AC> = 32001 appended, bfloat16 in two shards of pytorch_model-*.bin, a
config of transformers 4.28 without rope_theta. The pickled files are saved to a temporary folder and converted; only what the converter made
is kept. The logits are computed in float64 from what was pickled, by policy.py, and as always against stepwise.py.

Run:  python tools/golden/anllm.py
"""

import base64
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch

import stepwise
from common import LIMIT, rounded, write
from policy import logits, resolve, score, visible
from tiny import TINY, model_of

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "convert"))
import pickled

OUT = TINY / "anllm"
AC, PAD, TRAINED = 32001, 32000, 4096
TOLERANCE = 1e-4
CONFIG = {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 8, "initializer_range": 0.02,
          "intermediate_size": 20, "max_position_embeddings": TRAINED, "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": 2,
          "num_key_value_heads": 2, "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False,
          "torch_dtype": "bfloat16", "transformers_version": "4.28.0.dev0", "use_cache": True, "vocab_size": AC + 1}


def weights() -> dict:
    generator = torch.Generator().manual_seed(32002)
    out = {}
    for name, like in model_of(CONFIG).state_dict().items():
        noise = torch.randn(like.shape, generator=generator)
        # Attention must be sharp for a wrong mask to show, and eight columns make large numbers of few terms.
        out[name] = (1 + 0.2 * noise if "norm" in name else (0.9 if "proj" in name else 0.5) * noise).bfloat16()
    return out


def save_pickled(folder: pathlib.Path, state: dict) -> None:
    parts = [{n: t for n, t in state.items() if n != "lm_head.weight"}, {"lm_head.weight": state["lm_head.weight"]}]
    parts[0] |= {f"model.layers.{k}.self_attn.rotary_emb.inv_freq": torch.tensor([1.0, 0.01]) for k in range(2)}
    names = [f"pytorch_model-0000{k}-of-00002.bin" for k in (1, 2)]
    for name, part in zip(names, parts):
        torch.save(part, folder / name)
    index = {"metadata": {"total_size": 0}, "weight_map": {t: name for name, part in zip(names, parts) for t in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "added_tokens.json").write_text(json.dumps({"<AC>": AC, "[PAD]": PAD}))


def main() -> None:
    state = weights()
    shutil.rmtree(OUT, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        save_pickled(pathlib.Path(folder), state)
        pickled.convert(pathlib.Path(folder), OUT, None, None)
    spec = json.loads((OUT / "config.json").read_text())["killick_policy"]
    assert spec == {"preset": "anchor", "anchors": [AC], "insert": {"id": AC, "place": "between"}}, spec
    spec.pop("insert")
    rng = np.random.default_rng(5)
    ids = [AC if t % 11 == 10 else int(rng.integers(3, 32000)) for t in range(60)]
    ids[0], policy = 1, resolve(spec, TRAINED)
    model = model_of(CONFIG, state)
    z = logits(model, ids, policy)
    plain = {n: w.double().numpy() for n, w in state.items()}
    full = CONFIG | {"head_dim": 4, "rope_theta": 10000.0}
    gap = np.abs(stepwise.decode(plain, full, ids, policy) - z.numpy()).max()
    assert gap < 1e-9, gap
    right = score(z, ids)
    dense = score(logits(model, ids, policy, mask=visible(ids, resolve({"preset": "full"}, TRAINED))), ids)
    moves = np.abs(dense["nll"] - right["nll"])
    assert moves.mean() > 1000 * TOLERANCE, moves.mean()
    print(f"nll {right['nll'].mean():.4f}, stepwise gap {gap:.0e}, a dense mask moves a token by {moves.mean():.3f} nats")
    write(OUT / "golden.json", {"trained_context": TRAINED, "tolerance": TOLERANCE, "cases": [
        {"name": "anchor", "spec": spec, "ids": ids, "nll": rounded(right["nll"]), "top1": right["top1"], "margin": rounded(right["margin"], 4),
         "logit_rows": [59], "logits": base64.b64encode(z[[59]].numpy().astype("<f4").tobytes()).decode()}]})
    for file in OUT.iterdir():
        file.chmod(0o644)
        assert file.stat().st_size <= LIMIT, file


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
