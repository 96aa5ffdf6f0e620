"""How much of the held-out text stands word for word in the training text: pieces of 64 characters that begin at words, by register."""

import collections
import json

from corpus import ADAPT

LENGTH = 64


def pieces(text: str):
    for at in range(len(text) - LENGTH + 1):
        if at == 0 or text[at - 1].isspace():
            yield text[at:at + LENGTH]


def main() -> None:
    train, heldout = (json.loads((ADAPT / f"{part}.json").read_text(encoding="utf-8")) for part in ("train", "heldout"))
    seen = {hash(piece) for _, text in train for piece in pieces(text)}
    found, count = collections.Counter(), collections.Counter()
    for name, text in heldout:
        register = name.split(" ")[0]
        for piece in pieces(text):
            count[register] += 1
            found[register] += hash(piece) in seen
    for register in count:
        print(f"{register}: {100 * found[register] / count[register]:.2f} % of {count[register]} pieces")


if __name__ == "__main__":
    main()
