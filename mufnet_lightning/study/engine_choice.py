"""The engine that a command asks for."""

from __future__ import annotations

from typing import Literal

from mufnet_lightning.study.engines import Engine
from mufnet_lightning.study.local_engine import LocalEngine

EngineName = Literal["local", "ray"]


def chosen_engine(
    name: EngineName | None = None, jobs: int | None = None, ray_address: str | None = None
) -> Engine:
    """An engine by its name.

    Args:
        name: `local` unless given, or `ray` where it has an address.
        jobs: at once, at most.
        ray_address: of a running cluster, as `auto` or `HOST:6379`.

    Raises:
        InputFault: Ray is not installed, or there is no cluster at the address.
    """
    if name == "ray" or ray_address is not None:
        from mufnet_lightning.study.ray_engine import RayEngine

        return RayEngine(ray_address, jobs)
    return LocalEngine(jobs)
