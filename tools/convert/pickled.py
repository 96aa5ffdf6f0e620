"""Turns a checkpoint of pickled weights (pytorch_model*.bin, such as pangjh3/AnLLM-*) into a folder Killick loads, its cache policy recorded.

    python tools/convert/pickled.py FOLDER NEW_FOLDER [--anchor-symbols "<AC>"] [--insert between|after|off]

A pickle is a program: reading one can run anything. Killick has no reader for them; this one asks PyTorch for `weights_only=True`,
which refuses everything but tensors and plain containers. What it writes:

    model.safetensors, or one model-0000K-of-0000N.safetensors per shard with model.safetensors.index.json; types and names as they were
    config.json          as it was, with `killick_policy`: preset `anchor`, the anchors by id, and for a token that was added to the
                         vocabulary (AnLLM-AC's <AC>) where the prompt gets one
    tokenizer.json, tokenizer_config.json   copied, or made from tokenizer.model and added_tokens.json

--anchor-symbols are those of AnLLM's own scripts, several with "|" between. Without the flag it is <AC> if the vocabulary has one;
a model trained for full stops (AnLLM-EP) needs `--anchor-symbols .`, and `--anchor-symbols ""` records no policy.
A sentence of Llama's old tokenizer took the white space around an added token; so does the one written here.

Needs torch, safetensors and numpy; to make a tokenizer.json also sentencepiece. tools/convert/test_pickled.py tests it, by hand.
At most one shard is in memory. An adapter of pickled weights (adapter_model.bin) is converted likewise.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

AS_THEY_ARE = ["generation_config.json", "special_tokens_map.json", "chat_template.jinja", "adapter_config.json"]


def refuse(message: str) -> None:
    sys.exit(f"pickled.py: {message}")


def shards(folder: pathlib.Path) -> tuple[str, list[pathlib.Path]]:
    """The stem of the new files' names, and the pickled files in order."""
    index = folder / "pytorch_model.bin.index.json"
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if any(pathlib.PurePath(name).name != name for name in names):
            refuse(f"{index} names a file outside its folder")
        return "model", [folder / name for name in names]
    for stem, name in [("model", "pytorch_model.bin"), ("adapter_model", "adapter_model.bin")]:
        if (folder / name).exists():
            return stem, [folder / name]
    refuse(f"{folder} holds no pytorch_model.bin, pytorch_model.bin.index.json or adapter_model.bin")


def read(file: pathlib.Path) -> dict:
    """The tensors of one pickled file, by name."""
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format before zip files cannot be mapped
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        refuse(f"{file} is no plain dictionary of tensors")
    # Old checkpoints store the inverse frequencies of every layer, which follow from the config.
    return {name: tensor.contiguous().clone() for name, tensor in state.items() if not name.endswith("rotary_emb.inv_freq")}


