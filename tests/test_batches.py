"""The plan of micro-batches: everything is seen, shapes are few, and a number alone says what comes."""

from collections import Counter

import numpy as np
import pytest

from bitjets_mlx.data.prepared import Clip
from bitjets_mlx.training.acoustic_data import balanced
from bitjets_mlx.training.batches import BatchPlan, pad, padded_shape
from bitjets_mlx.training.shards import seeds_for

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.integers(40, 900, 203)
TOKENS = FRAMES // 7 + RANDOM.integers(0, 10, 203)


def plan(size: int = 8, seed: int = 0) -> BatchPlan:
    return BatchPlan(FRAMES, TOKENS, size, seed)


def test_every_clip_is_seen_in_every_epoch_and_hardly_any_twice() -> None:
    made = plan()
    for epoch in range(2):
        numbers = range(epoch * made.per_epoch, (epoch + 1) * made.per_epoch)
        seen = Counter(clip for number in numbers for clip in made[number].clips)
        assert set(seen) == set(range(203))
        assert sum(seen.values()) - 203 <= len(made.buckets) * 7  # buckets are filled up to whole micro-batches


def test_shapes_are_few_fit_and_waste_little() -> None:
    made = plan()
    shapes, padded, used = set(), 0, 0
    for number in range(made.per_epoch):
        micro = made[number]
        assert len(micro.clips) == 8
        assert FRAMES[list(micro.clips)].max() <= micro.frames
        assert TOKENS[list(micro.clips)].max() <= micro.tokens
        assert micro.frames % 32 == 0 and micro.tokens % 8 == 0
        shapes.add((micro.frames, micro.tokens))
        padded += micro.frames * 8
        used += int(FRAMES[list(micro.clips)].sum())
    assert len(shapes) <= 10
    assert used > 0.8 * padded


def test_a_plan_is_a_function_of_seed_and_number() -> None:
    made = plan()
    ahead = [made[number] for number in (60, 3, 45)]
    again = plan()
    assert [again[number] for number in (60, 3, 45)] == ahead  # in any order, in a new process
    assert [plan(seed=1)[number] for number in (60, 3, 45)] != ahead
    epoch = made.per_epoch
    assert [made[number].clips for number in range(5)] != [made[number].clips for number in range(epoch, epoch + 5)]


def test_updates_of_two_have_about_as_many_frames() -> None:
    """Long clips must not count less than short ones: pairs stand at even numbers, over the end of an epoch too."""
    made = BatchPlan(FRAMES[:155], TOKENS[:155], 8, 0)
    assert made.per_epoch % 2 == 1  # the harder case
    singles = np.array([made[number].frames for number in range(2 * made.per_epoch)])
    pairs = singles.reshape(-1, 2).sum(axis=1)
    assert pairs.std() / pairs.mean() < 0.25 * singles.std() / singles.mean()
    assert np.any(np.diff(singles[::2]) < 0) and np.any(np.diff(singles[::2]) > 0)  # shuffled, not sorted


def test_two_processes_share_what_one_with_a_doubled_batch_gets() -> None:
    """The plan is over all processes: each takes its rows of the same micro-batch."""
    doubled = plan(size=16)[4].clips
    assert doubled == plan(size=8 * 2)[4].clips
    assert len(doubled) == 16


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_fewer_clips_than_a_micro_batch(clips: int) -> None:
    made = BatchPlan(FRAMES[:clips], TOKENS[:clips], 8, 0)
    seen = Counter(clip for number in range(made.per_epoch) for clip in made[number].clips)
    assert set(seen) == set(range(clips))
    assert all(len(made[number].clips) == 8 for number in range(3 * made.per_epoch))


def test_clips_of_one_length_make_one_bucket() -> None:
    made = BatchPlan(np.full(20, 100), np.full(20, 12), 4, 0)
    assert {(made[number].frames, made[number].tokens) for number in range(made.per_epoch)} == {(128, 16)}
    assert made.per_epoch == 5


def test_speakers_with_less_speech_are_heard_more_often() -> None:
    def clips(speaker: str, count: int) -> list[Clip]:
        return [Clip(f"{speaker}{i}", speaker, "", (), "train", 100, 25_600, "") for i in range(count)]

    given = clips("most", 20) + clips("half", 10) + clips("hardly", 1) + clips("nearly", 15)
    heard = Counter(clip.id for clip in balanced(given))
    assert list(heard) == [clip.id for clip in given]
    assert {clip.speaker: heard[clip.id] for clip in given} == {"most": 1, "half": 2, "hardly": 3, "nearly": 1}


def test_padding() -> None:
    rows = [np.ones((2, 3), np.float32), np.full((4, 3), 2.0, np.float32)]
    padded = pad(rows, 5)
    assert padded.shape == (2, 5, 3) and padded.dtype == np.float32
    assert padded[:, :, 0].tolist() == [[1, 1, 0, 0, 0], [2, 2, 2, 2, 0]]
    shape = padded_shape((3, 4), 33, 8)
    assert (shape.clips, shape.frames, shape.tokens) == ((3, 4), 64, 8)


def test_seeds_differ_wherever_they_should() -> None:
    seeds = [
        seed
        for run in (0, 1)
        for update in range(3)
        for micro in range(3)
        for rank in range(2)
        for seed in seeds_for(run, update, micro, rank, count=2)
    ]
    assert len(set(seeds)) == len(seeds)
    assert seeds_for(0, 5, 1, 0, count=2) == seeds_for(0, 5, 1, 0, count=2)
