"""Fundamental frequency and voicing, quickly, in numpy: two windows, each doing what it is good at.

A long window (93 ms) decides what is voiced and in which octave, as pYIN does, but with a few candidates a
frame in place of hundreds of pitch bins. A short one (46 ms) then follows the pitch closely: Boersma's
autocorrelation, with the long window's answer as a guide. A second of speech takes some 10 ms; librosa's
pyin takes 200.

A. de Cheveigne and H. Kawahara 2002, "YIN, a fundamental frequency estimator for speech and music".
M. Mauch and S. Dixon 2014, "pYIN: a fundamental frequency estimator using probabilistic threshold
distributions".
P. Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
of a sampled sound".
"""

from dataclasses import dataclass

import numpy as np

from bitjets_mlx.config import HOP, SAMPLE_RATE


@dataclass(frozen=True)
class PitchConfig:
    """Frames, range, and the weights of the decisions."""

    sample_rate: int = SAMPLE_RATE
    hop: int = HOP
    f_min: float = 65.0
    f_max: float = 600.0
    candidates: int = 8  # a frame
    # Long window, in the units of pYIN: probabilities.
    long_window: int = 2048
    no_trough: float = 0.01  # probability left to the best candidate where none passes a threshold
    switch: float = 0.01  # probability of a change of voicing from one frame to the next
    steepest: float = 2.5  # semitones per frame
    # Short window, in the units of Boersma: normalized autocorrelation.
    short_window: int = 1024  # three periods of the lowest pitch
    voicing: float = 0.05  # periodicity from which a frame is voiced, where the long window says so
    voicing_alone: float = 0.55  # and where it does not, as it may be lost in a quick glide,
    quiet_from: float = 14.0  # rising from this many dB below the loudest peak
    quiet_rise: float = 0.5  # by as much over the next 20 dB
    long_strength: float = 0.2  # how much the long window's pitch counts beside the short one's peaks
    guide: float = 0.5  # cost of an octave's distance from the long window's pitch,
    guide_limit: float = 0.15  # but no more than this
    range_free: float = 0.7  # octaves around the clip's median that cost nothing
    range_cost: float = 2.0  # of each octave beyond, the more the weaker the periodicity
    octave: float = 0.01  # favors the higher of two equally good candidates
    octave_jump: float = 0.5
    voicing_change: float = 0.2
    silence: float = 0.004  # frames this far below the loudest peak are unvoiced
    low_cut: float = 50.0  # Hz: hum and rumble below
    high_cut: float = 3500.0  # Hz: breath noise above


def extract_pitch(audio: np.ndarray, config: PitchConfig | None = None) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz, float32 (T,), and voicing, bool (T,), of float samples (S,), with T = S // hop.

    Frame i is centred on sample hop * i + hop / 2. Through unvoiced stretches log F0 is interpolated
    linearly, and held at both ends; a clip without any voiced frame gets 0 Hz throughout.
    """
    config = config or PitchConfig()
    count = len(audio) // config.hop
    if not count or not np.any(audio):
        return np.zeros(count, np.float32), np.zeros(count, bool)
    audio = np.asarray(audio, np.float64) - np.mean(audio)
    long_f0, long_voiced = _long_path(audio, config)  # (T,) each
    f0, voiced = _short_path(audio, long_f0, long_voiced, config)
    return interpolate_f0(f0, voiced).astype(np.float32), voiced


def interpolate_f0(f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Log-linear interpolation of F0 (T,) through the frames where `voiced` (T,) is false."""
    if not voiced.any():
        return np.zeros(len(f0))
    frames = np.arange(len(f0))
    return np.exp(np.interp(frames, frames[voiced], np.log(f0[voiced])))


