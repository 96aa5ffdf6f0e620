"""Makes the HuggingFace folder of SmolLM2-135M-Instruct from its GGUF: the same dequantised weights, as float32 safetensors.

It goes to ${XDG_CACHE_HOME:-~/.cache}/killick/models/smollm2-hf, outside the tree (538 MB). transformers 5.23 reads the GGUF, with two traps:
a model read from a GGUF refuses to be saved until it forgets that it was quantised, and the tokenizer it builds loses the split of
digits (so "a  2" gets other ids than it should): the pre-tokenizer is put right here. Every tensor is then compared with gguf.dequantize.

Run:  python tools/golden/smollm2_hf.py
"""

import hashlib
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import CACHE
from tiny import gguf_name, restored

MODELS = CACHE / "models"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = MODELS / "smollm2-hf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def convert() -> None:
    with open(MODELS / FILE, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    tokenizer = AutoTokenizer.from_pretrained(MODELS, gguf_file=FILE)
    model = AutoModelForCausalLM.from_pretrained(MODELS, gguf_file=FILE, dtype=torch.float32)
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = "SmolLM2-135M-Instruct"
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    path = FOLDER / "tokenizer.json"
    parts = json.loads(path.read_text())
    parts["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    parts["post_processor"] = None
    parts["model"] |= {"continuing_subword_prefix": None, "end_of_word_suffix": None}
    path.write_text(json.dumps(parts, ensure_ascii=False))


def check() -> None:
    tensors = {t.name: t for t in gguf.GGUFReader(MODELS / FILE).tensors}
    config = json.loads((FOLDER / "config.json").read_text())
    with safe_open(FOLDER / "model.safetensors", "np") as file:
        assert len(list(file.keys())) == len(tensors) == 272
        for name in file.keys():
            tensor = tensors[gguf_name(name)]
            want = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for role, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
                want = restored(want, config[heads]) if role in name else want
            assert np.array_equal(file.get_tensor(name), want), name
    print(f"{FOLDER}: 272 tensors equal gguf.dequantize bit for bit")


if __name__ == "__main__":
    torch.set_num_threads(2)
    convert()
    check()
