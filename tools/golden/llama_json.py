"""Ids of the tokenizer.json files that transformers writes for Llama, by a second implementation of what they say.

    python tools/golden/llama_json.py            (after pieces.py)

llama.json          what transformers 5 writes for pieces/merged.model with `<AC>` and `[PAD]` added
llama.golden.json   for each variant of it, and of a unigram file with the pieces of pieces/likeliest.json, the fields
                    that differ and what parts.py stores of the ids of 10,000 texts
"""

import json
import os
import shutil
import tempfile

import regex
import tokenizers
import transformers

from parts import OUT, digest, texts, write

SPACE = "\u2581"
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False}
DECODERS = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
CLASSIC = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE},
                                               {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]}
COLLAPSE = {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}


def cut(text: str, tokens: list[str]) -> list[str]:
    """The text as tokens (at odd places) and what lies between."""
    return regex.split("(" + "|".join(map(regex.escape, sorted(tokens, key=len, reverse=True))) + ")", text)


def merge(word: str, data: dict) -> list[int]:
    """Byte-pair encoding by rank, characters that are none as bytes."""
    vocab, symbols = data["vocab"], []
    for c in word:
        symbols += [c] if c in vocab else [f"<0x{byte:02X}>" for byte in c.encode()]
    while True:
        pairs = [(data["ranks"][pair], i) for i, pair in enumerate(zip(symbols, symbols[1:])) if pair in data["ranks"]]
        if not pairs:
            return [vocab[symbol] for symbol in symbols]
        _, i = min(pairs)
        symbols[i:i + 2] = ["".join(symbols[i:i + 2])]


def likeliest(word: str, data: dict) -> list[int]:
    """The pieces with the largest sum of scores, by trying every end of every beginning."""
    best, longest = [(0.0, None, None)] + [None] * len(word), max(map(len, data["vocab"]))
    unknown = min(data["scores"]) - 10.0
    for start in range(len(word)):
        ends = range(start + 1, min(len(word), start + longest) + 1)
        found = [(end, data["vocab"][word[start:end]]) for end in ends if word[start:end] in data["vocab"]]
        if not any(end == start + 1 for end, _ in found):
            found.append((start + 1, None))
        for end, piece in found:
            score = best[start][0] + (unknown if piece is None else data["scores"][piece])
            if best[end] is None or score > best[end][0]:
                best[end] = (score, start, piece)
    ids, end = [], len(word)
    while end:
        _, start, piece = best[end]
        ids.insert(0, (piece, word[start:end]))
        end = start
    out, after_unknown = [], False
    for piece, text in ids:
        if piece is not None:
            out.append(piece)
        elif data["byte_fallback"]:
            out += [data["vocab"][f"<0x{byte:02X}>"] for byte in text.encode()]
        elif not after_unknown:
            out.append(0)
        after_unknown = piece is None
    return out


def words(section: str, scheme: str, split: bool, first: bool) -> list[str]:
    """What the Metaspace pre-tokenizer makes of a section."""
    section = section.replace(" ", SPACE)
    if not section.startswith(SPACE) and (scheme == "always" or scheme == "first" and first):
        section = SPACE + section
    return regex.findall(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", section) if split else [section]


def encode(text: str, json_file: dict, data: dict) -> list[int]:
    specials = {t["content"]: t["id"] for t in json_file["added_tokens"] if not t["normalized"]}
    others = {t["content"]: t["id"] for t in json_file["added_tokens"] if t["normalized"]}
    ids, first = [], True
    for part in cut(text, list(specials)):
        if part in specials:
            ids.append(specials[part])
            first = False
            continue
        if part and json_file["normalizer"] == CLASSIC:
            part = SPACE + part.replace(" ", SPACE)
        if json_file["normalizer"] == COLLAPSE:
            part = regex.sub(" {2,}", " ", part)
        for section in cut(part, list(others)) if others else [part]:
            if section in others:
                ids.append(others[section])
            elif section:
                space = json_file["pre_tokenizer"]
                pieces = words(section, space["prepend_scheme"], space["split"], first) if space else [section]
                for word in pieces:
                    ids += likeliest(word, data) if "scores" in data else merge(word, data)
            first = first and not section
    return ids


def llama() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(os.path.join(OUT, "pieces", "merged.model"), os.path.join(folder, "tokenizer.model"))
        for name, value in {"tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": True},
                            "added_tokens.json": {"[PAD]": 1000, "<AC>": 1001}}.items():
            with open(os.path.join(folder, name), "w") as f:
                json.dump(value, f)
        transformers.LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            return json.load(f)


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    written = llama()
    with open(os.path.join(OUT, "llama.json"), "w", encoding="utf-8", newline="\n") as f:
        json.dump(written, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(OUT, "pieces", "likeliest.json")) as f:
        pieces = json.load(f)
    merges = {tuple(pair): rank for rank, pair in enumerate(written["model"]["merges"])}
    merged = {"vocab": written["model"]["vocab"], "ranks": merges}
    unigram = {"vocab": {piece: i for i, piece in enumerate(pieces["tokens"][:1000])}, "scores": pieces["scores"][:1000]}
    exact = [{**token, "normalized": False} for token in written["added_tokens"]]
    variants = {
        "as written": ("BPE", {}, merged),
        "a space at the start only": ("BPE", {"pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}}, merged),
        "no space in front": ("BPE", {"pre_tokenizer": {**METASPACE, "prepend_scheme": "never"},
                                      "decoder": {"type": "Sequence", "decoders": DECODERS}}, merged),
        "classic": ("BPE", {"normalizer": CLASSIC, "pre_tokenizer": None, "added_tokens": exact}, merged),
        "unigram": ("Unigram", {"normalizer": COLLAPSE, "pre_tokenizer": {**METASPACE, "split": True},
                                "decoder": {**METASPACE, "split": True}}, {**unigram, "byte_fallback": False}),
        "unigram with fallback": ("Unigram", {"pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}}, {**unigram, "byte_fallback": True}),
    }
    golden = {}
    for name, (model, patch, data) in variants.items():
        rows = [encode(text, {**written, **patch}, data) for text in texts(5)]
        golden[name] = {"model": model, "byte_fallback": data.get("byte_fallback", True), "patch": patch, **digest(rows),
                        "first": list(zip(texts(5, 8), rows))}
        # What the crate's own bindings make of the same file, as a check of this script.
        model_json = written["model"] if model == "BPE" else {"type": "Unigram", "unk_id": 0, "byte_fallback": data["byte_fallback"],
                                                              "vocab": [list(pair) for pair in zip(pieces["tokens"][:1000], pieces["scores"])]}
        bindings = tokenizers.Tokenizer.from_str(json.dumps({**written, **patch, "model": model_json}))
        for text, ids in zip(texts(5), rows):
            assert bindings.encode(text, add_special_tokens=False).ids == ids, (name, text)
    write("llama.golden.json", golden)


if __name__ == "__main__":
    main()