def _frames(audio: np.ndarray, window: int, config: PitchConfig) -> np.ndarray:
    """Frames (T, window) around the frame centres; silence is assumed beyond both ends."""
    padded = np.pad(audio, ((window - config.hop) // 2, window))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)
    return views[:: config.hop][: len(audio) // config.hop]


def _fft_size(samples: int) -> int:
    """The next even size that is quick: 2^a, 3 * 2^a or 5 * 2^a."""
    return min(factor << max(1, (-(-samples // factor) - 1).bit_length()) for factor in (1, 3, 5))


# The long window: pYIN on a few candidates.


def _long_path(audio: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz and voicing, (T,) each, from the troughs of YIN's difference function."""
    lags, depths = _troughs(_yin(audio, config), config)  # (T, K) each
    probability = _trough_probabilities(depths, config)  # (T, K)
    pitch = 12 * np.log2(config.sample_rate / lags)  # semitones
    bins = 120 * np.log2(config.f_max / config.f_min)  # pYIN's unvoiced state has as many bins as pitches
    unvoiced = (1 - np.minimum(probability.sum(axis=1), 0.999)) / bins
    scores = np.log(np.maximum(probability, 1e-12)) - np.log(unvoiced)[:, None]
    distance = np.abs(pitch[:-1, :, None] - pitch[1:, None, :])  # (T - 1, from, to)
    moves = np.log(np.maximum(1 - distance / (config.steepest + 0.1), 1e-9))
    path = _viterbi(scores, np.zeros(len(scores)), moves, np.log(config.switch / (1 - config.switch)))
    chosen = np.take_along_axis(lags, np.maximum(path, 0)[:, None], axis=1)[:, 0]
    return config.sample_rate / chosen, path >= 0


def _yin(audio: np.ndarray, config: PitchConfig) -> np.ndarray:
    """Cumulative mean normalized difference (YIN, equation 8), (T, lags), from lag 0 on."""
    window = config.long_window
    longest = int(config.sample_rate / config.f_min) + 2
    frames = _frames(audio, window, config)
    size = _fft_size(window + longest + 1)
    spectrum = np.fft.rfft(frames, size)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[:, : longest + 1]  # (T, lags)
    sums = np.cumsum(np.square(frames), axis=1)
    head = np.pad(sums[:, :longest], ((0, 0), (1, 0)))  # energy of the first `lag` samples
    difference = 2 * (sums[:, -1:] - correlation) - head
    mean = np.cumsum(difference[:, 1:], axis=1) / np.arange(1, longest + 1)
    return np.pad(difference[:, 1:] / np.maximum(mean, 1e-12), ((0, 0), (1, 0)), constant_values=1.0)


def _troughs(yin: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """The deepest local minima by rising lag: lags in samples, placed by a parabola, and depths, (T, K)."""
    shortest = int(config.sample_rate / config.f_max)
    lag, depth, trough = _extrema(-yin, shortest)
    depth = np.where(trough, yin[:, shortest + 1 : -1], 9.0)  # pYIN judges the sample, not the parabola
    best = np.sort(np.argpartition(depth, config.candidates, axis=1)[:, : config.candidates], axis=1)
    return np.take_along_axis(lag, best, axis=1), np.take_along_axis(depth, best, axis=1)


def _extrema(curve: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lag and height of the parabola through each point of (T, lags), and whether the point is a maximum."""
    before, here, after = (curve[:, shortest + i : curve.shape[1] - 2 + i] for i in range(3))
    peak = (here > before) & (here >= after)
    bend = np.where(peak, before - 2 * here + after, -1.0)
    shift = np.where(peak, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    height = here - 0.25 * (before - after) * shift
    return shortest + 1 + np.arange(here.shape[1]) + shift, height, peak


def _trough_probabilities(depths: np.ndarray, config: PitchConfig) -> np.ndarray:
    """How likely each trough is the period (pYIN, section 2.1): depths by rising lag, (T, K) -> (T, K)."""
    thresholds = np.linspace(0.01, 1.0, 100)
    below = depths[:, :, None] < thresholds  # (T, K, 100)
    rank = np.cumsum(below, axis=1) - 1
    total = below.sum(axis=1, keepdims=True)
    prior = np.exp(-2.0 * rank) * (1 - np.exp(-2.0)) / (1 - np.exp(-2.0 * np.maximum(total, 1)))
    weight = _threshold_weights()
    probability = (below * prior) @ weight  # (T, K)
    passed_none = (total[:, 0] == 0) @ weight  # (T,)
    probability[np.arange(len(depths)), depths.argmin(axis=1)] += config.no_trough * passed_none
    return probability


def _threshold_weights() -> np.ndarray:
    """Probability of each of the 100 thresholds: the beta distribution (2, 18), integrated."""
    edge = np.linspace(0.0, 1.0, 101)
    cumulative = 1 - (1 - edge) ** 18 * (1 + 18 * edge)
    return np.diff(cumulative)


# The short window: Boersma's autocorrelation, guided.


def _short_path(
    audio: np.ndarray, long_f0: np.ndarray, long_voiced: np.ndarray, config: PitchConfig
) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz and voicing, (T,) each, following the long window's where it is voiced."""
    correlation, level = _autocorrelation(audio, config)  # (T, lags), (T,)
    lags, strengths = _peaks(correlation, config)  # (T, K) each
    octaves = np.log2(config.sample_rate / lags)
    median = _median_octave(octaves, strengths)
    added = np.where(long_voiced, config.long_strength, -9.0)
    octaves = np.concatenate([octaves, np.log2(long_f0)[:, None]], axis=1)  # (T, K + 1)
    strengths = np.concatenate([strengths, added[:, None]], axis=1)
    unusual = np.maximum(0.0, np.abs(octaves - median) - config.range_free)
    strengths = strengths - config.range_cost * np.clip(1 - strengths, 0.0, 1.0) * unusual
    off = np.minimum(config.guide * np.abs(octaves - np.log2(long_f0)[:, None]), config.guide_limit)
    strengths = strengths - np.where(long_voiced[:, None], off, 0.0)
    scale = 0.01 * config.sample_rate / config.hop  # Boersma's costs are for steps of 10 ms
    moves = -config.octave_jump * scale * np.abs(octaves[:-1, :, None] - octaves[1:, None, :])
    unvoiced = _unvoiced_scores(level, long_voiced, config)
    path = _viterbi(strengths, unvoiced, moves, -config.voicing_change * scale)
    chosen = np.take_along_axis(octaves, np.maximum(path, 0)[:, None], axis=1)[:, 0]
    return 2.0**chosen, path >= 0


def _median_octave(octaves: np.ndarray, strengths: np.ndarray) -> float:
    """The clip's usual pitch in octaves: the median over frames that are beyond doubt, or over all."""
    rows, best = np.arange(len(strengths)), strengths.argmax(axis=1)
    sure = strengths[rows, best] > 0.85
    return float(np.median(octaves[rows, best][sure if sure.any() else slice(None)]))


def _unvoiced_scores(level: np.ndarray, long_voiced: np.ndarray, config: PitchConfig) -> np.ndarray:
    """What a frame's periodicity must exceed for it to be voiced, (T,)."""
    below = -20 * np.log10(np.maximum(level, 1e-6)) - config.quiet_from
    alone = config.voicing_alone + config.quiet_rise * np.clip(below / 20, 0.0, 1.0)
    silent = 2 * np.maximum(0.0, 1 - level / config.silence)
    return np.where(long_voiced, config.voicing, alone) + silent


def _autocorrelation(audio: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """Normalized autocorrelation (T, lags), that of the window divided out, and the level (T,) in 0 ... 1."""
    window = config.short_window
    frames = _frames(audio, window, config)
    taper = np.hanning(window + 2)[1:-1]
    longest = int(config.sample_rate / config.f_min) + 3
    size = _fft_size(window + longest)
    hertz = np.fft.rfftfreq(size, 1 / config.sample_rate)
    passed = np.clip(2 * hertz / config.low_cut - 1, 0, 1) * np.clip(3 - 2 * hertz / config.high_cut, 0, 1)
    spectrum = np.fft.rfft(frames * taper, size)
    correlation = np.fft.irfft((spectrum.real**2 + spectrum.imag**2) * passed, size)[:, :longest]  # (T, lags)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, size)) ** 2, size)[:longest]
    middle = np.abs(frames[:, window // 4 : 3 * window // 4]).max(axis=1)  # (T,)
    return correlation / np.maximum(correlation[:, :1], 1e-12) / (own / own[0]), middle / max(middle.max(), 1e-12)


def _peaks(correlation: np.ndarray, config: PitchConfig) -> tuple[np.ndarray, np.ndarray]:
    """The strongest peaks: lags in samples, placed by a parabola, and strengths, (T, K)."""
    lag, height, peak = _extrema(correlation, int(config.sample_rate / config.f_max))
    height = np.where(height > 1, 1 / np.maximum(height, 1), height)
    strength = height - config.octave * np.log2(config.f_min * lag / config.sample_rate)
    strength = np.where(peak & (height > 0), strength, -9.0)
    best = np.argpartition(-strength, config.candidates, axis=1)[:, : config.candidates]  # (T, K)
    return np.take_along_axis(lag, best, axis=1), np.take_along_axis(strength, best, axis=1)


def _viterbi(scores: np.ndarray, unvoiced: np.ndarray, moves: np.ndarray, switch: float) -> np.ndarray:
    """The best path through candidates (T, K) and one unvoiced state (T,): an index a frame, or -1.

    `moves` (T - 1, from, to) are the scores of a change of candidate, `switch` that of a change of voicing.
    """
    local = np.concatenate([scores, unvoiced[:, None]], axis=1)  # (T, K + 1)
    count, states = local.shape
    change = np.full((count - 1, states, states), switch)
    change[:, :-1, :-1] = moves
    change[:, -1, -1] = 0.0
    back = np.zeros((count, states), np.int64)
    total, columns = local[0], np.arange(states)
    for t in range(1, count):
        arriving = total[:, None] + change[t - 1]  # (from, to)
        back[t] = arriving.argmax(axis=0)
        total = arriving[back[t], columns] + local[t]
    path = np.empty(count, np.int64)
    path[-1] = total.argmax()
    for t in range(count - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return np.where(path == states - 1, -1, path)
