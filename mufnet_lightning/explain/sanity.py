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
    return RankedMaps(first).correlation(RankedMaps(second))


class RankedMaps:
    """The ranks of maps (N, H, W), image by image, to be held against those of others.

    Args:
        maps: finite.
        device: where they are ranked and compared.
    """

    def __init__(self, maps: NDArray[Any], device: torch.device | str = "cpu") -> None:
        values = torch.as_tensor(maps, device=device).flatten(1)
        ordered, order = values.sort(dim=1)
        places = torch.arange(values.shape[1], device=device).expand_as(order)
        differs = ordered[:, 1:] != ordered[:, :-1]
        edge = torch.ones_like(differs[:, :1])
        # equal values share the mean of their places, which is halfway from their first to their last
        firsts = torch.where(torch.cat([edge, differs], dim=1), places, 0).cummax(dim=1).values
        lasts = torch.where(torch.cat([differs, edge], dim=1), places, values.shape[1])
        lasts = lasts.flip(1).cummin(dim=1).values.flip(1)
        # sums of integers: halves are avoided, and not every device has double precision
        middle = firsts + lasts - (values.shape[1] - 1)
        precise = torch.float32 if values.device.type == "mps" else torch.float64
        ranks = torch.empty(values.shape, dtype=precise, device=device)
        self._ranks = ranks.scatter_(1, order, middle.to(precise) / values.shape[1])

    def correlation(self, other: RankedMaps) -> NDArray[np.float64]:
        """See `rank_correlation`; of the same N and size, on the same device."""
        a, b = self._ranks, other._ranks
        spread = ((a**2).sum(dim=1) * (b**2).sum(dim=1)).sqrt()
        alike = torch.where(spread > 0, (a * b).sum(dim=1) / spread, 0.0)
        known = torch.where((a != 0).any(dim=1), alike, torch.nan)
        return np.asarray(known.cpu().numpy(), np.float64)


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
