"""How many operations a second of speech takes: multiplications and additions of the products, from the configuration.

Activations, norms and FFTs are left out: the products are what the cores' peak is about.
"""

from itertools import pairwise

from bitjets_mlx.benchmarking.cost import operations
from bitjets_mlx.config import AcousticConfig, HarmonicConfig, HifiganConfig

FRAMES_A_SECOND = 22050 / 256
BINS = 513


def acoustic_operations(config: AcousticConfig, tokens: int, frames: int) -> float:
    """Of the acoustic model, a second of speech, in an utterance of this length (attention grows with it)."""
    return operations(config, tokens, frames).total / (frames / FRAMES_A_SECOND)


def vocoder_operations(config: HarmonicConfig | HifiganConfig) -> float:
    """Of a vocoder, a second of speech."""
    return 2.0 * FRAMES_A_SECOND * (_harmonic(config) if isinstance(config, HarmonicConfig) else _hifigan(config))


def _harmonic(config: HarmonicConfig) -> int:
    """Multiplications a frame."""
    block = config.width * (config.kernel + 2 * config.hidden)
    return (config.n_mels + 2) * config.kernel * config.width + config.layers * block + config.width * 4 * BINS


def _hifigan(config: HifiganConfig) -> int:
    """Multiplications a frame."""
    rates = [1]
    for rate in config.upsample_rates:
        rates.append(rates[-1] * rate)
    channels = [config.upsample_initial_channel >> stage for stage in range(len(rates))]
    kinds = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    taps = sum((2 if config.resblock == "1" else 1) * kernel * len(dilations) for kernel, dilations in kinds)
    total = 7 * config.n_mels * channels[0] + 7 * rates[-1] * channels[-1]
    for size, (before, rate), (inputs, outputs) in zip(
        config.upsample_kernel_sizes, pairwise(rates), pairwise(channels), strict=True
    ):
        total += before * size * inputs * outputs + rate * taps * outputs * outputs
    return total
