"""Sentences from a caption generator: greedy search, beam search, and the likelihood of given sentences.

Written once for every generator: a generator continues a sentence word by word (``start``, ``step``), and reads a given
one (``read``). Its state is a mapping of tensors whose rows are sentences, so that a search may keep, repeat or drop
rows.

Beam search divides log probabilities by n^penalty, n the number of words with the end: with 1, their mean per word.
Legend: B pairs, K beams, L words, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

#: State of B sentences: tensors with B rows each.
State = Mapping[str, Tensor]


class Generator(Protocol):
    """Generates sentences about a memory.

    Attributes:
        begin: id of the word before the first.
        end: id of the word after the last.
        pad: id that fills a batch up; never generated.
    """

    begin: int
    end: int
    pad: int

    def start(self, memory: Tensor) -> State:
        """Return the state before the first word, one row per memory."""
        ...

    def step(self, state: State, ids_B: Tensor) -> tuple[Tensor, State]:
        """Read one more word of each sentence.

        Args:
            state: of B sentences.
            ids_B: (B,) int64, ``begin`` first.

        Returns:
            (B, V) float32 log probabilities of the next word, and the next state.
        """
        ...

    def read(self, state: State, ids_BL: Tensor) -> Tensor:
        """Return the log probabilities (B, L, V) of the next word after each word of given sentences.

        Args:
            state: of ``start``.
            ids_BL: (B, L) int64, ``begin`` first; padding stands at the end.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sentence:
    """One generated sentence.

    Attributes:
        ids: of its words, without begin and end.
        logp: log probability, end included.
        score: ``logp`` by the length penalty; larger is better.
    """

    ids: tuple[int, ...]
    logp: float
    score: float

    @property
    def mean(self) -> float:
        """Log probability per word, end included."""
        return self.logp / (len(self.ids) + 1)


def greedy(generator: Generator, memory: Tensor, *, most: int) -> list[Sentence]:
    """Take the most probable word at each step.

    Args:
        generator: in eval mode.
        memory: of B pairs.
        most: largest number of words; a sentence that reaches it is cut.

    Returns:
        One sentence per pair; its score is the plain log probability.
    """
    state = generator.start(memory)
    batch = len(memory)
    ids_B = torch.full((batch,), generator.begin, device=memory.device)
    total_B = torch.zeros(batch, device=memory.device)
    going_B = torch.ones(batch, dtype=torch.bool, device=memory.device)
    words: list[Tensor] = []
    for step in range(most + 1):
        logp_BV, state = generator.step(state, ids_B)
        best_B, ids_B = _allowed(generator, logp_BV, step, most).max(dim=1)
        total_B = torch.where(going_B, total_B + best_B, total_B)
        words.append(torch.where(going_B, ids_B, generator.pad))
        going_B = going_B & (ids_B != generator.end)
        if not going_B.any():
            break
    return [
        Sentence(_words(generator, row), logp, logp)
        for row, logp in zip(torch.stack(words, dim=1).tolist(), total_B.tolist(), strict=True)
    ]


