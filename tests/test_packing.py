"""Base-3 and 2-bit packing: exact round trips, the documented layout, and refusal of everything else."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bitjets_mlx.ternary.packing import pack_base3, pack_codes, packed_size, unpack_base3, unpack_codes

TRITS = hnp.arrays(
    np.int8,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40),
    elements=st.integers(-1, 1),
)


@settings(max_examples=150, deadline=None)
@given(TRITS)
def test_base3_round_trip_and_density(trits: np.ndarray) -> None:
    packed = pack_base3(trits)
    assert packed.dtype == np.uint8 and packed.shape == (packed_size(trits.size),)
    assert packed.nbytes * 5 < trits.size + 5
    back = unpack_base3(packed, trits.shape)
    assert back.dtype == np.int8 and np.array_equal(back, trits)


@settings(max_examples=150, deadline=None)
@given(TRITS)
def test_codes_round_trip(trits: np.ndarray) -> None:
    words = pack_codes(trits)
    assert words.dtype == np.uint32 and words.shape[-1] % 2 == 0
    assert np.array_equal(unpack_codes(words, trits.shape[-1]), trits)


def test_base3_layout_is_the_documented_one() -> None:
    # Digits 0 -> 0, 1 -> 1, -1 -> 2, most significant first, zero-padded.
    assert pack_base3(np.array([1, -1, 0, 0, 1])).tolist() == [1 * 81 + 2 * 27 + 1]
    assert pack_base3(np.array([-1])).tolist() == [2 * 81]
    assert pack_base3(np.full((2, 5), -1)).tolist() == [242, 242]
    assert pack_base3(np.array([[1, 0, 0], [0, 0, 1]])).tolist() == [81, 81]  # row-major


def test_every_byte_of_base3_unpacks_to_its_own_five_trits() -> None:
    packed = np.arange(243, dtype=np.uint8)
    trits = unpack_base3(packed, (243, 5))
    assert len(np.unique(trits, axis=0)) == 243
    assert np.array_equal(pack_base3(trits), packed)


def test_codes_layout_is_the_documented_one() -> None:
    trits = np.zeros((1, 32), np.int8)
    trits[0, 0], trits[0, 1], trits[0, 16] = 1, -1, -1
    words = pack_codes(trits)
    background = sum(1 << shift for shift in range(0, 32, 2))  # the code 1 is the trit 0
    assert words.tolist() == [[background + 1 - (1 << 2), background - 1]]


@pytest.mark.parametrize("inputs", [32, 70, 192, 576])
def test_codes_feed_mlx_quantized_matmul_exactly(inputs: int) -> None:
    random = np.random.default_rng(inputs)
    trits = random.integers(-1, 2, (24, inputs)).astype(np.int8)
    words = mx.array(pack_codes(trits))
    padded = words.shape[1] * 16
    x = np.zeros((3, padded), np.float32)
    x[:, :inputs] = random.integers(-128, 128, (3, inputs))
    ones = mx.ones((24, padded // 32))
    product = mx.quantized_matmul(mx.array(x), words, ones, -ones, transpose=True, group_size=32, bits=2)
    assert np.array_equal(np.array(product), x[:, :inputs] @ trits.T.astype(np.float32))


@pytest.mark.parametrize("bad", [np.array([2]), np.array([0.5]), np.array([np.nan]), np.array([300])])
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_only_trits_are_packed(bad: np.ndarray) -> None:
    for pack in (pack_base3, pack_codes):
        with pytest.raises(ValueError, match="only -1, 0 and 1"):
            pack(bad)


def test_damaged_packed_weights_are_refused() -> None:
    good = pack_base3(np.array([1, 0, -1, 1, 1, -1]))
    with pytest.raises(ValueError, match="bytes"):
        unpack_base3(good[:1], (6,))
    with pytest.raises(ValueError, match="bytes"):
        unpack_base3(good.astype(np.int32), (6,))
    with pytest.raises(ValueError, match="242"):
        unpack_base3(np.array([243], np.uint8), (5,))
    with pytest.raises(ValueError, match="padding"):
        unpack_base3(np.array([1], np.uint8), (4,))
    words = pack_codes(np.array([[1, 0, -1]]))
    with pytest.raises(ValueError, match="words"):
        unpack_codes(words, 33)
    with pytest.raises(ValueError, match="code 3"):
        unpack_codes(words | np.uint32(3), 3)
    with pytest.raises(ValueError, match="padding"):
        unpack_codes(words, 2)
