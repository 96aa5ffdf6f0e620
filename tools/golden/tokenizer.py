"""Writes the tokenizer goldens of tests/data/tokenizer from the HuggingFace reference.

    python tools/golden/tokenizer.py PATH/TO/SmolLM2-135M-Instruct.Q4_1.gguf

Needs `tokenizers`, `transformers` and `gguf`; the versions used are written into the files. Everything is generated
from fixed seeds, so a second run with the same versions writes the same bytes.

smollm2.json      ids, decoded texts and chat prompts of SmolLM2. transformers 5 builds the pre-tokenizer of a GGUF
                  without the split of single digits; it is put back here, which gives llama.cpp's ids.
tiny.json         a byte-level BPE of 512 entries trained on generated text; tiny.golden.json holds its ids, plain and
                  with other components patched in (each patch replaces top-level fields of the file).
spm.json          a character-level BPE with byte fallback in the manner of Llama 2; spm.golden.json holds its ids.
"""

import hashlib
import json
import os
import random
import sys

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "data", "tokenizer")
VERSIONS = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

WORDS = {
    "latin": "the of anchor sea rope ship a small harbour wind naïve café façade Übermut señor Žižek łódź Ærø".split(),
    "cyrillic": "якорь корабль ветер море слово Ёлка".split(),
    "greek": "άγκυρα θάλασσα πλοίο λόγος".split(),
    "cjk": "锚 海洋 船 風 日本語 カタカナ ひらがな 한국어 닻".split(),
    "arabic": "مرساة بحر سفينة".split(),
    "hebrew": "עוגן ים ספינה".split(),
    "devanagari": "लंगर समुद्र हिन्दी".split(),
    "thai": "สมอเรือ ทะเล".split(),
    "emoji": ["⚓", "🚢", "👩‍🚀", "👨‍👩‍👧‍👦", "🏴‍☠️", "🇩🇪", "👍🏽", "❤️", "🫠"],
    "combining": ["e\u0301", "n\u0303o", "Z\u0351\u036b", "\u1100\u1161\u11a8", "ﬁ", "Å", "\u212b"],
    "symbols": ["∑", "≠", "→", "€", "£", "©", "™", "…", "—", "“q”", "‘s’", "«»", "\ufffd", "\ufeff", "\u200b", "\u00ad"],
    "contraction": "don't I'm we'll they're I've he'd it's DON'T I'M IT'S rock'n'roll 'tis ''s 's 'S 'll".split(),
    "code": ["fn main() {", "x += 1;", "def f(a, b=2):", "if (a && b) {", "</div>", "#include <stdio.h>", "a->b", "λx.x",
             "SELECT * FROM t;", "\\n\\t", "0xFF", "1e-5", "foo_bar", "CamelCase", "//", "/* */", "${HOME}", "@decor"],
    "number": ["0", "7", "12", "123", "2018-01-22", "3.14", "1,000,000", "½", "²", "Ⅷ", "٣", "१२", "１２", "①", "12th", "a1b2", "v0.23"],
    "url": ["https://example.org/a?b=c&d=1#e", "mail@example.org", "C:\\temp\\x.txt", "/usr/lib"],
}
SPACES = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", " \t ", "\r\n", "\u00a0", "\u3000", "\u2003", "        ", " \n ", ""]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<jupyter_code>",
            "<|im_start", "|im_end|>", "<|IM_START|>", "< |im_end|>", "<<|im_end|>>", "<|im_end|><|im_start|>"]
