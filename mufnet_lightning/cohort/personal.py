"""Which columns of a patients' table may tell who somebody is, and are therefore never printed."""

from __future__ import annotations

import re

import pandas as pd

MISSING_WORDS = ("", "na", "n/a", "nan", "-")  # as R and spreadsheets write them
OWN_VALUES = 0.5
"""Share of patients with a value that nobody else has, above which a column tells who is who."""
MOST_LEVELS = 12
"""Of a column of text: more of them are names of something, and no category."""
RECORD_NUMBER = 10_000
"""From here on, whole numbers that nearly everybody has alone may be record numbers."""
_NAMES = "name names surname forename firstname lastname fullname initials pseudonym"
_NUMBERS = "id ids uid uuid pid mrn ssn nhs patientid accession passport insurance"
_DATES = "dob birth birthday birthdate date dates datetime timestamp"
_ADDRESSES = "address street phone telephone email mail"
_WORDS = frozenset(" ".join([_NAMES, _NUMBERS, _DATES, _ADDRESSES]).split())
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])"
)


def why_personal(name: str, column: pd.Series, asked_for: bool = False) -> str:
    """Why a column is not printed; empty where it may be.

    It is not where more than half of its patients, however few they are, have a value of text that
    nobody else has; where more than half of its values are dates, or whole numbers with zeros before
    them; where its name says that it is an id, a name, a date or an address; where it is text of more
    than twelve values; or where more than half have an own whole number, and it is of 10,000 or more.
    The last three are guesses: a column that somebody asks for by name is printed in spite of them.

    >>> why_personal("surname", pd.Series(["Doe", "Roe", "Doe", "Roe"]))
    'its name says that it tells who somebody is'
    >>> why_personal("ward", pd.Series(["Doe's", "Roe's", "Poe's"]))
    'more than half of the patients have a value of their own'
    >>> why_personal("age", pd.Series(["61", "58", "49"]))
    ''

    Args:
        name: of the column.
        column: a value a patient, as text or numbers; missing values have no influence.
        asked_for: whether somebody named it.
    """
    texts = column.dropna().map(_text)
    known = texts[~texts.str.lower().isin(MISSING_WORDS)] if len(texts) else texts
    if known.empty:
        return ""
    if (known.str.fullmatch(_DATE)).mean() > 0.5:
        return "its values are dates"
    if (known.str.fullmatch(r"0\d+")).mean() > 0.5:
        return "its values are numbers of records"
    numbers = pd.to_numeric(known, errors="coerce")
    counts = known.value_counts()
    near_unique = (counts == 1).sum() > OWN_VALUES * len(known)
    if numbers.isna().any() and near_unique:
        odd = int(numbers.isna().sum())  # which they are may tell who it is
        number = f", and {odd} of {len(known)} are no numbers" if odd < len(known) / 2 else ""
        return f"more than half of the patients have a value of their own{number}"
    if asked_for:
        return ""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    if _WORDS & set(re.split(r"[^a-z]+", words)):
        return "its name says that it tells who somebody is"
    if numbers.isna().any():
        return f"it has more than {MOST_LEVELS} values" if len(counts) > MOST_LEVELS else ""
    whole = (numbers % 1 == 0).all() and numbers.abs().median() >= RECORD_NUMBER
    return "its whole numbers may be those of records" if near_unique and whole else ""


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