def beam(generator: Generator, memory: Tensor, *, beams: int, most: int, penalty: float = 0.0) -> list[list[Sentence]]:
    """Keep the best ``beams`` sentences at each step.

    Ended sentences stay among them and compete by their score, which is divided by the length penalty.

    Args:
        generator: in eval mode.
        memory: of B pairs.
        beams: sentences kept per pair; 1 is greedy search.
        most: largest number of words; a sentence that reaches it must end.
        penalty: 0 compares log probabilities, 1 their means per word: larger values prefer longer sentences.

    Returns:
        Up to ``beams`` different sentences per pair, best first.
    """
    batch, device = len(memory), memory.device
    state = _rows(generator.start(memory), torch.arange(batch, device=device).repeat_interleave(beams))
    ids_BKL = torch.full((batch, beams, 1), generator.begin, device=device)
    total_BK = torch.full((batch, beams), -torch.inf, device=device)
    total_BK[:, 0] = 0  # all beams begin alike: the first one alone spreads
    going_BK = torch.ones((batch, beams), dtype=torch.bool, device=device)
    length_BK = torch.zeros((batch, beams), device=device)
    for step in range(most + 1):
        logp, state = generator.step(state, ids_BKL[:, :, -1].reshape(-1))
        logp_BKV = _allowed(generator, logp, step, most).view(batch, beams, -1)
        size = logp_BKV.shape[2]
        stay_V = torch.full((size,), -torch.inf, device=device)
        stay_V[generator.pad] = 0  # an ended sentence goes on with padding alone
        sums_BKV = total_BK[:, :, None] + torch.where(going_BK[:, :, None], logp_BKV, stay_V)
        longer_BK = length_BK + going_BK
        ranked_BKV = sums_BKV / (longer_BK**penalty)[:, :, None]
        place_BK = ranked_BKV.flatten(1).topk(beams, dim=1).indices
        from_BK, word_BK = place_BK // size, place_BK % size
        total_BK = sums_BKV.flatten(1).gather(1, place_BK)
        length_BK = longer_BK.gather(1, from_BK)
        going_BK = going_BK.gather(1, from_BK) & (word_BK != generator.end)
        kept = ids_BKL.gather(1, from_BK[:, :, None].expand(-1, -1, ids_BKL.shape[2]))
        ids_BKL = torch.cat([kept, word_BK[:, :, None]], dim=2)
        state = _rows(state, (from_BK + torch.arange(batch, device=device)[:, None] * beams).flatten())
        if not (going_BK & total_BK.isfinite()).any():
            break
    score_BK = total_BK / length_BK**penalty
    return [
        [
            Sentence(_words(generator, row), logp, score)
            for row, logp, score in zip(*own, strict=True)
            if logp > -math.inf
        ]
        for own in zip(ids_BKL[:, :, 1:].tolist(), total_BK.tolist(), score_BK.tolist(), strict=True)
    ]


def likelihood(generator: Generator, state: State, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log probability of given sentences.

    Args:
        generator: in eval mode.
        state: of ``start``, one row per sentence.
        ids_BL: (B, L) int64: begin, words, end, padding.

    Returns:
        Sum over words and end, (B,) float32, and their number, (B,) int64.
    """
    target_BL = ids_BL[:, 1:]
    counted_BL = counted(generator, ids_BL)
    logp_BLV = generator.read(state, ids_BL[:, :-1])
    found_BL = logp_BLV.gather(2, target_BL[:, :, None])[:, :, 0]
    return torch.where(counted_BL, found_BL, 0).sum(dim=1), counted_BL.sum(dim=1)


def counted(generator: Generator, ids_BL: Tensor) -> Tensor:
    """Return which words after the first count, (B, L - 1) bool: all up to the end, and it.

    Before the end the id of padding is a word, as CLIP's 0 is; in a sentence without end it is padding.
    """
    ended_BL = ids_BL == generator.end
    going_BL = (~ended_BL[:, :-1]).cumprod(dim=1).bool()
    return going_BL & (ended_BL.any(dim=1, keepdim=True) | (ids_BL[:, 1:] != generator.pad))


def _allowed(generator: Generator, logp_BV: Tensor, step: int, most: int) -> Tensor:
    """Forbid begin and padding, and the end before the first word; after the last word allow the end alone."""
    if step == most:
        only_BV = torch.full_like(logp_BV, -torch.inf)
        only_BV[:, generator.end] = logp_BV[:, generator.end]
        return only_BV
    barred = {generator.begin, generator.pad} - {generator.end} | ({generator.end} if step == 0 else set())
    allowed_BV = logp_BV.clone()
    allowed_BV[:, sorted(barred)] = -torch.inf
    return allowed_BV


def _rows(state: State, rows: Tensor) -> State:
    return {name: tensor[rows] for name, tensor in state.items()}


def _words(generator: Generator, row: list[int]) -> tuple[int, ...]:
    """Return the ids before the end."""
    return tuple(row[: row.index(generator.end)] if generator.end in row else row)
