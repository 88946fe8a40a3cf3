"""Arms, cross-validated by an engine: each fold a run of its own; arms go on where they stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mufnet_lightning.study.cross_validation import CrossValidation
from mufnet_lightning.study.engines import Engine
from mufnet_lightning.study.local_engine import LocalEngine
from mufnet_lightning.study.schedule import run_jobs
from mufnet_lightning.study.spec import StudyArm
from mufnet_lightning.system.signals import terminated_as_interrupted
from mufnet_lightning.training.messages import quiet_libraries


def cross_validate(
    arguments: Sequence[str],
    restart: bool = False,
    only: Sequence[int] | None = None,
    folds_from: str | None = None,
    *,
    engine: Engine | None = None,
    threads: int | None = None,
) -> str:
    """Run the folds of an arm that are not done yet; when all are, record and print what they give.

    Folds run in processes of their own, so a script that calls this needs
    `if __name__ == "__main__":`. Where another process is at work on the same cross-validation, each
    fold is run by one of both.

    The parent run then has, as `test/...`, the numbers of the pooled test scores (see
    `pool_predictions`), and for each metric mean, SD and t interval over the folds.

    Args:
        arguments: of `mufnet fit`: `--config FILE...` and overrides.
        restart: leave an earlier parent run of this very configuration and data alone, and start a
            new one.
        only: these folds alone; a later call runs the others.
        folds_from: take the split from this folds.csv or run, as other arms of the study do.
        engine: where the folds run, and how many at once; `LocalEngine` unless given.
        threads: of the CPU, that each fold computes with; as many as the cross-validation was begun
            with, or else the cores are shared out.

    Returns:
        The parent run's id.

    Raises:
        InputFault: the configuration cannot be run, and nothing is recorded then, except where it
            shows in a later fold only.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    parents: list[str] = []

    def find() -> CrossValidation:
        cv = CrossValidation.find(
            arguments, threads=threads, restart=restart, only=only, folds_from=folds_from
        )
        parents.append(cv.parent.id)
        return cv

    _run([find], 1, engine)
    return parents[0]


def cross_validate_arms(
    arms: Sequence[StudyArm], *, engine: Engine | None = None, threads: int | None = None
) -> dict[str, str]:
    """Run the folds of all arms that are not done yet, on the first one's patients.

    Args:
        arms: of a study.
        engine, threads: see `cross_validate`.

    Returns:
        The id of each arm's parent run, by the arm's name.

    Raises:
        InputFault: an arm cannot be run, or a fold could not be; what else there was to do is done.
        KeyboardInterrupt: stopped; the next call goes on.
    """
    parents: dict[str, str] = {}

    def finder(arm: StudyArm) -> Callable[[], CrossValidation]:
        def find() -> CrossValidation:
            first = next(iter(parents.values()), None)
            cv = CrossValidation.find(
                arm.arguments,
                threads=threads,
                arms=len(arms),
                folds_from=first,
                of_folds=arm.of_folds,
                tags=arm.tags,
            )
            parents[arm.name] = cv.parent.id
            return cv

        return find

    _run([finder(arm) for arm in arms], len(arms), engine)
    return parents


def _run(finders: Iterable[Callable[[], CrossValidation]], total: int, engine: Engine | None) -> None:
    with quiet_libraries(), terminated_as_interrupted():
        run_jobs(finders, total, engine or LocalEngine())
