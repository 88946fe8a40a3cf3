"""What a reader of a study's report must read with care, worked out from the study itself."""

from __future__ import annotations

from collections.abc import Sequence

from mufnet_lightning.evaluation.results import ArmComparison
from mufnet_lightning.evaluation.text import p_text
from mufnet_lightning.report.gather import StudyFacts
from mufnet_lightning.report.settings import has_usual_balance, setting
from mufnet_lightning.study.external import is_of_others
from mufnet_lightning.study.pooling import CHOSEN_FROM, chosen_from_note
from mufnet_lightning.tracking.artifacts import RISK_NOTES
from mufnet_lightning.vocabulary import START

ENOUGH = 100  # of each class, for the evaluation of a model: Collins GS et al. Stat Med 2016;35:214-226
DOUBTED = 0.05  # p-value of the calibration test below which risks are said to be wrong


def read_with_care(facts: StudyFacts, comparison: ArmComparison | None) -> list[str]:
    """Sentences, the weightiest first.

    Args:
        facts: of the study.
        comparison: its arms over patients, see `compare_arms`; None where they cannot be compared.
    """
    sentences = [
        *_phantom(facts),
        *_selection(facts),
        *_sweeps(facts),
        *_size(facts),
        *_protocol(facts),
        *_one_study(facts),
        *_calibration(facts),
        *_start(facts),
        *_maps(facts),
        "Patients are named by the ids of patients.csv, in the panels too: before this page is mailed, "
        "be sure that they are pseudonyms.",
    ]
    if comparison and not all(test.chosen for test in comparison.tests):
        sentences.append(
            "The arms were compared on the same patients; a difference whose interval holds 0 is not "
            "shown, and that it is not shown does not mean that the arms are alike."
        )
    return sentences


def _phantom(facts: StudyFacts) -> list[str]:
    if facts.cohort is None:
        return [
            "The cohort's folder was not given to the report, so it cannot tell whether these are real "
            "patients or a phantom, nor which scanners they were examined with (`--cohort`)."
        ]
    if not facts.is_phantom:
        return []
    return [
        "These are simulated patients. The numbers show that the software learns what is there and no "
        "more; they say nothing about real tumours. No arm can beat its ceiling, beyond chance."
    ]


def _selection(facts: StudyFacts) -> list[str]:
    optimistic = [arm.name for arm in facts.arms if arm.chosen]
    if not optimistic:
        return []
    return [
        f"OPTIMISTIC: the checkpoints of {_listed(optimistic)} were selected on the test set, as the "
        "paper's were. Their test numbers flatter, so they carry no interval and no p; `mufnet compare "
        "--selection` tells by how much they flatter."
    ]


def _sweeps(facts: StudyFacts) -> list[str]:
    return [
        f"The settings of {arm.name} were {chosen_from_note(arm.run)}."
        for arm in facts.arms
        if CHOSEN_FROM in arm.run.tags
    ]


def _size(facts: StudyFacts) -> list[str]:
    arm = facts.arms[0]
    test = arm.scored.part("test").drop_duplicates("patient_id")
    high, low = int(test["label"].sum()), int((test["label"] == 0).sum())
    if min(high, low) >= ENOUGH:
        return []
    return [
        f"Few patients: the test scores are of {high} patients of high grade and {low} of low grade, "
        f"where {ENOUGH} of each are advised to evaluate a model (Collins et al. 2016, "
        "doi:10.1002/sim.6787). Images of one patient are not independent, and many images do not make "
        "up for few patients."
    ]


def _protocol(facts: StudyFacts) -> list[str]:
    protocols = {arm.run.protocol for arm in facts.arms}
    sentences: list[str] = []
    if not all(arm.is_cv for arm in facts.arms):
        sentences.append(
            "An arm was trained once, on one split and from one seed: how much they matter is not seen."
        )
    if "paper" in protocols and all(arm.is_cv for arm in facts.arms):
        sentences.append(
            "Protocol `paper`: all folds are tested on the same patients. Their spread tells how the "
            "folds' models differ, not how other patients would."
        )
    others = any(is_of_others(said) for said in facts.external.values())
    if "center" not in protocols and not others:
        sentences.append(
            "Internal evaluation only: test and training patients come from the same centres. Another "
            "hospital's patients may give other numbers."
        )
    if len(protocols) > 1:
        sentences.append(f"The arms follow different protocols: {_listed(sorted(protocols))}.")
    return sentences


