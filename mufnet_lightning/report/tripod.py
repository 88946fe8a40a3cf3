"""The TRIPOD+AI checklist in our own short words, and what the software can answer of it.

Collins GS et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction models that
use regression or machine learning methods. BMJ 2024;385:e078378.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Answer = Literal["here", "partly", "authors"]


@dataclass(frozen=True)
class Item:
    """An item of the checklist.

    Attributes:
        number: as in the checklist.
        topic: what it asks for.
        answer: `here`: the report answers it; `partly`; `authors`: no software can.
        where: id of the report's section that answers it; empty where none does.
        missing: what the authors still have to say.
    """

    number: str
    topic: str
    answer: Answer
    where: str = ""
    missing: str = ""


ITEMS = (
    Item("1", "Title: model, population, outcome", "partly", "title", "population and setting"),
    Item("2", "Abstract", "authors", "", "a structured abstract"),
    Item("3a", "Clinical context and earlier models", "authors", "", "context, references"),
    Item("3b", "Target population, purpose, users", "authors", "", "place in the care pathway"),
    Item("3c", "Known inequalities in health", "authors", "", "what is known of them"),
    Item(
        "4", "Objectives: development or evaluation", "partly", "title", "the question, in a sentence"
    ),
    Item("5a", "Sources of data", "partly", "data", "why these data, how representative"),
    Item("5b", "Dates of the data", "authors", "", "start and end of accrual"),
    Item("6a", "Setting and centres", "partly", "participants", "names and kind of centres"),
    Item("6b", "Eligibility criteria", "authors", "", "who was included and why"),
    Item("6c", "Treatments", "authors", "", "whether any came before the examination"),
    Item("7", "Data preparation and quality", "here", "preparation"),
    Item("8a", "Definition of the outcome", "partly", "outcome", "how and when tissue was obtained"),
    Item("8b", "Assessors of the outcome", "authors", "", "the pathologists and their experience"),
    Item("8c", "Blinding of the outcome's assessment", "authors", "", "to ultrasound and score"),
    Item("9a", "Choice of predictors", "here", "predictors"),
    Item("9b", "Definition and measurement of predictors", "partly", "predictors", "acquisition"),
    Item("9c", "Assessors of predictors", "authors", "", "who drew the boxes, and blinded to what"),
    Item("10", "Sample size", "partly", "size", "how it was arrived at"),
    Item("11", "Missing data", "here", "missing"),
    Item("12a", "Use of the data: development and evaluation", "here", "analysis"),
    Item("12b", "Handling of predictors", "here", "predictors"),
    Item("12c", "Type of model, building, internal validation", "partly", "analysis", "why this model"),
    Item("12d", "Heterogeneity between centres: method", "partly", "centres", "whether it is tested"),
    Item("12e", "Measures of performance", "here", "analysis"),
    Item("12f", "Updating of the model", "here", "calibration"),
    Item("12g", "How predictions were calculated", "here", "specification"),
    Item("13", "Class imbalance", "here", "imbalance"),
    Item("14", "Fairness", "authors", "", "which groups matter, and the result in each"),
    Item("15", "Output of the model and thresholds", "here", "output"),
    Item("16", "Training against evaluation data", "partly", "flow", "how their patients differ"),
    Item("17", "Ethical approval", "authors", "", "committee, consent or waiver"),
    Item("18a", "Funding", "authors", "", "sources and role"),
    Item("18b", "Conflicts of interest", "authors", "", "of all authors"),
    Item("18c", "Protocol", "authors", "", "where it can be read"),
    Item("18d", "Registration", "authors", "", "register and number"),
    Item("18e", "Sharing of data", "authors", "", "whether and how"),
    Item("18f", "Sharing of code", "partly", "open", "where code and weights can be had"),
    Item("19", "Involvement of patients and public", "authors", "", "or that there was none"),
    Item("20a", "Flow of participants", "here", "flow"),
    Item("20b", "Characteristics of participants", "partly", "table1", "dates, treatments"),
    Item("20c", "Development against evaluation data", "partly", "flow", "their characteristics"),
    Item("21", "Participants and outcomes in each analysis", "here", "flow"),
    Item("22", "The full model", "partly", "specification", "where the weights can be had"),
    Item("23a", "Performance with intervals", "partly", "performance", "key subgroups"),
    Item("23b", "Heterogeneity between centres: result", "here", "centres"),
    Item("24", "Result of updating", "here", "calibration"),
    Item("25", "Interpretation", "authors", "", "overall, and beside other work"),
    Item("26", "Limitations", "partly", "care", "of the patients and the examination"),
    Item("27a", "Poor or missing input in use", "here", "use"),
    Item("27b", "The user's part and expertise", "partly", "use", "training of the users"),
    Item("27c", "Next steps", "authors", "", "what should be studied next"),
)


def checklist(known: Mapping[str, bool]) -> list[Item]:
    """The items, with what this study lacks moved to the authors.

    Args:
        known: by the id of a section, whether the study has what it needs; a section that is not
            named has it.
    """
    return [
        item
        if known.get(item.where, True)
        else Item(item.number, item.topic, "authors", "", item.missing or "not recorded in this study")
        for item in ITEMS
    ]