CONTROLS = [chr(c) for c in list(range(0x20)) + [0x7F, 0x80, 0x85, 0x9F, 0x2028, 0x2029, 0xE000, 0xFFFE, 0x10FFFF, 0x40000, 0x1F600]]
# Templates of our own that use what published ones use: white space control, slices, namespaces, macros, Python's
# string methods, loop controls, exceptions. Rendered by transformers as they are here.
TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n[U] {{ m.content.strip() }} [/U]\n    {% else %}\n"
    " {{ m['content'] | trim }}{{ eos_token }}\n    {% endif %}\n{% endfor %}\n",
    "{%- if messages[0]['role'] == 'system' -%}{%- set rest = messages[1:] -%}{%- set system = messages[0]['content'] -%}"
    "{%- else -%}{%- set rest = messages -%}{%- endif -%}{%- for m in rest -%}"
    "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must alternate') }}{%- endif -%}"
    "{%- if loop.first and system is defined %}{{ '<<' ~ system ~ '>>' }}{% endif %}{{ loop.index }}:{{ m.content }}|{%- endfor -%}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn: ' + messages[0].role) }}{% endif %}{{ messages | length }}",
    "{% set ns = namespace(n=0, last='') %}{% for m in messages %}{% set ns.n = ns.n + m.content | length %}{% set ns.last = m.role %}{% endfor %}"
    "{{ ns.n }} {{ ns.last.upper() }} {{ messages[-1].content.split()[0] if messages[-1].content.split() else 'none' }}",
    "{%- macro turn(m) -%}<{{ m.role | capitalize }}>{{ m.content.replace('a', 'A') }}{%- endmacro -%}"
    "{% for m in messages %}{% if m.content.startswith('B') %}{% continue %}{% endif %}{{ turn(m) }}{% if loop.last %}!{% endif %}{% endfor %}"
    "{{ 'assistant:' if add_generation_prompt else '' }}",
    "{{ messages | map(attribute='role') | join(',') }} {{ tools is none }} {{ undefined_thing is defined }} {{ messages | tojson }} {{ [1, 2.5, true, none, 'é<'] | tojson }}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ m.content.rstrip() }};{% endfor %}{{ messages | rejectattr('role', 'equalto', 'user') | list | length }}"
    "{#- a comment -#}\n\n",
]


def strings(seed: int, count: int) -> list[str]:
    """`count` different texts: named traps first, then random mixtures."""
    rng = random.Random(seed)
    out = ["", " ", "  ", "\n", "\t", "a  2", "½ ² 12", " 2", "  2", "2  2", "x 2\n 3", "a   b", "1 2 3", "The capital of France is",
           "Once upon a time there was a little girl who", ".", " .", '."', "...", "\n\n\n", " " * 100, "\t" * 33, "\n" * 70, "a" * 300, "é" * 50,
           "⚓" * 20, "1" * 64, "= " * 40, "-" * 200, "can't", "CAN'T", "can’t", "end. Next", "end.\nNext", "e\u0301", "\u0301", "\u200d", "\ufeffbom"]
    out += CONTROLS + [f"a{c}b" for c in CONTROLS] + SPECIALS + [f"x{s} y" for s in SPECIALS]
    out += [w for group in WORDS.values() for w in group]
    # Blocks of scripts whose letters have long been assigned: the reference and the library need not share one Unicode version.
    blocks = [(0x20, 0x7E), (0xA1, 0x24F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A), (0x905, 0x939),
              (0xE01, 0xE2E), (0x3041, 0x3096), (0x4E00, 0x9F00), (0xAC00, 0xD7A3), (0x1F600, 0x1F64F), (0x2190, 0x22FF), (0x2150, 0x218B)]
    seen = set(out)
    out = sorted(seen, key=out.index)
    while len(out) < count:
        kind = rng.randrange(6)
        if kind == 0:
            lo, hi = rng.choice(blocks)
            text = "".join(chr(rng.randint(lo, hi)) for _ in range(rng.randint(1, 24)))
        elif kind == 1:
            text = "".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(rng.randint(1, 20)))
        elif kind == 2:
            text = "".join(rng.choice("ab 12.\n\t'") for _ in range(rng.randint(1, 40)))
        elif kind == 3:
            text = "".join(rng.choice(SPACES) + rng.choice(WORDS["number"]) for _ in range(rng.randint(1, 9)))
        else:
            groups = rng.sample(sorted(WORDS), 3)
            text = ""
            for _ in range(rng.randint(1, 14)):
                text += rng.choice(WORDS[rng.choice(groups)]) + rng.choice(SPACES)
                if rng.random() < 0.05:
                    text += rng.choice(SPECIALS + CONTROLS)
        if text not in seen:
            seen.add(text)
            out.append(text)
    return out


