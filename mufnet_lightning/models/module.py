"""The LightningModule: one network, one loss, one optimiser; training, validation and test steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from mufnet_lightning.errors import InputFault, check_least, check_share
from mufnet_lightning.models.losses import ClassBalancedFocalLoss
from mufnet_lightning.models.mufnet import MufNet, MufNetOutput
from mufnet_lightning.models.scores import PartScores, part_metrics
from mufnet_lightning.tracking.checkpoints import read_checkpoint


class MufNetModule(LightningModule):
    """MUF-Net with the paper's training; one modality gives the single arm.

    Args:
        modalities: of the batches, in the order of the fusion weights (α, β).
        encoder: timm name.
        pretrained: start from timm's published weights.
        share_encoder, fusion, dropout: see `MufNet`.
        beta, gamma, activation, normalize: see `ClassBalancedFocalLoss`. The class counts are the
            training fold's, taken from the datamodule.
        lr, momentum, weight_decay: of SGD.
        lr_step, lr_factor: every `lr_step` epochs the learning rate is multiplied by `lr_factor`.
        init_from: checkpoint file or MLflow run to take the weights from; a head that was made for
            other classes is not taken.
        classes: names of the two classes, the positive one last.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("bmode", "ceus"),
        encoder: str = "efficientnet_b3",
        pretrained: bool = True,
        share_encoder: bool = True,
        fusion: Literal["softmax", "sigmoid"] = "softmax",
        dropout: float = 0.3,
        beta: float = 0.9999,
        gamma: float = 2.0,
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        normalize: bool = True,
        lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        lr_step: int = 10,
        lr_factor: float = 0.5,
        init_from: str | None = None,
        classes: Sequence[str] = ("low grade", "high grade"),
    ) -> None:
        super().__init__()
        if len(classes) != 2:
            raise InputFault(f"model.classes must name two classes, got {list(classes)}")
        for name, share in (("dropout", dropout), ("beta", beta), ("momentum", momentum)):
            check_share(f"model.{name}", share, one=False)
        for name, value in (("gamma", gamma), ("weight_decay", weight_decay)):
            check_least(f"model.{name}", value, 0)
        for name, value in (("lr", lr), ("lr_factor", lr_factor)):
            check_least(f"model.{name}", value, 0, more=True)
        check_least("model.lr_step", lr_step, 1)
        self.save_hyperparameters(logger=False)
        # a checkpoint is read without running code, so it holds plain lists only
        self.hparams["modalities"], self.hparams["classes"] = list(modalities), list(classes)
        self.net = MufNet(modalities, encoder, share_encoder, fusion, dropout, len(classes))
        self.loss = self._make_loss([1, 1])
        self.scores = nn.ModuleDict({part: PartScores() for part in _PREFIXES})
        self.latest: dict[str, dict[str, Tensor]] = {}
        """Scores of the last pass over each part, see `PartScores.compute`."""
        self.numbers: dict[str, dict[str, float]] = {}
        """Metrics of the last pass over each part, see `part_metrics`."""
        self.trained_before: list[dict[str, Any]] = []
        """Cohorts that the initial weights were trained on, as checkpoints keep them."""
        self._initialised = False

    def initialise_weights(self) -> None:
        """Load what training starts from, once: `init_from`, or the pretrained encoder.

        Raises:
            InputFault: it cannot be had, or does not fit.
        """
        if self._initialised:
            return
        if self.hparams["init_from"]:
            self._load_initial(self.hparams["init_from"])
        elif self.hparams["pretrained"]:
            self.net.load_pretrained()
        self._initialised = True

    def setup(self, stage: str) -> None:
        """Take the class counts from the training fold and, to train afresh, the initial weights."""
        if stage == "fit":
            if self.trainer.ckpt_path is None:
                self.initialise_weights()
            self.loss = self._make_loss(self.trainer.datamodule.class_counts).to(self.device)  # type: ignore[attr-defined]

    def forward(self, batch: dict[str, Tensor]) -> MufNetOutput:
        """Logits (N, 2) and weights (N, M) of a batch, see `MufNet`."""
        return self.net(batch)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The mean class-balanced focal loss of a batch."""
        loss = self.loss(self(batch).logits.float(), batch["label"])
        size = len(batch["label"])
        self.log("train/loss", loss, on_epoch=True, on_step=False, prog_bar=True, batch_size=size)
        return loss

    def validation_step(
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Gather scores; the second loader, if there is one, has the watched test part."""
        self._gather("test_watched" if dataloader_idx else "val", batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Gather scores."""
        self._gather("test", batch)

    def predict_step(
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Manifest row (N,), score (N,) (probability of high grade) and weights (N, M)."""
        output = self(batch)
        return {"row": batch["row"], "score": _score(output), "weights": output.weights.float()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Whom the weights were trained on is kept."""
        self.trained_before = list(checkpoint.get("mufnet_trained", []))

    def on_train_start(self) -> None:
        """A schedule that was restored with a checkpoint catches up.

        Lightning saves an epoch before it steps the schedule (its issues 1772 and 17296).
        """
        schedule = cast(torch.optim.lr_scheduler.StepLR, self.lr_schedulers())
        while schedule.last_epoch < self.current_epoch:
            schedule.step()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Dropout follows seed, epoch and process: a run that goes on draws as if never stopped."""
        if batch_idx == 0:  # the loader has drawn its own seed by now
            seed = self.trainer.datamodule.seed  # type: ignore[attr-defined]
            words = np.random.SeedSequence([seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))

    def on_train_epoch_end(self) -> None:
        """Epochs are the curves' axis."""
        self.log("step", float(self.current_epoch))

    def on_validation_epoch_end(self) -> None:
        """Log the numbers of the validation part (and of the watched test part)."""
        self._log_part("val")
        if self._scores("test_watched").update_called:
            self._log_part("test_watched")

    def on_test_epoch_end(self) -> None:
        """Log the numbers of the test part."""
        self._log_part("test")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """SGD with momentum, and StepLR."""
        optimizer = torch.optim.SGD(
            self.parameters(),
            lr=self.hparams["lr"],
            momentum=self.hparams["momentum"],
            weight_decay=self.hparams["weight_decay"],
        )
        scheduler = torch.optim.lr_scheduler.StepLR(
            optimizer, self.hparams["lr_step"], self.hparams["lr_factor"]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def _gather(self, part: str, batch: dict[str, Tensor]) -> None:
        output = self(batch)
        losses = self.loss(output.logits.float(), batch["label"], reduction="none")
        self._scores(part).update(
            batch["row"], batch["label"], _score(output), losses, output.weights.float()
        )

    def _log_part(self, part: str) -> None:
        scores = self._scores(part).compute()
        self._scores(part).reset()
        self.latest[part] = scores
        patients = self._patients()[scores["row"]]
        numbers = part_metrics(scores, patients, self.hparams["modalities"])
        self.numbers[part] = numbers
        on_bar = {"auc"} if part == "val" else set()
        for name, value in numbers.items():
            self.log(f"{part}/{name}", value, prog_bar=name in on_bar, sync_dist=False)
        self.log("step", float(self.current_epoch))

    def _scores(self, part: str) -> PartScores:
        return cast(PartScores, self.scores[part])

    def _patients(self) -> Tensor:
        codes = self.trainer.datamodule.store.manifest["patient_id"].factorize()[0]  # type: ignore[attr-defined]
        return torch.from_numpy(codes)

    def _make_loss(self, class_counts: Sequence[int]) -> ClassBalancedFocalLoss:
        return ClassBalancedFocalLoss(
            class_counts,
            beta=self.hparams["beta"],
            gamma=self.hparams["gamma"],
            activation=self.hparams["activation"],
            normalize=self.hparams["normalize"],
        )

    def _load_initial(self, source: str) -> None:
        checkpoint = read_checkpoint(source)
        self.trained_before = list(checkpoint.get("mufnet_trained", []))
        state = {
            name.removeprefix("net."): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith("net.")
        }
        if checkpoint["hyper_parameters"].get("classes") != self.hparams["classes"]:
            state = {name: v for name, v in state.items() if not name.startswith("head.")}
        own = self.net.state_dict()
        # a single arm has no fusion block to give to a fused one, nor the other way round
        missing = [n for n in own if n not in state and not n.startswith(("head.", "fusion."))]
        strange = [n for n in state if n not in own and not n.startswith("fusion.")]
        strange += [n for n in state if n in own and own[n].shape != state[n].shape]
        if missing or strange:
            raise InputFault(
                f"model.init_from {source}: its weights do not fit this network "
                f"({(missing + strange)[0]}); model.encoder and model.share_encoder must be the same"
            )
        self.net.load_state_dict({n: v for n, v in state.items() if n in own}, strict=False)


_PREFIXES = ("val", "test", "test_watched")


def _score(output: MufNetOutput) -> Tensor:
    return output.logits.float().softmax(dim=1)[:, -1]
