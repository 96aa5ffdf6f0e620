"""Golden data for tests/dequantize.rs: random blocks and what the `gguf` package makes of them.

Run: python tools/golden/dequant.py (needs `pip install gguf numpy`; written with gguf 0.19.0, numpy 2.4.6).

One file per type, tests/data/dequant/NAME.bin (and NAME.enc.bin for the way back): a little-endian u32 with the number of stored bytes, these
bytes, then one little-endian f32 per weight. The stored bytes are random, after blocks of equal bytes (all bits
set among them); scales are random f16 of every magnitude, after a list of extreme ones. No NaN: its bits are the processor's choice. F32, F16 and BF16 hold
infinities, which must pass unchanged; scales do not, since infinity times zero is NaN.
"""

from pathlib import Path

import gguf
import numpy as np

SMALL = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"]
# Type: f16 numbers before, random bytes, f16 numbers after them.
LAYOUT = {"Q8_0": (1, 32, 0), "Q4_0": (1, 16, 0), "Q4_1": (2, 16, 0), "Q5_0": (1, 20, 0), "Q5_1": (2, 20, 0), "IQ4_NL": (1, 16, 0),
          "Q2_K": (0, 80, 2), "Q3_K": (0, 108, 1), "Q4_K": (2, 140, 0), "Q5_K": (2, 172, 0), "Q6_K": (0, 208, 1)}
OUT = Path(__file__).parents[2] / "tests" / "data" / "dequant"
# Zeros, subnormals (least, greatest), least normal, one, the largest, and their negatives.
EXTREME = np.array([0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0x8000, 0x8001, 0x83FF, 0x8400, 0xBC00, 0xFBFF], np.uint16)


def halves(rng, n, extreme):
    """n finite f16 as bits, the given ones first."""
    bits = rng.integers(0, 1 << 16, 4 * n, dtype=np.uint16)
    bits = bits[(bits & 0x7C00) != 0x7C00]
    return np.concatenate([extreme, bits])[:n]


def blocks(rng, name):
    """Stored bytes of one type, (rows, bytes)."""
    if name == "F32":
        bits = rng.integers(0, 1 << 32, 2048, dtype=np.uint32)
        bits = bits[(bits & 0x7F800000) != 0x7F800000]
        special = np.array([0, 1 << 31, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000], np.uint32)
        return np.concatenate([special, bits])[:1024].view(np.uint8).reshape(1, -1)
    if name in ("F16", "BF16"):
        exponent, mantissa = (0x7C00, 0x03FF) if name == "F16" else (0x7F80, 0x007F)
        bits = np.arange(0, 1 << 16, 11, dtype=np.uint16)
        bits = np.concatenate([EXTREME, np.array([exponent, 0x8000 | exponent], np.uint16), bits])
        return bits[((bits & exponent) != exponent) | ((bits & mantissa) == 0)].view(np.uint8).reshape(1, -1)
    before, quants, after = LAYOUT[name]
    count = 192 if name in SMALL else 64
    quants = rng.integers(0, 256, (count, quants), dtype=np.uint8)
    quants[:48] = np.tile(np.array([[0x00], [0xFF], [0x7F], [0x80]], np.uint8), (12, 1))  # every pattern under every extreme scale
    scale = halves(rng, count, np.repeat(EXTREME, 4)).view(np.uint8).reshape(count, 2)
    other = halves(rng, count, np.roll(np.repeat(EXTREME, 4), 20)).view(np.uint8).reshape(count, 2)
    halves_of = lambda n: [scale, other][:n]
    return np.concatenate([*halves_of(before), quants, *halves_of(after)], axis=1)


def quantised(rng):
    """Weights and what gguf.quantize makes of them: NAME.enc.bin, the number of weights, the weights, the bytes."""
    magnitudes = 10.0 ** rng.uniform(-9, 4, (128, 1))
    weights = (rng.standard_normal((128, 32)) * magnitudes).astype(np.float32)
    weights[0] = 0
    weights[1] = -0.0
    weights[2] = np.float32(-3.25)  # all equal
    weights[3, ::2] *= 0  # zeros of both signs
    weights[4] = np.arange(-16, 16) / 2  # ties of rounding
    weights[5] = np.arange(32) - 127  # the farthest is negative
    weights[6] = np.where(np.arange(32) == 9, 7, np.where(np.arange(32) == 20, -7, 0.5))  # two farthest, of either sign
    weights[7] = 65504 * 7.9 * rng.uniform(-1, 1, 32)  # near the largest scale of Q4_0
    weights[8] = 2.0 ** -120 * rng.uniform(-1, 1, 32) * 127  # a scale that is zero as an f16, its inverse still finite
    for name in ["Q8_0", "Q4_0", "BF16"]:
        stored = gguf.quantize(weights, gguf.GGMLQuantizationType[name])
        data = np.array([weights.size], "<u4").tobytes() + weights.astype("<f4").tobytes() + stored.tobytes()
        (OUT / f"{name}.enc.bin").write_bytes(data)
        print(name, weights.size, "weights quantised", len(data), "bytes")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    for name in ["F32", "F16", "BF16", *LAYOUT]:
        stored = blocks(rng, name)
        kind = gguf.GGMLQuantizationType[name]
        if name == "F32":
            weights = stored.view(np.float32)
        else:
            weights = gguf.dequantize(stored.view(np.float16) if name == "F16" else stored, kind)
        weights = np.ascontiguousarray(weights, np.float32).reshape(-1)
        assert not np.isnan(weights).any(), name
        data = np.array([stored.size], "<u4").tobytes() + stored.tobytes() + weights.astype("<f4").tobytes()
        (OUT / f"{name}.bin").write_bytes(data)
        print(name, len(weights), "weights", len(data), "bytes")
    quantised(rng)


main()