def _one_study(facts: StudyFacts) -> list[str]:
    sentences: list[str] = []
    if facts.unfinished:
        tests = ""
        if facts.waiting:
            plural = "s" * (facts.waiting != 1)
            tests = f" Holm's correction counts the {facts.waiting} test{plural} of them that wait."
        sentences.append(
            f"Of the study as it was laid down {_listed(facts.unfinished)} "
            f"{'have' if len(facts.unfinished) > 1 else 'has'} not come to an end.{tests}"
        )
    commits = {arm.commit for arm in facts.arms}
    if len(commits) > 1:
        sentences.append("The arms were trained with different commits of the code (see Methods).")
    if any(commit.endswith("-dirty") for commit in commits):
        sentences.append("The code had changes that no commit holds, so it cannot be got back exactly.")
    splits = {arm.split.to_csv(index=False) for arm in facts.arms}
    if len(splits) > 1:
        sentences.append("The arms were trained on different splits of the patients.")
    trained = sum(len(arm.folds) for arm in facts.arms)
    if facts.fits > trained:
        sentences.append(
            f"The study holds {facts.fits} finished fits, and this report shows the {trained} of the "
            "latest finished arms. If settings were tried until a result pleased, it flatters."
        )
    return sentences


def _calibration(facts: StudyFacts) -> list[str]:
    """By the test of the risks; the calibration error of so few patients tells nothing."""
    p = {arm.name: arm.run.metrics.get("test/patient_risk_calibration_p") for arm in facts.arms}
    brier = "test/patient_risk_brier"  # also where slope and test would mislead
    unjudged = [arm for arm in facts.arms if brier not in arm.run.metrics]
    choosing = [arm.name for arm in unjudged if arm.chosen and arm.recalibration.recalibration]
    without = [arm.name for arm in unjudged if arm.name not in choosing]
    wrong = [f"{name} (p {p_text(value)})" for name, value in p.items() if value and value < DOUBTED]
    kept = [name for name, value in p.items() if value is not None and value >= DOUBTED]
    sentences = _fitted_on_choosers(facts)
    if without:
        usual = all(map(has_usual_balance, facts.arms))
        moved = "a class-balanced sampler and a focal loss move" if usual else "its training moves"
        sentences.append(
            f"No risk beside the score: {_listed(without)}. A score is no probability: {moved} it."
        )
    if choosing:
        sentences.append(
            f"The risks of {_listed(choosing)} are not judged: the test patients chose the epoch."
        )
    for arm in facts.arms:
        if arm.run.tags.get(RISK_NOTES):
            sentences.append(f"Risks of {arm.name}: {arm.run.tags[RISK_NOTES]}")
    if wrong:
        sentences.append(
            f"The risks are doubtful on the test patients: {_listed(wrong)}. They must not be read as "
            "probabilities before they are recalibrated on more patients."
        )
    if kept:
        sentences.append(
            f"The risks of {_listed(kept)} are not shown to be wrong on the test patients, which does "
            "not show that they are right: the intervals of intercept and slope tell how wrong they "
            "could still be. If they are right, then for patients of whom about as many are of high "
            "grade, and so are PPV and NPV."
        )
    return sentences


def _fitted_on_choosers(facts: StudyFacts) -> list[str]:
    """Where the patients who chose the epoch are those whom the risks were fitted on."""
    counts = {
        f"{fit.high + fit.low} validation patients ({fit.high} of high grade)": None
        for arm in facts.arms
        if (fit := arm.recalibration.recalibration) and not fit.is_flat and arm.run.chosen_on == "val"
    }
    if not counts:
        return []
    return [
        f"Scores become risks by a line fitted on {_listed(list(counts))}, who chose the epoch too: "
        "their scores tend to part the grades better than other patients' do, and the risks then are "
        "too extreme. The intervals of calibration take that line as given. `checkpoint.keep: last` "
        "chooses nothing."
    ]


def _start(facts: StudyFacts) -> list[str]:
    random = [
        arm.name
        for arm in facts.arms
        if not setting(arm, "model.pretrained") and not setting(arm, "model.init_from")
    ]
    sentences = [f"Trained from random weights: {_listed(random)}."] if random else []
    for arm in facts.arms:
        if setting(arm, "model.init_from"):
            said = {fold: run.tags.get(START, "") for fold, run in arm.folds.items()}
            first, others = next(iter(said.values())), len(said) - 1
            first = first or (
                "the training begins with weights of an earlier one (model.init_from), which may have "
                "seen these very patients: whether it did is not recorded"
            )
            more = f" The runs of the other {others} folds say it of theirs." if others else ""
            sentences.append(f"{arm.name}: {first}.{more}")
    return sentences


def _maps(facts: StudyFacts) -> list[str]:
    return [
        f"{arm.name}, {label}: {verdict}"
        for arm in facts.arms
        for label, tables in arm.explained.items()
        for verdict in tables.summary.verdicts
        if "FAIL" in verdict or "NOT SHOWN" in verdict
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