def write(name: str, value) -> None:
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="ascii", newline="\n") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")
    print(name, os.path.getsize(path), "bytes")


def encode(tok: Tokenizer, texts: list[str], add_special: bool = False):
    return [[t, tok.encode(t, add_special_tokens=add_special).ids] for t in texts]


def decode(tok: Tokenizer, seed: int, count: int):
    """Random id sequences, which seldom are valid UTF-8: [ids, text, text without special tokens]."""
    rng = random.Random(seed)
    size = tok.get_vocab_size()
    rows = []
    for _ in range(count):
        low = size if rng.random() < 0.5 else min(size, 300)  # the single bytes lie at the front
        ids = [rng.randrange(low) for _ in range(rng.randint(1, 12))]
        rows.append([ids, tok.decode(ids, skip_special_tokens=False), tok.decode(ids, skip_special_tokens=True)])
    return rows


def smollm2(gguf_path: str) -> None:
    folder, name = os.path.split(os.path.abspath(gguf_path))
    hf = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    patched = json.loads(hf.backend_tokenizer.to_str())
    patched["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
    patched["post_processor"] = None
    tok = Tokenizer.from_str(json.dumps(patched))
    assert tok.encode("The capital of France is").ids == [504, 3575, 282, 4649, 314]
    chats = [
        [{"role": "user", "content": "Hello"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2  + 2?"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n"}, {"role": "user", "content": " c "}],
        [{"role": "user", "content": "<b>\"quoted\" & {{ not a template }} {% x %}</b>\n\n"}],
        [{"role": "user", "content": "⚓ é \u0000"}, {"role": "assistant", "content": ""}],
        [{"role": "system", "content": ""}],
    ]
    chat = [[m, g, hf.apply_chat_template(m, tokenize=False, add_generation_prompt=g)] for m in chats for g in (False, True)]
    templates = []
    for source in TEMPLATES:
        for m in chats[:4]:
            for g in (False, True):
                try:
                    text = hf.apply_chat_template(m, chat_template=source, tokenize=False, add_generation_prompt=g)
                except jinja2.TemplateError:
                    text = None
                templates.append([source, m, g, text])
    with open(gguf_path, "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    write("smollm2.json", {"versions": VERSIONS, "gguf_sha256": digest, "encode": encode(tok, strings(2, 1500)),
                           "decode": decode(tok, 3, 300), "chat_template": hf.chat_template, "chat": chat, "templates": templates})


def corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    words = [w for group in ("latin", "latin", "cyrillic", "cjk", "emoji", "contraction", "number", "code") for w in WORDS[group]]
    return ["".join(rng.choice(words) + rng.choice(SPACES) for _ in range(20)) for _ in range(400)]


