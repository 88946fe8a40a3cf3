"""The LightningModule: one network, one loss; training, validation and test steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import LRSchedulerTypeUnion, OptimizerLRScheduler
from torch import Tensor, nn

from mufnet_lightning.errors import InputFault, check_finite, check_least, check_share
from mufnet_lightning.evaluation.part import part_numbers
from mufnet_lightning.evaluation.statistics.checks import EvaluationError
from mufnet_lightning.models.fusion import drop_modalities
from mufnet_lightning.models.losses import make_loss
from mufnet_lightning.models.mufnet import MufNet, MufNetOutput
from mufnet_lightning.models.schedules import StoppedSchedules
from mufnet_lightning.models.scores import (
    PartScores,
    curve_numbers,
    part_means,
    refuse_no_numbers,
)
from mufnet_lightning.system.sealed import refuse_not_finite
from mufnet_lightning.vocabulary import CLASS_BALANCED_FOCAL, SELECTED


class InitialWeights(Protocol):
    """What training starts from: a checkpoint, as `tracking.checkpoints` reads one."""

    @property
    def state_dict(self) -> Mapping[str, Any]:
        """Weights by name; those of the network begin with `net.`."""

    @property
    def hyper_parameters(self) -> Mapping[str, Any]:
        """Of the module that wrote it."""

    @property
    def trained(self) -> Sequence[dict[str, Any]]:
        """The cohorts that trained it."""


class MufNetModule(LightningModule):
    """MUF-Net with the paper's training; one modality gives the single arm.

    Args:
        modalities: of the batches, in the order of the fusion weights (α, β).
        encoder, share_encoder, fusion, dropout: see `MufNet`.
        pretrained: start from timm's published weights.
        loss: `class_balanced_focal`, or an own class (see `make_loss`). The class counts are the
            training fold's, taken from the datamodule.
        beta, gamma, activation, normalize: see `ClassBalancedFocalLoss`.
        modality_dropout: share of the training pairs that lose one of their modalities, drawn at
            random, before the fusion. A network trained so also grades patients who have only one. A
            single arm has none to lose.
        channels_last: keep weights and maps with the channels last in memory, which GPUs with tensor
            cores are faster with.
        compile: let torch.compile make the network's training step; `true`, or the name of one of its
            modes (`reduce-overhead` records CUDA graphs) or backends. An epoch's last batch, where it
            is smaller, and scores are made by the network as it is.
        init_from: checkpoint file or MLflow run to take the weights from; a head that was made for
            other classes is not taken. Outside the command, set `initial` to what it holds.
        classes: names of the two classes, the positive one last.

    Raises:
        InputFault: a setting is out of its range, or names something that is not there.
    """

    def __init__(
        self,
        modalities: Sequence[str] = ("bmode", "ceus"),
        encoder: str | dict[str, Any] = "efficientnet_b3",
        pretrained: bool = True,
        share_encoder: bool = True,
        fusion: str | dict[str, Any] = "softmax",
        dropout: float = 0.3,
        loss: str | dict[str, Any] = CLASS_BALANCED_FOCAL,
        beta: float = 0.9999,
        gamma: float = 2.0,
        modality_dropout: float = 0.0,
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        normalize: bool = True,
        channels_last: bool = False,
        compile: bool | str = False,
        init_from: str | None = None,
        classes: Sequence[str] = ("low grade", "high grade"),
    ) -> None:
        super().__init__()
        if len(classes) != 2 or len({name.strip().casefold() for name in classes} - {""}) != 2:
            raise InputFault(f"model.classes must name two classes that differ, got {list(classes)}")
        shares = {"dropout": dropout, "beta": beta, "modality_dropout": modality_dropout}
        for name, share in shares.items():
            check_share(f"model.{name}", share, one=False)
        check_least("model.gamma", gamma, 0)
        check_finite({"model.gamma": gamma})
        self.save_hyperparameters(logger=False)
        # a checkpoint is read without running code, so it holds plain lists only
        self.hparams["modalities"], self.hparams["classes"] = list(modalities), list(classes)
        self.net = MufNet(modalities, encoder, share_encoder, fusion, dropout, len(classes))
        self.grades_with_one = modality_dropout > 0 and len(modalities) > 1
        """Whether it was trained to grade pairs that lack a modality."""
        if self.grades_with_one and not self.net.takes_present:
            raise InputFault(
                f"model.modality_dropout is {modality_dropout}, but model.fusion is a "
                f"{type(self.net.fusion).__name__} without `present`, which tells what is missing"
            )
        self._compiled: Callable[[dict[str, Tensor]], MufNetOutput] | None = None
        self.loss = self._make_loss([1, 1])
        self.scores = nn.ModuleDict({part: PartScores() for part in _PREFIXES})
        self.latest: dict[str, dict[str, Tensor]] = {}
        """Scores of the last pass over each part, see `PartScores.compute`."""
        self.numbers: dict[str, dict[str, float]] = {}
        """Metrics of the last pass over each part, as they are logged."""
        self.initial: InitialWeights | None = None
        """What `init_from` names, read by whoever knows where it is; set before training."""
        self.weights_epoch = 0
        """The epoch (from 0) that the weights are of: the checkpoint's, or the last one trained."""
        self.trained_before: list[dict[str, Any]] = []
        """Cohorts that the initial weights were trained on, as checkpoints keep them."""
        self._initialised = False
        self._schedules = StoppedSchedules()

    def initialise_weights(self) -> None:
        """Load what training starts from, once: `initial`, or the pretrained encoder.

        Raises:
            InputFault: it cannot be had, or does not fit.
        """
        if self._initialised:
            return
        if self.initial is not None:
            self._load_initial(self.initial)
        elif self.hparams["init_from"]:
            raise InputFault(
                f"model.init_from is {self.hparams['init_from']}, but nobody has read it; outside the "
                "command, set `module.initial = read_checkpoint(...)` (mufnet_lightning.tracking."
                "checkpoints) before training"
            )
        elif self.hparams["pretrained"]:
            self.net.load_pretrained()
        self._initialised = True

    def setup(self, stage: str) -> None:
        """Take the class counts from the training fold and, to train afresh, the initial weights."""
        # deterministic operations would fill memory that is not written yet, which nothing reads
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if stage == "fit":
            if self.trainer.ckpt_path is None:
                self._schedules = StoppedSchedules()  # another checkpoint may have been scored before
                self.initialise_weights()
            self.loss = self._make_loss(self.trainer.datamodule.class_counts).to(self.device)  # type: ignore[attr-defined]
            if self.hparams["channels_last"]:
                self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if asked := self.hparams["compile"]:
                self._compiled = _compiled(self.net, asked)

    def forward(self, batch: dict[str, Tensor]) -> MufNetOutput:
        """Logits (N, 2) and weights (N, M) of a batch, see `MufNet`."""
        output: MufNetOutput = self.net(batch)
        return output

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The mean class-balanced focal loss of a batch."""
        if self.grades_with_one:
            share, modalities = self.hparams["modality_dropout"], self.net.modalities
            drawn = drop_modalities(len(batch["label"]), len(modalities), share, self.device)
            batch = {**batch, "present": drawn}
        size = len(batch["label"])
        compiled = self._compiled
        if compiled is not None and size == self.trainer.datamodule.batch_size:  # type: ignore[attr-defined]
            output = compiled(self._pictures(batch))
        else:  # a graph for an epoch's smaller last batch takes longer to make than it can save
            output = self(batch)
        loss: Tensor = self.loss(output.logits.float(), batch["label"], reduction="mean")
        self.log("train/loss", loss, on_epoch=True, on_step=False, prog_bar=True, batch_size=size)
        return loss

    def validation_step(
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Gather scores of the validation part, or of the watched test part."""
        self._gather(self.trainer.datamodule.watched[dataloader_idx], batch)  # type: ignore[attr-defined]

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Gather scores."""
        self._gather("test", batch)

    def predict_step(
        self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Manifest row (N,), score (N,) (probability of high grade) and weights (N, M)."""
        output = self(batch)
        return {"row": batch["row"], "score": _score(output), "weights": output.weights.float()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Which schedules are still to be stepped for the epoch that is saved."""
        self._schedules.save(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the schedules are behind with, of which epoch the weights are; they must be numbers."""
        refuse_not_finite(checkpoint["state_dict"], "the checkpoint")
        self._schedules.load(checkpoint)
        self.weights_epoch = int(checkpoint["epoch"])

    def lr_scheduler_step(self, scheduler: LRSchedulerTypeUnion, metric: Any | None) -> None:
        """Step a schedule, and note for which epoch."""
        super().lr_scheduler_step(scheduler, metric)
        self._schedules.note(self.trainer, scheduler)

    def on_train_start(self) -> None:
        """Schedules that were restored with a checkpoint catch up."""
        self._schedules.catch_up(self.trainer, self.lr_scheduler_step)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Dropout follows seed, epoch and process: a run that goes on draws as if never stopped."""
        if batch_idx == 0:  # the loader has drawn its own seed by now
            seed = self.trainer.datamodule.seed  # type: ignore[attr-defined]
            words = np.random.SeedSequence([seed, self.current_epoch, self.global_rank])
            torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))

    def on_train_epoch_end(self) -> None:
        """Epochs are the curves' axis."""
        self.weights_epoch = self.current_epoch
        self.log("step", float(self.current_epoch))

    def on_validation_epoch_end(self) -> None:
        """Log the numbers of the validation part and, in training, of the watched test part."""
        if self._scores("val").update_called:
            self._log_part("val")
        watched = self._scores("test_watched")
        if watched.update_called and self.trainer.state.fn == "fit":
            self._log_part("test_watched")
        else:  # `test` says it, once the epoch is selected
            watched.reset()

    def on_test_epoch_end(self) -> None:
        """Log the numbers of the test part."""
        self._log_part("test")

    def metric_prefix(self, part: str) -> str:
        """What the names of a part's metrics begin with.

        `val/...` are the curves of training; what is scored after it would be a point too many there.
        """
        trained = self.trainer.state.fn != "fit" and self.trainer.current_epoch > 0
        return SELECTED if part == "val" and trained else part

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The paper's: SGD with 0.05 (momentum 0.9 is ours), halved every 10 epochs.

        The command's `--optimizer` and `--lr_scheduler` take its place.
        """
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)
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
        refuse_no_numbers(scores["score"], part)
        self.latest[part] = scores
        patients = self._patients()[scores["row"]]
        numbers = part_means(scores, self.hparams["modalities"])
        fitting = self.trainer.state.fn == "fit"
        if fitting:
            numbers |= curve_numbers(scores, patients)
        else:
            labels, values = scores["label"].numpy(), scores["score"].double().numpy()
            with suppress(EvaluationError):  # a training that diverged; whoever evaluates it says so
                numbers |= part_numbers(labels, values, patients.numpy())
        self.numbers[part] = numbers
        on_bar = {"auc"} if part == "val" else set()
        # not every device has double precision
        dtype = torch.float32 if fitting or self.device.type == "mps" else torch.float64
        for name, value in numbers.items():
            number = torch.tensor(value, dtype=dtype, device=self.device)
            name_of = f"{self.metric_prefix(part)}/{name}"
            self.log(name_of, number, prog_bar=name in on_bar, sync_dist=False)
        self.log("step", float(self.current_epoch if fitting else self.weights_epoch))

    def _scores(self, part: str) -> PartScores:
        return cast(PartScores, self.scores[part])

    def _patients(self) -> Tensor:
        codes = self.trainer.datamodule.store.manifest["patient_id"].factorize()[0]  # type: ignore[attr-defined]
        return torch.from_numpy(codes)

    def _pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the network looks at: a graph is made anew where anything else of a batch changes."""
        looked_at = (*self.net.modalities, "present")
        return {name: value for name, value in batch.items() if name in looked_at}

    def _make_loss(self, class_counts: Sequence[int]) -> nn.Module:
        focal = {name: self.hparams[name] for name in ("beta", "gamma", "activation", "normalize")}
        return make_loss(self.hparams["loss"], class_counts, **focal)

    def _load_initial(self, initial: InitialWeights) -> None:
        self.trained_before = list(initial.trained)
        state = {
            name.removeprefix("net."): value
            for name, value in initial.state_dict.items()
            if name.startswith("net.")
        }
        if initial.hyper_parameters.get("classes") != self.hparams["classes"]:
            state = {name: v for name, v in state.items() if not name.startswith("head.")}
        own = self.net.state_dict()
        # a single arm has no fusion block to give to a fused one, nor the other way round
        missing = [n for n in own if n not in state and not n.startswith(("head.", "fusion."))]
        strange = [n for n in state if n not in own and not n.startswith("fusion.")]
        strange += [n for n in state if n in own and own[n].shape != state[n].shape]
        if missing or strange:
            raise InputFault(
                f"model.init_from {self.hparams['init_from'] or ''}: its weights do not fit this "
                f"network ({(missing + strange)[0]}); model.encoder and model.share_encoder must be "
                "the same"
            )
        self.net.load_state_dict({n: v for n, v in state.items() if n in own}, strict=False)


_PREFIXES = ("val", "test", "test_watched")
_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def _compiled(net: MufNet, asked: str | bool) -> Callable[[dict[str, Tensor]], MufNetOutput]:
    if asked is not True and asked not in (*_MODES, *torch.compiler.list_backends(())):
        usual = ", ".join([*_MODES, *torch.compiler.list_backends()])
        raise InputFault(f"model.compile is {asked!r}, expected true, false or one of {usual}")
    settings: dict[str, Any] = {"mode": "default"} if asked is True else {"backend": asked}
    if asked in _MODES:
        settings = {"mode": asked}
    made: Callable[[dict[str, Tensor]], MufNetOutput] = torch.compile(net.__call__, **settings)
    return made


def _score(output: MufNetOutput) -> Tensor:
    return output.logits.float().softmax(dim=1)[:, -1]
