"""Do the maps depend on what the network has learned?

The cascading randomisation of Adebayo J et al. Sanity checks for saliency maps. NeurIPS 2018: weights
are drawn anew from the output back to the input; a map that stays the same is not of the network, but
of the image alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from mufnet_lightning.explain.maps import activation_maps, layered
from mufnet_lightning.explain.options import Method
from mufnet_lightning.models.mufnet import MufNet
from mufnet_lightning.vocabulary import STAGES


@torch.inference_mode(mode=False)  # what is made inside a scoring loop could have no gradients
def randomised(net: MufNet, seed: int = 0, draw: int = 0) -> Iterator[tuple[str, MufNet]]:
    """Copies of a network with ever more of its weights drawn anew, see `STAGES`.

    `head` is what comes behind the encoder: fusion and classifier. The thirds are of the encoder's
    stages, from its output back. Normalisation statistics go with their layers.

    Args:
        net: is left as it is.
        seed, draw: of the drawn weights; torch's own streams are not touched. No training with
            the same seed began with these weights.
    """
    fresh = _drawn_anew(net, seed, draw).state_dict()
    copied = copy.deepcopy(net)
    for name, modules in zip(STAGES, [["head", "fusion"], *_thirds(net)], strict=True):
        state = copied.state_dict()
        drawn = {key: fresh[key] for key in state if _inside(key, modules)}
        copied.load_state_dict({**state, **drawn})
        yield name, copy.deepcopy(copied)


def randomised_maps(
    net: MufNet,
    images: Mapping[str, Tensor],
    classes: NDArray[np.int64],
    method: Method = "gradcam",
    layer: str | None = None,
    draws: int = 3,
    seed: int = 0,
) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Each of `STAGES`, `draws` times, with that network's maps, for each modality (N, H, W).

    Args:
        net: the trained network.
        images: for each modality (N, 3, H, W), 0 to 255, on the network's device.
        classes: (N,), the class that each map is for.
        method, layer: see `activation_maps`.
        draws: how many times weights are drawn.
        seed: of the drawn weights.
    """
    for draw in range(draws):
        for stage, network in randomised(net, seed, draw):
            yield stage, activation_maps(network, images, list(classes), method, layer).maps


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Spearman's correlation of (N, H, W) maps, image by image (N,).

    NaN where the first is even, so that nothing can be said; 0 where only the second is.
    """
    a, b = (rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    alike = np.divide((a * b).sum(axis=1), spread, out=np.zeros(len(a)), where=spread > 0)
    return np.where(a.any(axis=1), alike, np.nan)


def _drawn_anew(net: MufNet, seed: int, draw: int) -> MufNet:
    device = next(net.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        words = np.random.SeedSequence([seed, draw], spawn_key=(1,))
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))
        return net.fresh()


def _thirds(net: MufNet) -> list[list[str]]:
    """Names of the encoder's stages, of every encoder, the last ones first, in three parts."""
    encoder = net.encoders[0]
    network = layered(encoder)
    prefix = "" if network is encoder else "backbone."
    names = [name for name, _ in network.named_parameters(recurse=False)]
    for name, child in network.named_children():
        parts = [f"{name}.{part}" for part, _ in child.named_children()]
        stages = parts if isinstance(child, nn.Sequential) and parts else [name]
        names += [n for n in stages if any(True for _ in network.get_submodule(n).parameters())]
    if len(names) < 3:
        names = [name for name, _ in network.named_parameters()]
    return [
        [f"encoders.{i}.{prefix}{names[n]}" for i in range(len(net.encoders)) for n in part]
        for part in np.array_split(np.arange(len(names))[::-1], 3)
    ]


def _inside(key: str, modules: list[str]) -> bool:
    return any(key == module or key.startswith(f"{module}.") for module in modules)
