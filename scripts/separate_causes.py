"""Where a vocoder loses quality: copy synthesis with one part exchanged at a time, judged by Distill-MOS.

    pip install -r requirements-quality.txt
    python scripts/separate_causes.py --vocoder weights/duo --data PREPARED --speaker lj --clips 10
    python scripts/separate_causes.py --hibari sentences.txt          # pip install hibari-tts==0.2.1

The first table exchanges magnitudes, phases and frequency bands of the copy with those of the recording, and turns the
noise down. The second does likewise with the three components of hibari, a vocoder of the same kind that was trained
against discriminators: pulses, noise, and a third whose magnitude and phase are predicted outright. Both are printed as
Markdown; docs/vocoder.md says what they showed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bitjets_mlx import load_vocoder  # noqa: I001  before mlx
import librosa
import mlx.core as mx
import numpy as np

from bitjets_mlx.data.prepared import PreparedData
from bitjets_mlx.errors import BitjetsError, run_command
from bitjets_mlx.evaluation import distill_mos
from bitjets_mlx.vocoder import HarmonicVocoder
from bitjets_mlx.vocoder.harmonic import excitation_samples
from bitjets_mlx.vocoder.noise import white_noise

RATE, N_FFT, HOP = 22050, 1024, 256
VOICED = 40.0  # Hz; below it, hibari's frames are unvoiced


def spectrum(x: np.ndarray) -> np.ndarray:
    """(S,) -> complex (513, T)."""
    return librosa.stft(x, n_fft=N_FFT, hop_length=HOP)


def waveform(spectrum: np.ndarray, samples: int) -> np.ndarray:
    """Complex (513, T) -> (S,)."""
    return librosa.istft(spectrum, n_fft=N_FFT, hop_length=HOP, length=samples)


def below(low: np.ndarray, high: np.ndarray, hertz: float) -> np.ndarray:
    """`low` below a frequency and `high` from it on, two waveforms of one length."""
    mixed, other = spectrum(high), spectrum(low)
    first = round(hertz * N_FFT / RATE)
    mixed[:first] = other[:first]
    return waveform(mixed, len(high))


def magnitude_and_phase(magnitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """The magnitudes of one waveform with the phases of the other."""
    return waveform(np.abs(spectrum(magnitude)) * np.exp(1j * np.angle(spectrum(phase))), len(phase))


def row(name: str, sounds: Sequence[np.ndarray], rate: int = RATE) -> None:
    """Print one line of the table: mean and 95 % interval."""
    scores = distill_mos.score(sounds, rate)
    print(f"| {name} | {scores.mean():.2f} +- {1.96 * scores.std() / np.sqrt(len(scores)):.2f} |", flush=True)


def header(title: str) -> None:
    """Print the table's head."""
    print(f"| {title} | Distill-MOS |\n|---|---|")


def vocoder_table(folder: Path, data: Path, speaker: str, clips: int) -> None:
    """Exchange parts of copy synthesis and recordings of held-back clips."""
    model = load_vocoder(folder).model
    if not isinstance(model, HarmonicVocoder):
        raise BitjetsError(f"{folder} is not a harmonic vocoder: it has no noise to turn down.")
    prepared = PreparedData(data)
    chosen = [clip for clip in prepared.split("validation") if clip.speaker == speaker][:clips]
    if not chosen:
        raise BitjetsError(f"{data} has no held-back clip of {speaker!r}: its speakers are {prepared.speakers}.")
    features = [prepared.load(clip) for clip in chosen]

    def copies(noise_gain: float) -> list[np.ndarray]:
        made = []
        for seed, one in enumerate(features):
            inputs = (mx.array(np.asarray(x, np.float32))[None] for x in (one.mel, one.log_f0, one.voiced))
            noise = noise_gain * white_noise(mx.random.key(seed), 1, excitation_samples(len(one.mel)))
            made.append(np.array(model.synthesize(*inputs, mx.array([0.3]), noise)[0][0]))
        return made

    copied = copies(1.0)
    recorded = [one.audio[: len(copy)] for one, copy in zip(features, copied, strict=True)]
    pairs = list(zip(recorded, copied, strict=True))
    header(f"{speaker}, {len(chosen)} clips")
    row("recordings", recorded)
    row("copy synthesis", copied)
    row("without noise", copies(0.0))
    row("recorded magnitudes, synthetic phases", [magnitude_and_phase(a, b) for a, b in pairs])
    row("synthetic magnitudes, recorded phases", [magnitude_and_phase(b, a) for a, b in pairs])
    for hertz in (500, 1000, 2000, 4000):
        row(f"recorded below {hertz} Hz, synthetic above", [below(a, b, hertz) for a, b in pairs])
    for hertz in (1000, 4000):
        row(f"synthetic below {hertz} Hz, recorded above", [below(b, a, hertz) for a, b in pairs])


