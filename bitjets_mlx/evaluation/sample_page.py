"""A folder of samples: audio as Ogg Opus, spectrograms as PNG, and one HTML page that plays them."""

import html
import io
from dataclasses import dataclass
from pathlib import Path
from string import Template

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.files import resample
from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.data.corpus import sentence_key
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.evaluation.sentences import group_takes, load_as_recorded
from bitjets_mlx.folders import FolderKind, output_folder
from bitjets_mlx.voice import Voice

OPUS_RATE = 48000  # Opus has no 22,050 Hz
COMPRESSION = 0.85  # of libsndfile, 0 to 1: some 40 kbit/s of one channel
LONGEST = 8.0  # seconds: longer sentences make the page heavy
LOWEST, HIGHEST = -11.5, 1.5  # log mel, of the pictures' colors
COLORS = 64
GENERATOR = b'<meta name="generator" content="bitjets_mlx.samples">'
TEMPLATE = Path(__file__).with_name("sample_page.html")


@dataclass(frozen=True)
class Sample:
    """One sentence: where its two sounds and their pictures lie, below the page's folder."""

    speaker: str
    text: str
    stem: str
    natural_seconds: float
    spoken_seconds: float


def _is_page(folder: Path) -> bool:
    index = folder / "index.html"
    return index.is_file() and GENERATOR in index.read_bytes()[:2000]


SAMPLES_FOLDER = FolderKind("page of samples", ("index.html", "*/[0-9][0-9].*.ogg", "*/[0-9][0-9].*.png"), _is_page)


def write_samples(
    output: Path,
    voice: Voice,
    data: PreparedData,
    speakers: list[str],
    count: int,
    name: str,
    overwrite: bool = False,
) -> int:
    """Speak `count` held-back sentences of each speaker into the folder `output`; returns bytes written.

    BitjetsError where the data has too few, or libsndfile writes no Opus.
    """
    samples = []
    with output_folder(output, SAMPLES_FOLDER, overwrite, [data.folder]) as folder:
        for speaker in speakers:
            (folder / speaker).mkdir()
            for number, clip in enumerate(choose_clips(data, speaker, count), 1):
                samples.append(_write_sample(folder, voice, data, clip, number))
        (folder / "index.html").write_text(page(samples, name), encoding="utf-8")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return size


def choose_clips(data: PreparedData, speaker: str, count: int) -> list[Clip]:
    """Held-back clips of different sentences that are short enough, spread over the split."""
    frames = LONGEST * AudioConfig().sample_rate / AudioConfig().hop
    by_sentence = {sentence_key(clip.text): clip for clip in data.split("validation") if clip.speaker == speaker}
    clips = [clip for clip in by_sentence.values() if clip.frames <= frames]
    if len(clips) < count:
        raise BitjetsError(
            f"{data.folder} holds back {len(clips)} sentences of {speaker} that last up to {LONGEST:.0f} s: "
            f"give --sentences {len(clips)} or less."
        )
    return [clips[int(i * len(clips) / count)] for i in range(count)]


def _write_sample(folder: Path, voice: Voice, data: PreparedData, clip: Clip, number: int) -> Sample:
    sentence = group_takes([clip], data, folder, spoken=False)[0]
    natural = load_as_recorded(sentence.takes[0], sentence.gain).audio
    spoken = voice.speak(clip.text, clip.speaker)
    stem = f"{clip.speaker}/{number:02d}"
    for what, audio in (("natural", natural), ("spoken", spoken)):
        write_opus(folder / f"{stem}.{what}.ogg", audio, voice.sample_rate)
        (folder / f"{stem}.{what}.png").write_bytes(spectrogram_png(audio))
    return Sample(clip.speaker, clip.text, stem, len(natural) / voice.sample_rate, len(spoken) / voice.sample_rate)


def write_opus(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Samples (S,) as Ogg Opus; BitjetsError where libsndfile is too old to write it."""
    import soundfile

    try:
        waveform = resample(audio, sample_rate, OPUS_RATE)
        soundfile.write(path, waveform, OPUS_RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise BitjetsError(f"soundfile cannot write Ogg Opus here ({error}): pip install -U soundfile.") from None


def spectrogram_png(audio: np.ndarray) -> bytes:
    """Log-mel spectrogram of samples (S,) as an image of a pixel per frame and band, low frequencies below."""
    from matplotlib import colormaps
    from PIL import Image

    mel = np.array(log_mel(mx.array(audio)[None])[0])  # (T, 80)
    shown = np.clip((mel.T[::-1] - LOWEST) / (HIGHEST - LOWEST), 0.0, 1.0)  # (80, T)
    picture = Image.fromarray(np.rint(shown * (COLORS - 1)).astype(np.uint8), mode="P")
    palette = colormaps["magma"](np.linspace(0.0, 1.0, COLORS))[:, :3]
    picture.putpalette(np.rint(255 * palette).astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def page(samples: list[Sample], name: str) -> str:
    """The HTML page."""
    sections = []
    for speaker in dict.fromkeys(sample.speaker for sample in samples):
        rows = "\n".join(_row(sample) for sample in samples if sample.speaker == speaker)
        sections.append(f"<section>\n<h2>{html.escape(speaker.capitalize())}</h2>\n{rows}\n</section>")
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=html.escape(name), sections="\n".join(sections)
    )


def _row(sample: Sample) -> str:
    sides = []
    for what, label, seconds in (
        ("natural", "Recording", sample.natural_seconds),
        ("spoken", "Synthesis", sample.spoken_seconds),
    ):
        source = html.escape(f"{sample.stem}.{what}", quote=True)
        sides.append(
            f"<figure><figcaption>{label} <small>{seconds:.1f} s</small></figcaption>"
            f'<img src="{source}.png" alt="Mel spectrogram of the {label.lower()}" loading="lazy">'
            f'<audio controls preload="none" src="{source}.ogg"></audio></figure>'
        )
    return f'<article><p>{html.escape(sample.text)}</p><div class="pair">{"".join(sides)}</div></article>'
