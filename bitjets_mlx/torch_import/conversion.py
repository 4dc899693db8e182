"""From a checkpoint to a folder: the right mapping, the report, the folder written whole, and a first sentence."""

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.spectrogram import log_mel
from bitjets_mlx.config import TORCHAUDIO_MEL, AudioConfig, HifiganConfig, identity_statistics
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.folders import check_folder
from bitjets_mlx.text.spelled import CHARACTERS
from bitjets_mlx.torch_import.bitjets import bitjets_config, generation_by_name, map_bitjets
from bitjets_mlx.torch_import.families import kind_of, open_source
from bitjets_mlx.torch_import.hifigan import map_discriminators, map_generator, read_hifigan_config, recognized
from bitjets_mlx.torch_import.source import Source, origin_of
from bitjets_mlx.voice import FrameVocoder, Voice, load_vocoder, load_voice
from bitjets_mlx.voice.folder import read_vocoder, write_voice
from bitjets_mlx.voice.voice_config import (
    ACOUSTIC_FILE,
    CONFIG_FILE,
    DISCRIMINATORS_FILE,
    VOCODER_FILE,
    VOICE_FOLDER,
    VoiceConfig,
    read_config,
)
from bitjets_mlx.voice.weights_file import Arrays, read_weights

SENTENCE = "Hello."
SPEAKER = "default"


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    kind: str = "auto"
    config: Path | None = None
    vocoder: Path | None = None
    generation: str | None = None
    pack: bool = False
    ternary: bool = False
    key_map: Path | None = None
    overwrite: bool = False


@dataclass
class Converted:
    """A folder before it is written: its configuration, the arrays of each file, and sentences to say."""

    config: VoiceConfig
    files: dict[str, Arrays] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    overwrite: bool = False
    inputs: list[Path] = field(default_factory=list)  # files that must not be lost


def convert(checkpoint: Path, output: Path, options: Options) -> Converted:
    """Map a checkpoint and print the report; BitjetsError where tensors are unknown or missing."""
    inputs = [path for path in (checkpoint, options.config, options.vocoder, options.key_map) if path is not None]
    check_folder(output, VOICE_FOLDER, options.overwrite, inputs)
    try:
        converted = _converted(checkpoint, output, options)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise BitjetsError(
            f"{checkpoint} cannot be converted ({type(error).__name__}: {error}): is it damaged, or of another kind?"
        ) from error
    converted.overwrite, converted.inputs = options.overwrite, inputs
    return converted


def _converted(checkpoint: Path, output: Path, options: Options) -> Converted:
    source = open_source(checkpoint, options.key_map)
    kind = kind_of(source) if options.kind == "auto" else options.kind
    _check_options(kind, options)
    if kind == "bitjets":
        converted = _bitjets(source, options)
    elif kind == "hifigan":
        converted = _hifigan(source, output, options)
    else:
        from bitjets_mlx.torch_import.jets import convert_jets

        converted = Converted(*convert_jets(source, options.config, options.ternary))
    _report(source)
    return converted


def _check_options(kind: str, options: Options) -> None:
    """An option that has no meaning for a kind is not ignored silently."""
    foreign = {
        "--generation": options.generation is not None and kind != "bitjets",
        "--pack": options.pack and kind != "bitjets",
        "--vocoder": options.vocoder is not None and kind != "bitjets",
        "--ternary": options.ternary and kind != "espnet-jets",
        "--config": options.config is not None and kind == "bitjets" and options.vocoder is None,
    }
    for flag, given in foreign.items():
        if given:
            raise BitjetsError(f"{flag} has no meaning for a checkpoint of kind {kind}: leave it out.")


def _report(source: Source) -> None:
    print(f"{source.path}:\n{source.table()}")
    source.check_complete()


# -- the families --------------------------------------------------------------------------------------------------


def _bitjets(source: Source, options: Options) -> Converted:
    generation = options.generation or generation_by_name(source.path)
    config = bitjets_config(source, generation)
    arrays = map_bitjets(source, config, options.pack)
    why = "as --generation says" if options.generation else "by the file's name; --generation says otherwise"
    voice = VoiceConfig(
        audio=TORCHAUDIO_MEL,
        acoustic=config,
        statistics=identity_statistics(config.n_mels, 1),
        speakers=(SPEAKER,),
        symbols=CHARACTERS,
        origin={"acoustic": origin_of(source.path) | {"generation": generation}},
    )
    converted = Converted(voice, {ACOUSTIC_FILE: arrays}, [f"generation: {generation} ({why})"])
    if options.vocoder is not None:
        _add_vocoder(converted, options.vocoder, options.config)
        converted.said.append("mel: torchaudio's convention, mapped to the vocoder's (approximate)")
    return converted


def _add_vocoder(converted: Converted, vocoder: Path, config_file: Path | None) -> None:
    """The vocoder of a folder, or of a HiFi-GAN checkpoint."""
    if vocoder.is_dir():
        if config_file is not None:
            raise BitjetsError("--config has no meaning beside a vocoder folder, which has its own: leave it out.")
        given = read_config(vocoder)
        read_vocoder(vocoder, given)  # all the checks
        arrays, config, audio = read_weights(vocoder / VOCODER_FILE), given.vocoder, given.vocoder_audio or given.audio
        origin = given.origin.get("vocoder", {})
    else:
        source = open_source(vocoder, None)
        arrays, config, audio = _generator(source, config_file, converted.said)
        _report(source)
        origin = origin_of(vocoder)
    converted.files[VOCODER_FILE] = arrays
    converted.config = replace(
        converted.config,
        vocoder=config,
        vocoder_audio=audio if audio != converted.config.audio else None,
        origin=converted.config.origin | {"vocoder": origin},
    )


