"""How many jobs run at once, and where: options that `cv` and `study` share."""

from __future__ import annotations

from mufnet_lightning.errors import InputFault


def check_places(
    jobs: int | None, threads: int | None, engine: str | None, ray_address: str | None
) -> None:
    """Refuse numbers that cannot be, and an address without its engine.

    Raises:
        InputFault: with what is wrong.
    """
    for name, number in (("jobs", jobs), ("threads", threads)):
        if number is not None and number < 1:
            raise InputFault(f"--{name}: {number} is not in bounds, expected 1 or more")
    if ray_address is not None and engine == "local":
        raise InputFault("--ray-address goes with --engine ray")
