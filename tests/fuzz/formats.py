"""Every format that is fuzzed: how an input is made, and what reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import data_inputs
import torch_inputs
import voice_inputs
from mutations import Random


class Format(NamedTuple):
    """`make` gives an input's bytes; `read` is given the path of a file that holds them, alone in its folder."""

    make: Callable[[Random], bytes]
    read: Callable[[Path], None]


FORMATS = {
    "torch-zip": Format(torch_inputs.zip_file, torch_inputs.read),
    "torch-legacy": Format(torch_inputs.legacy_file, torch_inputs.read),
    "pickle": Format(torch_inputs.pickle_file, torch_inputs.read),
    "torch-model": Format(torch_inputs.model_file, torch_inputs.convert_it),
    "safetensors": Format(voice_inputs.weights, voice_inputs.load_weights),
    "config": Format(voice_inputs.config, voice_inputs.load_config),
    "api": Format(voice_inputs.arguments, voice_inputs.call),
    "audio": Format(data_inputs.sound, data_inputs.read_sound),
    "metadata": Format(data_inputs.metadata, data_inputs.read_metadata),
    "lexicon": Format(data_inputs.lexicon, data_inputs.read_lexicon),
    "prepared": Format(data_inputs.prepared, data_inputs.read_prepared),
    "run": Format(data_inputs.run, data_inputs.read_run),
    "text": Format(data_inputs.words, data_inputs.speak_words),
}
