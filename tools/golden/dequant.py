"""Golden data for tests/dequantize.rs: random blocks and what the `gguf` package makes of them.

Run: python tools/golden/dequant.py (needs `pip install gguf numpy`; written with gguf 0.19.0, numpy 2.4.6).

One file per type, tests/data/dequant/NAME.bin: a little-endian u32 with the number of stored bytes, these
bytes, then one little-endian f32 per weight. The stored bytes are random; scales are random f16 of every
magnitude, after a list of extreme ones. No NaN: its bits are the processor's choice. F32, F16 and BF16 hold
infinities, which must pass unchanged; scales do not, since infinity times zero is NaN.
"""

from pathlib import Path

import gguf
import numpy as np

BLOCKS = 192
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
    quants = rng.integers(0, 256, (BLOCKS, 32 if name == "Q8_0" else 16), dtype=np.uint8)
    quants[:4] = np.array([[0x00], [0xFF], [0x7F], [0x80]], np.uint8)
    scale = halves(rng, BLOCKS, np.repeat(EXTREME, 4)).view(np.uint8).reshape(BLOCKS, 2)
    if name != "Q4_1":
        return np.concatenate([scale, quants], axis=1)
    minimum = halves(rng, BLOCKS, np.tile(EXTREME, 4)).view(np.uint8).reshape(BLOCKS, 2)
    return np.concatenate([scale, minimum, quants], axis=1)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]:
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


main()
