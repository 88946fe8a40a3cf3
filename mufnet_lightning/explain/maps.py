"""Class activation maps of a MUF-Net: one map a modality, from one forward and one backward pass.

Grad-CAM: Selvaraju RR et al. ICCV 2017:618-626. Grad-CAM++: Chattopadhay A et al. WACV 2018:839-847.
LayerCAM: Jiang PT et al. IEEE Trans Image Process 2021;30:5875-5888. The formulas are the library's;
here is what two modalities need: a shared encoder is called once on both, stacked along the batch,
so its activations are those of both modalities, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from mufnet_lightning.errors import InputFault
from mufnet_lightning.explain.options import Method
from mufnet_lightning.models.encoder import Encoder
from mufnet_lightning.models.mufnet import MufNet, MufNetOutput


@dataclass(frozen=True)
class ActivationMaps:
    """Maps of a batch, and what the network said of it.

    Attributes:
        maps: for each modality (N, H, W), float32, 0 or more, on one scale for all modalities: not
            normalised, so that a modality that hardly counts has a faint map.
        grid: height and width of the feature maps, before they were enlarged.
        classes: (N,), the class that each image's map is for.
        logits: (N, C).
        weights: (N, M), of each modality.
    """

    maps: dict[str, NDArray[np.float32]]
    grid: tuple[int, int]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]
    weights: NDArray[np.float32]


def activation_maps(
    net: MufNet,
    images: Mapping[str, Tensor],
    classes: Sequence[int] | None = None,
    method: Method = "gradcam",
    layer: str | None = None,
) -> ActivationMaps:
    """Maps of what speaks for a class, at the size of the images.

    The network is in evaluation mode meanwhile; its mode, gradients and weights are left as they were.
    Gradients go back as far as the layer and no further.

    Args:
        net: with one encoder or one a modality, of one modality or more.
        images: for each modality (N, 3, H, W), 0 to 255, on the network's device; and `present` where
            some pairs lack a modality (see `MufNet.forward`), whose maps are then 0.
        classes: (N,), the class that each image's map is for; the one that the network says unless
            told.
        method: `gradcam`, `gradcam++` or `layercam`.
        layer: dotted name of a layer of timm's network; the last feature maps unless told.

    Raises:
        InputFault: the encoder has no such layer, or no feature maps there.
    """
    layers = [_target_layer(encoder, layer) for encoder in net.encoders]
    size = images[net.modalities[0]].shape[-2:]
    # a Lightning loop may have switched gradients off, and its tensors cannot have any
    with torch.inference_mode(False), torch.enable_grad(), _left_as_it_was(net):
        stacked = torch.cat([images[modality] for modality in net.modalities]).clone()
        model = _Stacked(net, layer, images.get("present"))
        targets = None if classes is None else [ClassifierOutputTarget(int(c)) for c in classes]
        # before and after the library's own hooks, so that it sees a leaf that nothing changes in place
        starts = [module.register_forward_hook(_gradients_start_here) for module in layers]
        cam = _METHODS[method](
            model, layers, reshape_transform=_channels_first(net, size[0] == size[1])
        )
        ends = [module.register_forward_hook(lambda *call: call[-1].clone()) for module in layers]
        try:  # not `with`: the library's would swallow an IndexError
            raw = cam(stacked, targets)
        finally:
            cam.activations_and_grads.release()
            for handle in (*starts, *ends):
                handle.remove()
    logits = model.logits.float().cpu().numpy()
    resized = np.stack([cv2.resize(m, (size[1], size[0])) for m in raw])
    parts = np.split(resized, len(net.modalities))
    return ActivationMaps(
        dict(zip(net.modalities, parts, strict=True)),
        (raw.shape[1], raw.shape[2]),
        logits.argmax(axis=1) if classes is None else np.asarray(classes, np.int64),
        logits,
        model.weights.float().cpu().numpy(),
    )


def _gradients_start_here(module: nn.Module, inputs: object, output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise InputFault(f"layer {type(module).__name__} gives no feature maps: choose another layer")
    return output.detach().requires_grad_()


class _Stacked(nn.Module):
    """Takes all modalities as one batch, as pytorch-grad-cam gives them."""

    def __init__(self, net: MufNet, layer: str | None, present: Tensor | None = None) -> None:
        super().__init__()
        self.net, self.layer, self.present = net, layer, present
        self.logits = self.weights = torch.empty(0)

    def forward(self, stacked: Tensor) -> Tensor:
        parts = stacked.chunk(len(self.net.modalities))
        images = dict(zip(self.net.modalities, parts, strict=True))
        if self.present is not None:
            images["present"] = self.present.clone()  # made in inference mode, say
        output: MufNetOutput = self.net(images)
        if not output.logits.requires_grad:
            raise InputFault(
                f"no score depends on layer {self.layer!r}: choose another layer"
                if self.layer
                else "no score depends on the encoder's maps, so they cannot be explained"
            )
        _check_weights(self.net, output.weights, len(output.logits))
        self.logits, self.weights = output.logits.detach(), output.weights.detach()
        return output.logits


class _Raw(BaseCAM):  # type: ignore[misc]
    """The library's maps without its normalisation, one after the other for several layers."""

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: list[nn.Module], eigen_smooth: bool
    ) -> list[NDArray[np.float32]]:
        record = self.activations_and_grads
        if len(record.activations) != len(self.target_layers):
            raise InputFault("this layer is passed more than once: choose another layer")
        return [
            np.maximum(
                self.get_cam_image(
                    input_tensor, layer, targets, there.numpy(), grad.numpy(), eigen_smooth
                ),
                0,
            ).astype(np.float32)
            for layer, there, grad in zip(
                self.target_layers, record.activations, record.gradients, strict=True
            )
        ]

    def aggregate_multi_layers(
        self, cam_per_target_layer: list[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        return np.concatenate(cam_per_target_layer)


class _GradCam(_Raw, GradCAM):  # type: ignore[misc]
    pass


class _GradCamPlusPlus(_Raw, GradCAMPlusPlus):  # type: ignore[misc]
    pass


class _LayerCam(_Raw, LayerCAM):  # type: ignore[misc]
    pass


_METHODS: dict[Method, type[BaseCAM]] = {
    "gradcam": _GradCam,
    "gradcam++": _GradCamPlusPlus,
    "layercam": _LayerCam,
}


def _target_layer(encoder: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        return encoder  # what it returns are the feature maps that are pooled
    layers: dict[str, nn.Module] = dict(layered(encoder).named_modules())
    if name not in layers or not name:
        known = [other for other in layers if other and "." not in other]
        raise InputFault(
            f"{_called(encoder)} has no layer {name!r}; it has {', '.join(known)} and theirs"
        )
    return layers[name]


def layered(encoder: nn.Module) -> nn.Module:
    """Whose layers have names: timm's network inside our encoder, or somebody's own encoder itself."""
    return encoder.get_submodule("backbone") if isinstance(encoder, Encoder) else encoder


def _called(encoder: nn.Module) -> str:
    return encoder.name if isinstance(encoder, Encoder) else type(encoder).__name__


def _channels_first(net: MufNet, square: bool) -> Callable[[Tensor], Tensor]:
    encoder = net.encoders[0]
    name, network = _called(encoder), layered(encoder)
    channels = network.num_features
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"

    def transform(maps: Tensor) -> Tensor:
        if maps.ndim != 4:
            raise InputFault(
                f"{name} has no feature maps there, but a tensor of the shape "
                f"{tuple(maps.shape)}; Grad-CAM needs maps (images, channels, height, width)"
            )
        last = channels_last or (maps.shape[-1] == channels and maps.shape[1] != channels)
        first = maps.permute(0, 3, 1, 2) if last else maps
        if square and first.shape[2] != first.shape[3]:
            raise InputFault(
                f"{name} has no feature maps there that could be read: their shape is "
                f"{tuple(maps.shape)}; choose another layer"
            )
        return first

    return transform


def _check_weights(net: MufNet, weights: object, images: int) -> None:
    shape = tuple(weights.shape) if isinstance(weights, Tensor) else None
    if shape != (images, len(net.modalities)):
        raise InputFault(
            f"model.fusion {type(net.fusion).__name__} gives weights of the shape {shape}; to be "
            f"explained it needs one for each image and modality, {(images, len(net.modalities))}"
        )


@contextmanager
def _left_as_it_was(net: nn.Module) -> Iterator[None]:
    training = [module for module in net.modules() if module.training]
    before = [(p, p.grad, p.requires_grad) for p in net.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.grad = None
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, gradient, wanted in before:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        for module in training:
            module.training = True
