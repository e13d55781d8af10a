"""How far a computed score can be from the score that is returned: the proof that exact search misses nothing.

Exact search computes cheap scores of all rows, keeps the rows that may be among the k best, and settles those
(``_score``). It misses nothing if the bounds below hold. They hold for every order of summation, with and without
fused multiply-add, with gradual underflow and with flush to zero; so they depend on no kernel, thread or processor.

**Model** (Higham 2002, sections 2.2, 3.1 and 3.5). u = UNIT is the rounding unit of float32 and v = 2^-53 that of
float64. An operation returns the exact result times 1 + delta, |delta| <= u; a product or quotient below FLUSH is off
by at most FLUSH besides, and an input below FLUSH may be read as zero. A fused multiply-add rounds once where this
model rounds twice. A product of d numbers, summed in any order, is therefore off by

    |fl(x.y) - x.y|  <=  gamma(d) |x| |y|  +  faint(d, |x|, |y|),        gamma(d) = d u / (1 - d u),

since sum |x_i y_i| <= |x| |y| (Cauchy and Schwarz). faint counts FLUSH once per product, once per addition and once
per input, each carried through at most d additions that make it at most twice as large.

**Settled scores.** s is the exact score of a row, M is |q| |x| for dot, 1 for cosine, and (|q| + |x|)^2 for l2, all
at least |s|. The sum of ``_score`` is a tree of at most 17 levels (dim <= 2^17), each addition rounds by v, and at
most 6 operations come before and after; so the settled score is off by (17 + 6) v M and one rounding to float32:

    |settled - s|  <=  u |s| + 2^-46 M + 2^-149.                                                          (1)

**Float32 products** (``_topk``, and candidates in ``_scan``). By (1), what a product p may be off from the settled
score is at most E = gamma(d + 8) M + faint: 8 extra roundings stand for (1) and for the following, u each. Under dot
there is nothing else. Under cosine the query is rounded to float32, and the length of the row, its reciprocal and the
last product are rounded. Under l2, p is 2 q.x - |x|^2, where the squared length of a row is off by 3 u |x|^2, and three
operations join the parts; E is taken twice. Under cosine faint is divided by |x|, which is nothing where
|x| >= FAINT; shorter rows are multiplied in float64.

If p_i < p_k - 2 E for the k-th largest product p_k, then settled_i <= p_i + E < p_k - E <= settled of k rows: row i is
no answer, and no tie of one. So rows within 2 E are kept, and nothing else has to be.

**The compact copy** (``_compact``, ``_query``). A row is x = m + s c + r: centre m and scale s are float32 numbers, c
has one byte per dimension, r is the rest. It was computed in float32: t = fl(x - m), n = fl(s c), D = fl|t - n|.

- Under cosine, x stands for fl(x / fl|x|), which is off by 2 u; own = 1 then, else 0.
- |t - (x - m)| <= u |x - m| + 2.1 u own, where |x - m| <= |r| + |s c|.
- |n - s c| <= u |s c|: no underflow, as s >= 1e-30.
- |fl(t - n)| is at most (1 + gamma(d)) D + haze(d); squares below FLUSH are lost, which a norm feels as
  sqrt(d FLUSH), and haze is four times that.

Added up, |r| <= (1 + gamma(d)) D + haze + 3.1 u (D + |s c| + own). The copy allows 8 u instead of 3.1 u; the other
4.9 u pay for (1) below. The longest s c of a segment ("reach") is bounded in the same way.

A query is p = step * b + e with whole numbers b and rest e (p is the query, for l2 twice its distance from m):

    p.(x - m) = s step c.b + s c.e + p.r,    |s c.e| <= reach |e|,    |p.r| <= |p| |r|.

c.b is a sum of integers in 32 bits and exact (``_query.multiplies_exactly`` tests the processor). Scores are

    dot, cosine:  s = p.m + p.(x - m)        l2:  s = -|q - m|^2 + p.(x - m) - |x - m|^2,

and the remaining errors are: p.m and |q - m|^2 in float64, less than 2^-32 |p| |m| and 2^-32 |q - m|^2; the stored
|t|^2, 2.1 u |x - m|^2; float64 arithmetic on all parts, 8 v times their sizes; and (1), where |s| is at most the sum of
the sizes of its parts. The weights of ``_query.Asked.share`` cover them: 2^-22 |base| + 2^-32 |p| |m| + 2^-148 for the
first part, |r| |p| + reach (|e| + 2^-30 |p|) for the second (with 4 u |p| (|r| + reach) of the 4.9 u above), and
2^-21 |x - m|^2 = 8 u |x - m|^2 for the third.

Thresholds for integer products are one too low, and compared values are off by 8 v of the parts, which is less than
half of each weight; so a row that is dropped scores lower than the k rows that the threshold rests on.

Where rows and queries are whole numbers of one byte, r = e = 0, float64 holds every part exactly, and only u |s| is
left. Whether rows are such numbers is decided on the rows themselves: -4e-6 is no whole number, though -4e-6 - 128 is
one in float32.

**Lone queries** (``_lone``). The library sums float32 products of whole numbers, off by gamma(width) times their
norms. Under dot and cosine the bound is as above. Under l2 the triangle inequality gives
| |x - q| - s |c - b| | <= |r| + |e|, and the sum of squares, all of one sign, is off by gamma(width) of itself.
``below`` turns a settled score into a threshold for exact scores: what scores less than it settles lower, by (1).
"""

from math import sqrt

import numpy as np

#: Rounding unit of float32: half the distance from 1 to the next number.
UNIT = 2.0**-24
#: Smallest normal number of float32; below it products may lose digits, or be flushed to zero.
FLUSH = 2.0**-126
#: Vectors shorter than this are compared in float64 under cosine.
FAINT = 2.0**-60


def gamma(terms: int) -> float:
    """Bound the relative error of so many roundings in float32; terms is less than 2^23.

    >>> gamma(1) >= UNIT
    True
    """
    return terms * UNIT / (1 - terms * UNIT)


def faint(terms: int) -> float:
    """Bound what underflow takes from a product of vectors of so many numbers, per 1 + |x| + |y|."""
    return 4 * terms * FLUSH


def haze(terms: int) -> float:
    """Bound what underflow takes from the length of a vector of so many numbers."""
    return 4 * sqrt(terms * FLUSH)


def below(score: np.float32) -> float:
    """Return a threshold: a row whose exact score is less than it settles lower than this settled score."""
    return float(score) - abs(float(score)) * 2.0**-22 - 2.0**-148
