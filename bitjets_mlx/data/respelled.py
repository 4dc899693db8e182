"""Prepared data as a converted model reads it: its own symbols and its own mel convention."""

import copy
import warnings
from dataclasses import replace

import mlx.core as mx
import numpy as np

from bitjets_mlx.audio.mel_conventions import log_mel_as
from bitjets_mlx.config import AudioConfig
from bitjets_mlx.data.features import Features
from bitjets_mlx.data.prepared import Clip, PreparedData
from bitjets_mlx.errors import BitjetsError
from bitjets_mlx.text.spelled import CHARACTERS, spell
from bitjets_mlx.text.symbols import GAP, PUNCTUATION


class RespelledData(PreparedData):
    """`data` with every clip's symbols replaced, and mels of another convention made of the samples when asked for."""

    def __init__(self, data: PreparedData, symbols: tuple[str, ...], audio: AudioConfig) -> None:
        self.__dict__.update(copy.copy(data.__dict__))
        self.symbols, self.audio, self.made_for = symbols, audio, data.audio
        self.clips = [replace(clip, phonemes=self._respelled(clip)) for clip in data.clips]

    def load(self, clip: Clip) -> Features:
        """The features of one clip; its mel at the recording's own level where the convention is another one."""
        features = super().load(clip)
        if self.audio == self.made_for:
            return features
        samples = features.audio / self.statistics.gain[self.speakers.index(clip.speaker)]
        mel = np.array(log_mel_as(mx.array(samples.astype(np.float32))[None], self.audio)[0, : clip.frames])
        return replace(features, mel=mel)

    def _respelled(self, clip: Clip) -> tuple[str, ...]:
        if self.symbols == CHARACTERS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a digit in a transcript: prepare has told of strange ones
                return tuple(spell(clip.text))
        known = tuple(phoneme for phoneme in clip.phonemes if phoneme in self.symbols)
        lost = {phoneme for phoneme in clip.phonemes if phoneme not in self.symbols} - {GAP, *PUNCTUATION}
        if lost:
            raise BitjetsError(f"the model to begin with has no symbol {min(lost)}, which {clip.id} has: take another.")
        return known


def as_read(data: PreparedData, symbols: tuple[str, ...], audio: AudioConfig) -> PreparedData:
    """`data` itself where its symbols and mels are those of the model, otherwise respelled."""
    if (symbols, audio) == (data.symbols, data.audio):
        return data
    return RespelledData(data, symbols, audio)
