"""What a job reads when its turn comes, hours after its call began; all of a call read the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mufnet_lightning.errors import InputFault
from mufnet_lightning.store.info import StoreInfo
from mufnet_lightning.study.identity import module_file, named_modules
from mufnet_lightning.study.trained_code import code_digest, own_code_digest
from mufnet_lightning.system.configs import config_layers, find_config, is_own_config, read_config

if TYPE_CHECKING:
    from mufnet_lightning.training.cli import MufnetCLI

_CODE = "the code of mufnet-lightning"


@dataclass(frozen=True)
class JobInputs:
    """Configurations, split, store and code as a call found them. It can be pickled.

    Attributes:
        configs: files of the configurations, those of this package left out.
        own_configs: names that were looked up of those that come with it; they lie elsewhere on another
            machine.
        modules: names of the modules of somebody's own classes that they name; likewise.
        split: folds.csv; None: the split is computed, or a run's.
        store: folder of the crops; None: nothing is known, and nothing checked.
        digests: of each, by its name for people.
    """

    configs: tuple[str, ...] = ()
    own_configs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    split: str | None = None
    store: str | None = None
    digests: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, cli: MufnetCLI) -> JobInputs:
        """Of an arm that is built."""
        files = [Path(str(file)) for file in cli.config.config or ()]
        own = [file for file in files if is_own_config(file)]
        # one that another of the package extends lies beside that, and is not looked up by its name
        below = {layer for file in own for layer in config_layers(str(file))[:-1]}
        split = cli.datamodule.folds_from
        inputs = cls(
            tuple(str(file) for file in files if not is_own_config(file)),
            tuple(file.stem for file in own if file not in below),
            tuple(named_modules(cli.composed_config())),
            str(split) if split is not None and Path(split).is_file() else None,
            str(cli.datamodule.store.root),
        )
        return replace(inputs, digests=tuple(inputs._read()))

    def check(self) -> None:
        """Find out whether they are as they were.

        Raises:
            InputFault: one has changed, or cannot be read any more.
        """
        if self.store is None:
            return
        changed = [name for name, digest in self._read() if (name, digest) not in self.digests]
        if changed:
            raise InputFault(
                f"{', '.join(changed)} changed since this call began, and its jobs would not be of one "
                "kind; the same command, called again, takes what is there now"
            )

    def _read(self) -> Iterator[tuple[str, str]]:
        for file in self.configs:
            text = json.dumps(read_config(Path(file)), sort_keys=True, default=str)
            yield f"configuration {file}", _digest(text.encode())
        for name in self.own_configs:
            named = find_config(name)
            yield f"configuration {name}", "ours" if is_own_config(named) else str(named)
        for module in self.modules:
            if (place := module_file(module)) is None:
                raise InputFault(f"module {module} is not there any more, or not on this machine")
            try:
                yield f"module {module}", code_digest([place])
            except (OSError, SyntaxError) as error:
                raise InputFault(f"module {module} cannot be read: {error}") from None
        if self.split is not None:
            try:
                yield f"the split {self.split}", _digest(Path(self.split).read_bytes())
            except OSError as error:
                raise InputFault(f"the split {self.split} cannot be read: {error.strerror}") from None
        if self.store is not None:
            yield f"the store {self.store}", StoreInfo.read(Path(self.store)).digest
        yield _CODE, own_code_digest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
