"""Tests pickled.py on checkpoints saved as the published ones are: by torch.save, in shards, with SentencePiece's tokenizer.model.

Run by hand: python tools/convert/test_pickled.py (needs torch, safetensors, sentencepiece, tokenizers, numpy). The engine's side of it,
a converted checkpoint that the Rust suite loads and compares with PyTorch, is tests/data/tiny/anllm (tools/golden/anllm.py).
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import sentencepiece
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

SCRIPT = pathlib.Path(__file__).with_name("pickled.py")
SENTENCES = ["Hello there.", "A killick is a small anchor, usually a stone.", "  Two spaces, and a tab\there. ", "Пи is 3.14!", "naïve \U0001f600 \u4e16\u754c", "x=1\ny=2", "."]


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True)


def tokenizer_model(folder: pathlib.Path) -> sentencepiece.SentencePieceProcessor:
    rng = random.Random(4)
    words = [w for s in SENTENCES for w in s.split()] + ["anchor", "stone", "small", "sentence", "remember", "segment", "there", "here", "where"]
    lines = [" ".join(rng.choices(words, k=12)) + "." for _ in range(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "tokenizer"), vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2)
    (folder / "tokenizer.vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def checkpoint(folder: pathlib.Path) -> tuple[sentencepiece.SentencePieceProcessor, list[dict]]:
    """As AnLLM-AC lies on the hub: [PAD] and <AC> behind the pieces, two shards of bfloat16."""
    model = tokenizer_model(folder)
    base = model.get_piece_size()
    (folder / "added_tokens.json").write_text(json.dumps({"<AC>": base + 1, "[PAD]": base}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "LlamaTokenizer"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": base + 2, "transformers_version": "4.28.0.dev0"}))
    tensor = lambda *shape: torch.randn(*shape).bfloat16()
    shards = [{"model.embed_tokens.weight": tensor(base + 2, 8), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)},
              {"model.norm.weight": tensor(8), "lm_head.weight": tensor(base + 2, 8).T.contiguous().T}]
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    for name, shard in zip(names, shards):
        torch.save(shard, folder / name)
    index = {"metadata": {}, "weight_map": {tensor: name for name, shard in zip(names, shards) for tensor in shard}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return model, shards


def test_weights_config_and_tokenizer(folder: pathlib.Path) -> None:
    old, new = folder / "old", folder / "new"
    old.mkdir()
    model, shards = checkpoint(old)
    done = run(old, new)
    assert done.returncode == 0, done.stderr
    ac = model.get_piece_size() + 1
    record = json.loads((new / "config.json").read_text())["killick_policy"]
    assert record == {"preset": "anchor", "anchors": [ac], "insert": {"id": ac, "place": "between"}}, record
    index = json.loads((new / "model.safetensors.index.json").read_text())["weight_map"]
    wanted = {name: tensor for shard in shards for name, tensor in shard.items() if "inv_freq" not in name}
    assert index.keys() == wanted.keys()
    for name, tensor in wanted.items():
        got = load_file(new / index[name])[name]
        assert got.dtype == tensor.dtype and torch.equal(got, tensor), name
    tokenizer = Tokenizer.from_file(str(new / "tokenizer.json"))
    for _ in range(300):
        sentences = random.choices(SENTENCES, k=random.randint(1, 4))
        # What Llama's old tokenizer did: white space beside <AC> goes, each stretch is encoded by itself.
        wanted = [1]
        for number, sentence in enumerate(sentences):
            stretch = sentence if number == 0 else sentence.lstrip()
            stretch = stretch if number == len(sentences) - 1 else stretch.rstrip()
            wanted += ([ac] if number else []) + model.encode(stretch)
        got = tokenizer.encode(" <AC> ".join(sentences)).ids
        assert got == wanted, (sentences, got, wanted)
    again = run(old, new)
    assert again.returncode and "not empty" in again.stderr, again


def test_policies(folder: pathlib.Path) -> None:
    old = folder / "old"
    old.mkdir()
    model, _ = checkpoint(old)
    stop, ac = model.piece_to_id("."), model.get_piece_size() + 1
    for number, (flags, wanted) in enumerate([
        (["--anchor-symbols", "."], {"preset": "anchor", "anchors": [stop]}),
        (["--anchor-symbols", ".|<AC>", "--insert", "off"], {"preset": "anchor", "anchors": [stop, ac]}),
        (["--insert", "after"], {"preset": "anchor", "anchors": [ac], "insert": {"id": ac, "place": "after"}}),
        (["--anchor-symbols", ""], None),
    ]):
        done = run(old, folder / str(number), *flags)
        assert done.returncode == 0, done.stderr
        assert json.loads((folder / str(number) / "config.json").read_text()).get("killick_policy") == wanted, flags
    for flags, word in [(["--anchor-symbols", "no such token"], "no such token"), (["--anchor-symbols", ".|<AC>"], "exactly one")]:
        done = run(old, folder / "wrong", *flags)
        assert done.returncode and word in done.stderr and not list((folder / "wrong").glob("*.safetensors")), done


def test_a_pickle_that_is_a_program_is_not_run(folder: pathlib.Path) -> None:
    class Program:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'it ran'!s}".replace("it ran", "ran"),)

    old = folder / "old"
    old.mkdir()
    (old / "config.json").write_text("{}")
    torch.save({"model.norm.weight": Program()}, old / "pytorch_model.bin")
    done = run(old, folder / "new", "--anchor-symbols", "")
    assert done.returncode and "Weights only load failed" in done.stderr, done.stderr
    assert not (folder / "ran").exists()
    torch.load(old / "pytorch_model.bin", weights_only=False)
    assert (folder / "ran").exists(), "the control: it would have run"


def main() -> None:
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            torch.manual_seed(3)
            random.seed(3)
            with tempfile.TemporaryDirectory() as folder:
                test(pathlib.Path(folder))
            print(f"{name}: ok")


if __name__ == "__main__":
    main()