def random_phase(chosen: Callable[[np.ndarray, int], np.ndarray], phi: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Phases (F, T), uniform where `chosen(f0, bins)` is true and as they were elsewhere."""
    uniform = np.random.default_rng(0).uniform(-np.pi, np.pi, phi.shape).astype(np.float32)
    return np.where(chosen(f0, len(phi)), uniform, phi)


def hibari_table(sentences: Sequence[str]) -> None:
    """Take the structure out of hibari's third component, where and when the rows say."""
    from hibari import Hibari, dsp  # type: ignore[import-not-found]

    model = Hibari(threads=1)
    parts = []
    for sentence in sentences:
        ids = np.asarray([model.ids(" ".join(model.phonemize(sentence)))], np.int64)
        parts.append([part[0] for part in model.sess.run(None, {"ids": ids, "speed": np.ones(1, np.float32)})])

    def say(name: str, change: Callable[..., tuple[np.ndarray, ...]]) -> None:
        row(name, [dsp.synth(*change(*part), np.random.default_rng(0)) for part in parts], dsp.SR)

    def with_random_phase(chosen: Callable[[np.ndarray, int], np.ndarray]) -> Callable[..., tuple[np.ndarray, ...]]:
        return lambda lh, theta, ln, lr, phi, f0: (lh, theta, ln, lr, random_phase(chosen, phi, f0), f0)

    def above(hertz: float, f0: np.ndarray, bins: int) -> np.ndarray:
        return (np.arange(bins) >= hertz * 2 * (bins - 1) / dsp.SR)[:, None]

    header(f"hibari, {len(sentences)} sentences")
    say("as it is", lambda *part: part)
    say("without its noise", lambda lh, theta, ln, lr, phi, f0: (lh, theta, ln - 30, lr, phi, f0))
    say("pulses without phase", lambda lh, theta, ln, lr, phi, f0: (lh, 0 * theta, ln, lr, phi, f0))
    say("third component with random phase", with_random_phase(lambda f0, bins: np.full((bins, 1), True)))
    say("the same, unvoiced frames only", with_random_phase(lambda f0, bins: (f0 < VOICED)[None]))
    say("the same, voiced frames only", with_random_phase(lambda f0, bins: (f0 >= VOICED)[None]))
    for hertz in (500, 1000, 2000, 4000):
        say(f"the same, above {hertz} Hz only", with_random_phase(partial(above, hertz)))


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocoder", type=Path, help="voice or vocoder folder, harmonic")
    parser.add_argument("--data", type=Path, help="folder written by bitjets_mlx.prepare")
    parser.add_argument("--speaker", help="of PREPARED")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--hibari", type=Path, metavar="SENTENCES", help="text file, one sentence a line")
    options = parser.parse_args()
    if options.vocoder:
        if not (options.data and options.speaker):
            raise BitjetsError("--vocoder needs --data PREPARED and --speaker NAME.")
        vocoder_table(options.vocoder, options.data, options.speaker, options.clips)
    if options.hibari:
        hibari_table([line for line in options.hibari.read_text().splitlines() if line.strip()])
    if not (options.vocoder or options.hibari):
        raise BitjetsError("Nothing to do: give --vocoder or --hibari.")


if __name__ == "__main__":
    run_command(main)
