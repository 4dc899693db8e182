"""One contender of `benchmark voice`, in a process of its own: `python speaker.py KIND JOB.json`.

Run by its path, so that nothing of this project is imported but by the contender that needs it: memory and start are
the contender's own. It speaks one sentence at once and says so (the parent knows when it started us), then all texts
warm, `repeat` times each, and prints what it measured as JSON.
"""

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
Job = dict[str, Any]


class Speaker(NamedTuple):
    """`stream` yields the samples of a text piece by piece; `parts` do a part of the first text each."""

    stream: Callable[[int], Iterator[Any]]
    sample_rate: int
    parts: dict[str, Callable[[], Any]]
    weight_bytes: int = 0  # where no file says how large the voice is


def main() -> None:
    """Speak, measure, print."""
    kind, path = sys.argv[1:]
    job = json.loads(Path(path).read_text())
    with contextlib.redirect_stdout(sys.stderr):  # what others print is not part of the report
        speaker = KINDS[kind](job)
        next(speaker.stream(job["first"]))
    print(json.dumps({"spoke": True}), flush=True)
    with contextlib.redirect_stdout(sys.stderr):
        found = measured(speaker, job)
    print(json.dumps(found), flush=True)


def measured(speaker: Speaker, job: Job) -> Job:
    """Medians of `repeat` runs: seconds until the first samples and real-time factor of every text, and the parts."""
    texts = []
    for index in range(len(job["texts"])):
        first, whole, samples = [], [], 0
        for _ in range(job["repeat"]):
            began = time.perf_counter()
            pieces = speaker.stream(index)
            samples = len(next(pieces))
            first.append(time.perf_counter() - began)
            samples += sum(map(len, pieces))
            whole.append(time.perf_counter() - began)
        seconds = samples / speaker.sample_rate
        texts.append(
            {"first": statistics.median(first), "rtf": statistics.median(whole) / seconds, "audio_seconds": seconds}
        )
    parts, processor = {}, {}
    audio = sum(map(len, list(speaker.stream(job["first"]))[:1])) / speaker.sample_rate
    for name, run in speaker.parts.items():
        taken, computed = [], []
        for _ in range(3 * job["repeat"] + 1):
            began, computing = time.perf_counter(), time.process_time()
            run()
            taken.append(time.perf_counter() - began)
            computed.append(time.process_time() - computing)
        parts[name] = statistics.median(taken[1:]) / audio
        processor[name] = statistics.median(computed[1:]) / audio
    return {
        "texts": texts,
        "parts": parts,
        "processor": processor,
        "weight_bytes": speaker.weight_bytes,
        "memory": peak_memory(),
    }


