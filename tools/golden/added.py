"""Ids of folders whose added tokens stand in tokenizer.json, in tokenizer_config.json or in added_tokens.json, as transformers reads them.

    python tools/golden/added.py            (after tokenizer.py, llama_json.py and pieces.py)

added.golden.json   for each folder: its vocabulary (`base`), the `added_tokens` of tokenizer.json, tokenizer_config.json, added_tokens.json,
                    and what parts.py stores of the ids of 2,000 texts; `extra` is the group of parts that these texts have besides

Versions 4.57 and 5 give the same ids: run the script with either.
"""

import json
import os
import shutil
import tempfile

import transformers

from parts import OUT, digest, parts, write

BASES = {"bytes": ("tiny.json", 4), "metaspace": ("llama.json", 3), "pieces": ("pieces/merged.model", 3)}
CLASSES = {"bytes": "PreTrainedTokenizerFast", "metaspace": "PreTrainedTokenizerFast", "pieces": "LlamaTokenizer"}
NAMES = {"bytes": {"bos_token": "<bos>", "eos_token": "<eos>"}, "metaspace": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
         "pieces": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "legacy": False}}
EXTRA = ["<tool>", "<left>", "<right>", "<word>", "<Norm>", "<norm>", "<tool", " <tool> ", "  <left>  ", "  <right>  ", " <word> ", "\u00e9<word>", "<word>\u0301", "_<word>",
         "<word>.", "<word><word>", "<tool><left> <right>", "<late>", "<other>", "in", " in", "<late> <other>", " ", "\n<right>\n", "<s>", "<eos>"]


def token(content: str, **flags) -> dict:
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


ALL = [token("<tool>", special=True), token("<left>", lstrip=True), token("<right>", rstrip=True, special=True), token("<word>", single_word=True),
       token("<Norm>", normalized=True)]


def texts(seed: int, count: int) -> list[str]:
    """As `texts` of parts.py, with the group EXTRA three times behind the others."""
    groups, state, made = parts() + 3 * [EXTRA], seed, []

    def draw(n: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % n

    for _ in range(count):
        text = ""
        for _ in range(draw(12) + 1):
            group = groups[draw(len(groups))]
            text += group[draw(len(group))]
        made.append(text)
    return made


def numbered(first: int, tokens: list[dict], step: int = 1) -> dict:
    return {str(first + step * i): t for i, t in enumerate(tokens)}


def listed(first: int, tokens: list[dict]) -> list[dict]:
    return [{"id": first + i, **t} for i, t in enumerate(tokens)]


def cases(base: str, size: int) -> dict:
    """Name: added tokens of tokenizer.json, more of tokenizer_config.json, added_tokens.json."""
    word = token("in", lstrip=True)  # of the vocabulary
    names = {"additional_special_tokens": ["<tool>", "<right>"], "pad_token": "<word>"}
    flagged = [token("<tool>", lstrip=True, rstrip=True), token("<late>", special=True)]
    found = {
        "none": ([], {}, None),
        "described": ([], {"added_tokens_decoder": numbered(size, [*ALL, word])}, None),
        "described with other ids": ([], {"added_tokens_decoder": numbered(size + 50, [*ALL[::-1], word], 3)}, None),
        "described in part": ([], {"added_tokens_decoder": {str(size): {"content": "<tool>"}, str(size + 1): {"content": "<left>", "special": True}}}, None),
        "in added_tokens.json": ([], {}, {t["content"]: size + i for i, t in enumerate(ALL)}),
        "in added_tokens.json, some named": ([], names, {t["content"]: size + 5 - i for i, t in enumerate(ALL)}),
        "described, and another in added_tokens.json": ([], {"added_tokens_decoder": numbered(size, ALL[:2])}, {"<late>": size + 2, "<tool>": size + 3}),
        "a word of the vocabulary is named": ([], {"pad_token": "in"}, None),
        "described and named": ([], {"added_tokens_decoder": numbered(size, ALL[:3]), "pad_token": {"__type": "AddedToken", "content": "<left>", "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}}, None),
    }
    if base != "pieces":
        found |= {
            "in tokenizer.json": (listed(size, ALL), {}, None),
            "in tokenizer.json, described otherwise": (listed(size, ALL), {"added_tokens_decoder": numbered(size, flagged)}, None),
            "in tokenizer.json and described alike": (listed(size, ALL), {"added_tokens_decoder": numbered(size, ALL)}, None),
            "in all three": (listed(size, ALL[:3]), {"added_tokens_decoder": numbered(size + 1, flagged)}, {"<other>": size + 4}),
            "in tokenizer.json and added_tokens.json": (listed(size, ALL[:3]), names, {"<late>": size, "<other>": size + 7, "<tool>": size + 3}),
        }
    return found


def folder(base: str, added: list, config: dict, later: dict | None) -> str:
    made = tempfile.mkdtemp()
    name, keep = BASES[base]
    if base == "pieces":
        shutil.copy(os.path.join(OUT, name), os.path.join(made, "tokenizer.model"))
    else:
        with open(os.path.join(OUT, name), encoding="utf-8") as f:
            data = json.load(f)
        data["added_tokens"] = data["added_tokens"][:keep] + added
        with open(os.path.join(made, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(data, f)
    for file, content in [("tokenizer_config.json", config), ("added_tokens.json", later), ("config.json", {"model_type": "llama"})]:
        if content is not None:
            with open(os.path.join(made, file), "w", encoding="utf-8") as f:
                json.dump(content, f)
    return made


def main() -> None:
    drawn = texts(17, 2000)
    golden = {}
    for base in BASES:
        with open(os.path.join(OUT, "llama.json" if base == "pieces" else BASES[base][0]), encoding="utf-8") as f:
            size = len(json.load(f)["model"]["vocab"])
        for name, (added, config, later) in cases(base, size).items():
            config = {"tokenizer_class": CLASSES[base], **NAMES[base], **config}
            made = folder(base, added, config, later)
            tokenizer = transformers.AutoTokenizer.from_pretrained(made)
            rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in drawn]
            shutil.rmtree(made)
            golden[f"{base}: {name}"] = {"base": base, "added": added, "config": config, "later": later, **digest(rows), "first": list(zip(drawn, rows))[:8]}
    print(transformers.__version__, len(golden), "folders")
    write("added.golden.json", {"extra": EXTRA, "folders": golden})


if __name__ == "__main__":
    main()
