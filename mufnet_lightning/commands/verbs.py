"""The verbs of `mufnet` in the order of their use: each is a file here, called as the verb."""

from __future__ import annotations

import keyword

VERBS = {
    "phantom": "write a simulated cohort whose ceilings are known",
    "plan": "tell how wide intervals will be, and what a test can find, at a planned size",
    "import": "take boxes that were drawn in CVAT, LabelMe, VIA and others, or masks, into a cohort",
    "inspect": "look at a cohort or a store before training: one page, and what would spoil a study",
    "prepare": "check a cohort, cut its paired crops, write a store",
    "fit": "train one arm on one fold, then score validation and test with the selected checkpoint",
    "validate": "score the validation part with a checkpoint",
    "test": "score the test part with a checkpoint; with --run, another cohort: external validation",
    "predict": "score every pair of a store, for the next patient",
    "cv": "run all folds of one arm under one parent run",
    "study": "run the paper's whole experiment: all arms on the same folds, compared, with a report",
    "sweep": "choose settings by the validation patients, then train and test what was chosen",
    "compare": "put arms side by side: Table 2, paired tests, figures",
    "characteristics": "describe the patients of two groups or more: Table 1",
    "explain": "show and measure where a run's network looks: Grad-CAM",
    "export": "write a trained model as one file, ONNX or torch.export, for other programs",
    "report": "write one self-contained HTML file for a study",
    "ceilings": "put a phantom's arms beside what the truth behind it reaches",
    "sync": "send what runs recorded while the tracking server was away",
    "ui": "open MLflow's pages on a study's arms",
    "completion": "print what makes the shell complete verbs and options",
}
LIGHTNING_VERBS = ("fit", "validate", "test", "predict")
"""Those whose options LightningCLI declares: lightning.py runs them."""


def file_of(verb: str) -> str:
    """The name of a verb's file, without its ending: `import` is a word of Python's, so import_.py.

    >>> file_of("prepare"), file_of("import")
    ('prepare', 'import_')
    """
    return f"{verb}_" if keyword.iskeyword(verb) else verb
