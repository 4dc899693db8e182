"""How many operations a second of speech takes: multiplications and additions of the products, from the configuration.

Activations, norms, attention's softmax and the FFTs are left out: the products are what the cores' peak is about.
"""

import math
from itertools import pairwise

from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig

FRAMES_A_SECOND = 22050 / 256
FRAMES_A_TOKEN = 5.5  # of read speech with this project's symbols
BINS = 513


def acoustic_operations(config: AcousticConfig, frames: int) -> float:
    """Of the acoustic model, a second of speech, in an utterance of so many frames (attention grows with it)."""
    width, hidden, taps = config.width, config.feed_forward, config.kernel
    layer = 4 * width * width + (taps + config.contract_kernel) * width * hidden
    tokens = frames / FRAMES_A_TOKEN
    decoder = config.decoder_layers * (layer + 2 * width * frames) + width * (config.n_mels + 2) + tokens * width
    widths = [width] + [config.predictor_width] * config.predictor_layers
    predictor = sum(config.predictor_kernel * a * b for a, b in pairwise(widths))
    encoder = config.encoder_layers * (layer + 2 * width * tokens) + 3 * predictor
    return 2.0 * FRAMES_A_SECOND * (decoder + encoder / FRAMES_A_TOKEN)


def vocoder_operations(config: HarmonicConfig | HifiganConfig) -> float:
    """Of a vocoder, a second of speech."""
    return 2.0 * FRAMES_A_SECOND * (_harmonic(config) if isinstance(config, HarmonicConfig) else _hifigan(config))


def _harmonic(config: HarmonicConfig) -> int:
    """Multiplications a frame."""
    block = config.width * (config.kernel + 2 * config.hidden)
    return (config.n_mels + 2) * config.kernel * config.width + config.layers * block + config.width * 4 * BINS


def _hifigan(config: HifiganConfig) -> int:
    """Multiplications a frame."""
    channels, rate = config.upsample_initial_channel, 1
    total = 7 * config.n_mels * channels
    per_step = 2 if config.resblock == "1" else 1
    kinds = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    taps = sum(per_step * kernel * len(dilations) for kernel, dilations in kinds)
    for stride, size in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        total += rate * size * channels * (channels // 2)
        rate, channels = rate * stride, channels // 2
        total += rate * taps * channels * channels
    assert rate == math.prod(config.upsample_rates)
    return total + rate * 7 * channels