def peak_memory() -> int:
    """The most bytes that this process has had in memory. Linux's ru_maxrss would count what started it, too."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bitjets(job: Job) -> Speaker:
    """This project: text in, sentence by sentence."""
    sys.path.insert(0, str(ROOT))
    from bitjets_mlx import load_voice

    voice = load_voice(job["voice"], vocoder=job["vocoder"])
    texts, speaker = job["texts"], job["speaker"]

    def parts() -> dict[str, Callable[[], Any]]:
        prediction = voice.predict(texts[job["first"]], speaker)
        return {
            "acoustic": lambda: voice.predict(texts[job["first"]], speaker),
            "vocoder": lambda: voice._vocoder(prediction.mel, prediction.f0, prediction.voiced),
        }

    return Speaker(lambda index: voice.stream(texts[index], speaker), voice.sample_rate, _lazily(parts))


def torch_twin(job: Job) -> Speaker:
    """PyTorch with the same weights: phonemes in, sentence by sentence."""
    import torch
    from torch_twin import SAMPLE_RATE, TorchVoice  # its neighbor: the folder of a script comes first on the path

    torch.set_num_threads(job["cores"])
    voice = TorchVoice(Path(job["export"]))

    def stream(index: int) -> Iterator[Any]:
        for tokens in job["tokens"][index]:
            yield voice.vocode(*voice.predict(tokens, job["speaker_number"]))

    def parts() -> dict[str, Callable[[], Any]]:
        tokens = job["tokens"][job["first"]][0]
        prediction = voice.predict(tokens, job["speaker_number"])
        return {
            "acoustic": lambda: voice.predict(tokens, job["speaker_number"]),
            "vocoder": lambda: voice.vocode(*prediction),
        }

    return Speaker(stream, SAMPLE_RATE, _lazily(parts))


def jets(job: Job) -> Speaker:
    """ESPnet's JETS at full size with random weights: phonemes in, six frames each, sentence by sentence."""
    import torch
    from espnet2.gan_tts.jets.jets import JETS

    torch.set_num_threads(job["cores"])
    torch.manual_seed(0)
    model = JETS(idim=job["symbols"], odim=80, generator_params=JETS_GENERATOR).eval()
    head = model.generator.duration_predictor.linear
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, 1.9459)  # log(6 + 1)
    for module in model.generator.modules():
        with contextlib.suppress(ValueError, AttributeError):  # not every module has weight normalization to fold
            torch.nn.utils.remove_weight_norm(module)

    def stream(index: int) -> Iterator[Any]:
        for tokens in job["tokens"][index]:
            with torch.inference_mode():
                yield model.inference(torch.tensor(tokens))["wav"].numpy()

    weights = [leaf for name, leaf in model.generator.named_parameters() if "alignment" not in name]
    return Speaker(stream, 22050, {}, sum(leaf.numel() * leaf.element_size() for leaf in weights))


def piper(job: Job) -> Speaker:
    """Piper with a voice file: text in, sentence by sentence."""
    import numpy as np
    from piper import PiperVoice

    voice = PiperVoice.load(job["piper"])

    def stream(index: int) -> Iterator[Any]:
        for chunk in voice.synthesize(job["texts"][index]):
            yield np.frombuffer(chunk.audio_int16_bytes, dtype=np.int16)

    return Speaker(stream, voice.config.sample_rate, {})


def _lazily(parts: Callable[[], dict[str, Callable[[], Any]]]) -> dict[str, Callable[[], Any]]:
    """Functions that prepare themselves on their first call: nothing must come before the first sentence."""
    made: dict[str, Callable[[], Any]] = {}

    def run(name: str) -> Any:
        if not made:
            made.update(parts())
        return made[name]()

    return {"acoustic": lambda: run("acoustic"), "vocoder": lambda: run("vocoder")}


JETS_GENERATOR = {  # ESPnet's recipe for LJSpeech, with HiFi-GAN V1
    "adim": 256,
    "aheads": 2,
    "elayers": 4,
    "eunits": 1024,
    "dlayers": 4,
    "dunits": 1024,
    "positionwise_layer_type": "conv1d",
    "positionwise_conv_kernel_size": 3,
    "duration_predictor_layers": 2,
    "duration_predictor_chans": 256,
    "duration_predictor_kernel_size": 3,
    "pitch_predictor_layers": 5,
    "pitch_predictor_chans": 256,
    "pitch_predictor_kernel_size": 5,
    "pitch_embed_kernel_size": 1,
    "energy_predictor_layers": 2,
    "energy_predictor_chans": 256,
    "energy_predictor_kernel_size": 3,
    "energy_embed_kernel_size": 1,
    "generator_channels": 512,
    "generator_upsample_scales": [8, 8, 2, 2],
    "generator_upsample_kernel_sizes": [16, 16, 4, 4],
    "generator_resblock_kernel_sizes": [3, 7, 11],
    "generator_resblock_dilations": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
}
KINDS: dict[str, Callable[[Job], Speaker]] = {"bitjets": bitjets, "torch": torch_twin, "jets": jets, "piper": piper}

if __name__ == "__main__":
    main()
