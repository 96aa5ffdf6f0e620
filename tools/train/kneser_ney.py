"""A 5-gram model with modified Kneser-Ney smoothing, interpolated, over the ids of the training text: what counting alone gives.

Five ids of 12 bits are one integer, so an order is a sorted array of distinct n-grams with counts.
"""

import numpy

ORDER, BITS = 5, 12


def pack(ids: numpy.ndarray, n: int) -> numpy.ndarray:
    """The n-gram that ends at each of the positions n - 1, n, ..."""
    codes = numpy.zeros(len(ids) - n + 1, dtype=numpy.uint64)
    for i in range(n):
        codes = codes << numpy.uint64(BITS) | ids[i:len(ids) - n + 1 + i].astype(numpy.uint64)
    return codes


class Counts:
    """One order: distinct n-grams, and by context (all but the last id) the total and how many of each discount."""

    def __init__(self, codes: numpy.ndarray, counts: numpy.ndarray):
        self.codes, self.counts = codes, counts
        ones, twos, threes, fours = (max(1, int((counts == c).sum())) for c in (1, 2, 3, 4))
        y = ones / (ones + 2 * twos)
        self.discounts = numpy.array([0, 1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes])
        discount = self.discounts[numpy.minimum(counts, 3)]
        self.contexts, inverse = numpy.unique(codes >> numpy.uint64(BITS), return_inverse=True)
        self.totals = numpy.bincount(inverse, weights=counts)
        self.discounted = numpy.bincount(inverse, weights=discount)

    def interpolate(self, codes: numpy.ndarray, lower: numpy.ndarray) -> numpy.ndarray:
        """Probabilities of the n-grams, given those of the order below."""
        count = lookup(self.codes, self.counts, codes)
        discount = self.discounts[numpy.minimum(count, 3).astype(int)]
        context = codes >> numpy.uint64(BITS)
        total = lookup(self.contexts, self.totals, context)
        back = lookup(self.contexts, self.discounted, context)
        seen = total > 0
        safe = numpy.where(seen, total, 1)
        return numpy.where(seen, (count - discount + back * lower) / safe, lower)


def lookup(keys: numpy.ndarray, values: numpy.ndarray, wanted: numpy.ndarray) -> numpy.ndarray:
    at = numpy.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return numpy.where(keys[at] == wanted, values[at], 0)


class KneserNey:
    def __init__(self, ids: numpy.ndarray, vocab: int):
        self.vocab, self.orders = vocab, []
        codes, counts = numpy.unique(pack(ids, ORDER), return_counts=True)
        self.orders.append(Counts(codes, counts))
        for n in range(ORDER - 1, 0, -1):
            # The lower orders count in how many contexts an n-gram occurs, not how often.
            codes, counts = numpy.unique(codes & numpy.uint64((1 << BITS * n) - 1), return_counts=True)
            self.orders.append(Counts(codes, counts))
        self.orders.reverse()

    def losses(self, ids: numpy.ndarray) -> numpy.ndarray:
        """Nats of each id but the first, in one window."""
        chance = numpy.full(len(ids), 1 / self.vocab)
        for n, order in enumerate(self.orders, start=1):
            chance[n - 1:] = order.interpolate(pack(ids, n), chance[n - 1:])
        return -numpy.log(chance[1:])