def write_weights(stem: str, files: list[pathlib.Path], out: pathlib.Path) -> None:
    from safetensors.torch import save_file

    weight_map, total = {}, 0
    for number, file in enumerate(files, 1):
        name = f"{stem}.safetensors" if len(files) == 1 else f"{stem}-{number:05}-of-{len(files):05}.safetensors"
        tensors = read(file)
        repeated = weight_map.keys() & tensors.keys()
        if repeated:
            refuse(f"{file} repeats {sorted(repeated)[0]}")
        save_file(tensors, out / name, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        print(f"{file.name} -> {name}: {len(tensors)} tensors")
    if len(files) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (out / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_tokenizer(folder: pathlib.Path, out: pathlib.Path) -> dict[str, int]:
    """Writes the tokenizer, if there is one, and returns the vocabulary: spelling to id."""
    if (folder / "tokenizer_config.json").exists():
        shutil.copyfile(folder / "tokenizer_config.json", out / "tokenizer_config.json")
    if (folder / "tokenizer.json").exists():
        shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
    elif (folder / "tokenizer.model").exists():
        make_tokenizer(folder, out)
    else:
        print("no tokenizer: the model will take token ids only")
        return {}
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    vocab = tokenizer["model"]["vocab"]
    vocab = vocab if isinstance(vocab, dict) else {piece: id for id, (piece, _) in enumerate(vocab)}
    return vocab | added


def make_tokenizer(folder: pathlib.Path, out: pathlib.Path) -> None:
    """tokenizer.json from SentencePiece's file, with the tokens of added_tokens.json as Llama's old tokenizer found them."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [model.id_to_piece(id) for id in range(model.get_piece_size())]
    # A BPE model of SentencePiece scores a piece by minus the number of its merge, and two pieces merge if their sum is a piece.
    place = {piece: id for id, piece in enumerate(pieces)}
    if not model.is_byte(place.get("<0x00>", 0)) or any(model.get_score(id) > 0 for id in range(len(pieces))):
        refuse(f"{folder / 'tokenizer.model'} is no BPE with byte fallback, as Llama's is; make a tokenizer.json with transformers")
    if model.normalize("\ufb01 a  b") != "\u2581\ufb01\u2581a\u2581\u2581b":
        refuse(f"{folder / 'tokenizer.model'} changes the text before it splits it; make a tokenizer.json with transformers")
    merges = []
    for piece, id in place.items():
        if model.is_control(id) or model.is_unknown(id) or model.is_byte(id):
            continue
        pairs = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in place and piece[k:] in place]
        merges += [(-model.get_score(id), place[left], place[right], left, right) for left, right in pairs]
    merges.sort(key=lambda merge: merge[:3])
    special = lambda id, text: {"id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [special(id, pieces[id]) for id in range(len(pieces)) if model.is_control(id) or model.is_unknown(id)]
    extra = folder / "added_tokens.json"
    for text, id in sorted(json.loads(extra.read_text()).items(), key=lambda item: item[1]) if extra.exists() else []:
        stripping = {"lstrip": True, "rstrip": True}
        added.append(special(id, text) | (stripping if text not in ("[PAD]", "<pad>") else {}) | {"special": text in ("[PAD]", "<pad>")})
    bos = model.bos_id()
    space = "\u2581"
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        # Every stretch between added tokens gets a space before it, as the old tokenizer gave it.
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": space},
                                                            {"type": "Replace", "pattern": {"String": " "}, "content": space}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": pieces[bos], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {pieces[bos]: {"id": pieces[bos], "ids": [bos], "tokens": [pieces[bos]]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": space}, "content": " "}, {"type": "ByteFallback"},
                                                      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": pieces[model.unk_id()], "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": place, "merges": [f"{left} {right}" for *_, left, right in merges]},
    }
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, indent=1) + "\n")
    print(f"tokenizer.model -> tokenizer.json: {len(pieces)} pieces, {len(merges)} merges, {len(added)} added tokens")


def policy(symbols: str | None, insert: str | None, vocab: dict[str, int], folder: pathlib.Path) -> dict | None:
    """The policy to record: `anchor` with the ids of the symbols."""
    extra = folder / "added_tokens.json"
    appended = set(json.loads(extra.read_text())) if extra.exists() else set()
    if symbols is None:
        symbols = "<AC>" if "<AC>" in vocab or "<AC>" in appended else refuse("name the anchors: --anchor-symbols . (or \"\" for no policy)")
    if not symbols:
        return None
    ids = json.loads(extra.read_text()) | vocab if extra.exists() else vocab
    unknown = [symbol for symbol in symbols.split("|") if symbol not in ids]
    if unknown:
        refuse(f"no token is spelled {unknown[0]!r}")
    anchors = sorted({ids[symbol] for symbol in symbols.split("|")})
    if insert is None:
        insert = "between" if appended & set(symbols.split("|")) else "off"
    if insert != "off" and len(anchors) != 1:
        refuse("--insert needs exactly one anchor")
    return {"preset": "anchor", "anchors": anchors} | ({"insert": {"id": anchors[0], "place": insert}} if insert != "off" else {})


def convert(folder: pathlib.Path, out: pathlib.Path, symbols: str | None, insert: str | None) -> None:
    """Makes `out` from `folder`: whole, or not at all."""
    if out.exists() and any(out.iterdir()):
        refuse(f"{out} is not empty")
    stem, files = shards(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pickled-") as partial:
        part = pathlib.Path(partial) / out.name
        part.mkdir()
        vocab = write_tokenizer(folder, part)
        name = "adapter_config.json" if stem == "adapter_model" else "config.json"
        config = json.loads((folder / name).read_text())
        record = policy("" if stem == "adapter_model" and symbols is None else symbols, insert, vocab, folder)
        if record:
            config["killick_policy"] = record
            print(f"policy {json.dumps(record)}")
        write_weights(stem, files, part)
        for other in AS_THEY_ARE:
            if (folder / other).exists():
                shutil.copyfile(folder / other, part / other)
        (part / name).write_text(json.dumps(config, indent=2) + "\n")
        os.replace(part, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="the checkpoint")
    parser.add_argument("out", type=pathlib.Path, help="a folder to make; it must be empty")
    parser.add_argument("--anchor-symbols", metavar="A|B", help="spellings of the anchors; default <AC> if there is one, \"\" for no policy")
    parser.add_argument("--insert", choices=["between", "after", "off"], help="where prompts get the anchor; default between for an added token")
    args = parser.parse_args()
    convert(args.folder, args.out, args.anchor_symbols, args.insert)


if __name__ == "__main__":
    main()