def _generator(source: Source, config_file: Path | None, said: list[str]) -> tuple[Arrays, HifiganConfig, AudioConfig]:
    """A HiFi-GAN generator, by its config.json or by its shapes."""
    prefix = "generator." if "generator.conv_pre.bias" in source else ""
    beside = source.path.with_name("config.json")
    path = config_file or (beside if beside.is_file() else None)
    if path is not None:
        config, audio = read_hifigan_config(path)
    else:
        version, config = recognized(source, prefix)
        audio = AudioConfig()
        said.append(f"there is no config.json: taken for HiFi-GAN {version} by its shapes, mels up to 8000 Hz")
    return map_generator(source, config, prefix), config, audio


def _hifigan(source: Source, output: Path, options: Options) -> Converted:
    """A generator, or the discriminators of a do_* file, which join a vocoder that is in the folder already."""
    old = read_config(output) if (output / CONFIG_FILE).is_file() else None
    if not any(name.startswith(("mpd.", "msd.")) for name in source.tensors):
        said: list[str] = []
        arrays, config, audio = _generator(source, options.config, said)
        voice = VoiceConfig(audio=audio, vocoder=config, origin={"vocoder": origin_of(source.path)})
        converted = Converted(voice, {VOCODER_FILE: arrays}, said)
        if old is not None and old.discriminators and old.vocoder is None and old.acoustic is None:
            _keep(converted, output, old, DISCRIMINATORS_FILE)
            converted.config = replace(voice, discriminators=old.discriminators, origin=voice.origin | old.origin)
        return converted
    if options.config is not None:
        raise BitjetsError("--config has no meaning for a do_* file: leave it out.")
    discriminators, arrays = map_discriminators(source)
    for prefix in ("optim_g.", "optim_d."):
        source.drop(prefix, "state of the optimizer")
    origin = {"discriminators": origin_of(source.path)}
    voice = VoiceConfig(audio=AudioConfig(), discriminators=discriminators, origin=origin)
    converted = Converted(voice, {DISCRIMINATORS_FILE: arrays})
    if old is not None and isinstance(old.vocoder, HifiganConfig) and old.acoustic is None:
        _keep(converted, output, old, VOCODER_FILE)
        converted.config = replace(old, discriminators=discriminators, origin=old.origin | origin, files={})
    else:
        converted.said.append(
            f"discriminators only: convert the generator g_* with --output {output} too, and train on from both"
        )
    return converted


def _keep(converted: Converted, output: Path, old: VoiceConfig, name: str) -> None:
    """A file of the folder that is about to be replaced."""
    converted.files[name] = read_weights(output / name, old.files.get(name))
    converted.said.append(f"{name} was in {output} already and stays")


# -- writing, and a first sentence ---------------------------------------------------------------------------------


def write_converted(output: Path, converted: Converted) -> list[str]:
    """Write the folder, read it back and speak with it before it counts; returns sentences on what was found."""

    def try_out(scratch: Path, config: VoiceConfig) -> None:
        if config.acoustic is not None:
            if config.vocoder is None:
                said.append("no vocoder: it speaks by Griffin-Lim, which sounds metallic, until --vocoder gives it one")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the same, with the name of a folder that will be gone
                voice = load_voice(scratch)
            said.append(_spoken(voice, config))
        elif config.vocoder is not None:
            said.append(_sounded(load_vocoder(scratch)))

    said = list(converted.said)
    cache = mx.set_cache_limit(0)  # a converter needs no speed, and a large model has large buffers
    try:
        write_voice(
            output,
            converted.config,
            converted.files,
            try_out=try_out,
            overwrite=converted.overwrite,
            inputs=converted.inputs,
        )
    finally:
        mx.set_cache_limit(cache)
    return said


def _spoken(voice: Voice, config: VoiceConfig) -> str:
    """Speak the sentence; a voice of another language its own first symbols."""
    try:
        tokens: list[str] = voice.sentences(SENTENCE)[0]
        samples, what = voice.speak(phonemes=tokens), SENTENCE
    except BitjetsError as error:
        if "unknown symbol" not in str(error):
            raise
        tokens = list(config.symbols[2:8])
        samples, what = voice.speak(phonemes=tokens), " ".join(tokens)
    return _judged(samples, voice.sample_rate, f"spoke {what!r}")


def _sounded(vocoder: FrameVocoder) -> str:
    """A vowel of half a second through a bare vocoder."""
    time = np.arange(vocoder.audio.sample_rate // 2) / vocoder.audio.sample_rate
    phase = 2 * np.pi * (120.0 * time + 40.0 * time**2)
    tone = np.stack([np.sin(number * phase) / number for number in range(1, 40)]).sum(axis=0)
    mel = np.array(log_mel(mx.array((0.1 * tone).astype(np.float32))[None], vocoder.audio)[0])  # (T, 80)
    return _judged(vocoder(mel), vocoder.audio.sample_rate, "sounded a built-in mel")


def _judged(samples: np.ndarray, rate: int, what: str) -> str:
    if not np.isfinite(samples).all():
        raise BitjetsError("the converted model's samples hold NaN or infinity: is the checkpoint's training sound?")
    peak = float(np.abs(samples).max())
    return f"{what}: {len(samples) / rate:.2f} s, peak {peak:.3f}, no NaN"
