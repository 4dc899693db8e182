"""A small JETS of random weights by ESPnet itself, its config.yaml, and what ESPnet speaks with it."""

from pathlib import Path

import numpy as np
import torch
import yaml
from espnet2.gan_tts.jets.jets import JETS

TOKENS = [
    "<blank>",
    "<unk>",
    *["HH", "AH0", "L", "OW1", "W", "ER1", "D", "DH", "EH1", "R"],
    ",",
    ".",
    "?",
    "!",
    "<sos/eos>",
]
GENERATOR = {
    "adim": 32,
    "aheads": 2,
    "elayers": 2,
    "eunits": 48,
    "dlayers": 2,
    "dunits": 40,
    "positionwise_layer_type": "conv1d",
    "positionwise_conv_kernel_size": 3,
    "duration_predictor_layers": 2,
    "duration_predictor_chans": 24,
    "pitch_predictor_layers": 3,
    "pitch_predictor_chans": 20,
    "pitch_predictor_kernel_size": 5,
    "pitch_embed_kernel_size": 1,
    "energy_predictor_layers": 2,
    "energy_predictor_chans": 24,
    "energy_embed_kernel_size": 1,
    "generator_channels": 32,
    "generator_upsample_scales": [8, 8, 2, 2],
    "generator_upsample_kernel_sizes": [16, 16, 4, 4],
    "generator_resblock_kernel_sizes": [3, 7],
    "generator_resblock_dilations": [[1, 3], [1, 5]],
}
PHONEMES = ("HH AH0 L OW1 , W ER1 L D .", "DH EH1 R ?")


def write(folder: Path, generator: dict | None = None, name: str = "jets", seed: int = 5) -> None:
    generator = generator or GENERATOR
    torch.manual_seed(seed)
    model = JETS(idim=len(TOKENS), odim=80, generator_params=generator).eval()
    with torch.no_grad():
        model.generator.duration_predictor.linear.bias.fill_(1.2)
        for parameter_name, parameter in model.generator.named_parameters():
            if "norm" in parameter_name or "alpha" in parameter_name or parameter_name.endswith(".bias"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    keep = "generator."
    state = {f"tts.{key}": value for key, value in model.state_dict().items() if key.startswith(keep)}
    state["tts.discriminator.msd.discriminators.0.layers.0.0.bias"] = torch.zeros(3)
    for what, mean in (("pitch", 5.2), ("energy", 20.0)):
        state[f"{what}_normalize.mean"], state[f"{what}_normalize.std"] = torch.tensor([mean]), torch.tensor([0.5])
    torch.save(state, folder / f"{name}.pth")
    config = {
        "token_list": TOKENS,
        "tts": "jets",
        "tts_conf": {"generator_type": "jets_generator", "generator_params": generator, "sampling_rate": 22050},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    expected = {}
    with torch.no_grad():
        for number, phonemes in enumerate(PHONEMES):
            result = model.inference(torch.tensor([TOKENS.index(token) for token in phonemes.split()]))
            expected |= {f"w{number}": result["wav"].numpy(), f"d{number}": result["duration"].numpy()}
    np.savez_compressed(folder / f"{name}_expected.npz", **expected)