def tiny() -> None:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(corpus(4), trainers.BpeTrainer(
        vocab_size=510, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        special_tokens=["<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]))
    tok.add_tokens([AddedToken("added  ", normalized=False), AddedToken("<mask>", lstrip=True, special=True),
                    AddedToken("<r>", rstrip=True, special=True), AddedToken("Norm Tok", normalized=True)])
    tok.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", pair="<bos> $A $B <eos>",
                                                       special_tokens=[("<bos>", 0), ("<eos>", 1)])
    plain = json.loads(tok.to_str())
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    full_level = {**byte_level, "use_regex": True}

    def split(pattern, behavior="Isolated", invert=False):
        return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}

    def sequence(*parts):
        return {"type": "Sequence", "pretokenizers": list(parts)}

    template = plain["post_processor"]
    patches = [
        {},
        {"pre_tokenizer": sequence(split({"Regex": LLAMA3}), byte_level), "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template]}},
        {"pre_tokenizer": sequence(split({"Regex": QWEN2}), byte_level), "normalizer": {"type": "NFC"}, "post_processor": None},
        {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, full_level)},
        {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, {"type": "Punctuation", "behavior": "Contiguous"}, full_level)},
        {"pre_tokenizer": {**full_level, "add_prefix_space": True}, "post_processor":
            {"type": "RobertaProcessing", "sep": ["<eos>", 1], "cls": ["<bos>", 0], "trim_offsets": True, "add_prefix_space": True}},
        {"pre_tokenizer": sequence(split({"String": " "}, "MergedWithNext"), split({"String": "."}, "MergedWithPrevious"), byte_level),
         "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
         "post_processor": {"type": "BertProcessing", "sep": ["<eos>", 1], "cls": ["<bos>", 0]}},
        {"pre_tokenizer": sequence(split({"Regex": LLAMA3}, "Removed", True), byte_level)},
        {"pre_tokenizer": sequence(split({"Regex": GPT2}), {"type": "Punctuation"}, byte_level)},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFKD"}, {"type": "Prepend", "prepend": "_"},
                        {"type": "Replace", "pattern": {"String": "e"}, "content": "E"}]}},
    ]
    texts = ["a <mask> b", "a   <mask>  b", "added  x", "xadded   ", "<bos>a<eos>", "<mask> <mask>", "<r>  <r> b", "<r>   <mask>",
             "Norm Tok", "norm tok", " NORM TOKen"] + strings(5, 300)
    variants = []
    for i, patch in enumerate(patches):
        t = Tokenizer.from_str(json.dumps({**plain, **patch}))
        variants.append({"patch": patch, "encode": encode(t, texts if i == 0 else texts[:11] + texts[11::3], add_special=True)})
    with open(os.path.join(OUT, "tiny.json"), "w", encoding="utf-8", newline="\n") as f:
        json.dump(plain, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    write("tiny.golden.json", {"versions": VERSIONS, "variants": variants, "decode": decode(tok, 6, 200)})


def spm() -> None:
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.train_from_iterator(corpus(7), trainers.BpeTrainer(
        vocab_size=700, limit_alphabet=90, show_progress=False, max_token_length=12,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    data = json.loads(tok.to_str())
    # Only the three control tokens are special: the byte tokens belong to the model alone, as in Llama 2.
    data["added_tokens"] = data["added_tokens"][:3]
    data["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                              "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                              "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    patches = [
        {},
        {"normalizer": None, "pre_tokenizer": metaspace},
        {"normalizer": None, "pre_tokenizer": {**metaspace, "prepend_scheme": "always", "split": True}},
        {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}},
        {"normalizer": None, "pre_tokenizer": {**metaspace, "prepend_scheme": "never"},
         "decoder": {"type": "Sequence", "decoders": data["decoder"]["decoders"][:3]}},
    ]
    texts = ["a<s> b", "<s>a b", "a</s>", "  a  b "] + strings(8, 260)
    variants = []
    for i, patch in enumerate(patches):
        t = Tokenizer.from_str(json.dumps({**data, **patch}))
        rows = encode(t, texts if i == 0 else texts[:4] + texts[4::3], add_special=True)
        variants.append({"patch": patch, "encode": [[*row, t.decode(row[1])] for row in rows]})
    with open(os.path.join(OUT, "spm.json"), "w", encoding="utf-8", newline="\n") as f:
        json.dump(data, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    write("spm.golden.json", {"versions": VERSIONS, "variants": variants})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.makedirs(OUT, exist_ok=True)
    tiny()
    spm()
    smollm2(sys.argv[1])
