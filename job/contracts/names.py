"""What names that people typed say, to every reader: a value is missing, two are one person, a class is positive."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal

from job.errors import UserError

_GAPS = frozenset({
    "", "na", "nan", "nat", "none", "null", "nil", "missing", "unknown", "unbekannt", "undefined", "anonymous",
    "tbd", "not known", "not available", "not recorded", "not given", "none given",
})  # fmt: skip
_ERROR = re.compile(r"#\S+[!?]|#nv|\\n")  # of spreadsheets in any language, and of databases

# What people write before a patient's number, in small letters; several may stand together. A donor is another person
# than the patient of that number: the healthy control.
_PATIENT = re.compile(
    "(p|pt|pat|patients?|person|subjects?|subj|sub|case|fall|participant|individual|mrn|u?id|no|nr|num|number)+"
)

# Other names of columns, without case and signs. `dataset` and `part` often name a source: they stand for nothing here.
_PARTS = {"split", "role", "set", "subset", "partition"}
_COLUMNS = {
    "split": _PARTS, "role": _PARTS, "model": {"method", "classifier", "algorithm"},
    "patient": {"patientid", "patientname", "patientno", "person", "case", "caseid", "donor", "mrn"},
    "predicted": {"ypred", "prediction", "call"},
}  # fmt: skip

# Words of a class's name, in small letters.
_NO = frozenset({"non", "not", "no", "without"})
_NEGATIVE = frozenset({"hem", "healthy", "normal", "benign", "control", "controls", "negative", "neg", "false", "free"})
_POSITIVE = frozenset({
    "all", "aml", "blast", "blasts", "leukemia", "leukaemia", "leukemic", "leukaemic", "malignant", "cancer", "tumor",
    "tumour", "positive", "pos", "abnormal", "ill", "sick", "disease", "diseased", "yes", "true",
})  # fmt: skip


def is_gap(text: str) -> bool:
    """Whether a text stands for a missing value, as people and programs write it: `nan`, `N/A`, `?`, blanks."""
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    return bool(_ERROR.fullmatch(plain)) or ("+" not in plain and re.sub(r"[^\w\s]|_", "", plain).strip() in _GAPS)


def filled(text: str) -> str:
    """The text, or nothing where it stands for a missing value."""
    return "" if is_gap(text) else text


def spelling(name: str) -> tuple[str, ...]:
    """What is left of a name without case, spaces, dashes, `_`, invisible characters, and the ways to write a number.

    `7`, `7.0`, `007` and ` 7` are alike, so are `100000` and `1e+05`, and `P-07` and `p7`; `7` and `H7` are not, nor
    `1-2`, `12`, `-1`, `1`.
    """
    kinds = [(character, unicodedata.category(character)) for character in unicodedata.normalize("NFKC", name)]
    visible = "".join("-" if kind == "Pd" else character for character, kind in kinds if kind != "Cf").casefold()
    if number := re.fullmatch(r"\s*(-?\d+)(?:[.,]0*)?\s*", visible):
        return (str(int(number[1])),)
    power = re.fullmatch(r"\s*(\d)(?:[.,](\d+))?(e\+\d\d?)\s*", visible)
    if power and (value := Decimal(f"{power[1]}.{power[2] or 0}{power[3]}")) % 1 == 0:
        return (str(int(value)),)
    parts = re.findall(r"\d+|[^\W\d_]+|[^\w\s-]", visible)
    return tuple(str(int(part)) if part.isdecimal() else part for part in parts)


def misnamed(columns: Sequence[str], known: Iterable[str]) -> tuple[str, str] | None:
    """A column that nothing would read and the known name that it stands for, which no other column has."""
    for name in set(known) - set(columns):
        for column in columns:
            plain = re.sub(r"[\W_]", "", column.casefold())
            if column not in known and (plain == name or plain in _COLUMNS.get(name, ())):
                return column, name
    return None


def one_person(patients: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The name under which each patient goes where several are one in other spellings, and sentences about the names.

    Two persons taken for one cost a little precision; one person taken for two stands in training and in test.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for patient in sorted(set(patients) - {""}, key=lambda name: (len(name), name)):
        parts = spelling(patient.replace("°", "o")) or (patient,)
        numbers = [part for part in parts if part.isdecimal()]
        others = [part for part in parts if part.isalpha() and not _PATIENT.fullmatch(part)]
        # Signs and words around its only number do not make another person; a sign of the number's own does.
        alone = len(numbers) == 1 and not others and len(parts) > 1
        alike.setdefault((numbers[0],) if alone else parts, []).append(patient)
    groups = [group for group in alike.values() if len(group) > 1]
    shown = "; ".join(" and ".join(map(repr, group)) for group in groups[:5]) + (" …" if len(groups) > 5 else "")
    sentence = (
        f"Patients that differ in case, spaces, the writing of a number, or signs and a word such as P, Patient or ID "
        f"beside it are one person: {shown}. Where they are two persons, give them names that differ in more."
    )
    sentences = [sentence] if groups else []
    if cut := [name for group in alike.values() for name in group if re.fullmatch(r"\d([.,]\d+)?E\+\d\d", name)]:
        what = f"A spreadsheet has shortened numbers of patients, such as {cut[0]}: several persons may have one name."
        sentences.append(f"{what} Write the numbers again, in a column of text.")
    return {name: group[0] for group in groups for name in group}, sentences


def positive_class(classes: Sequence[str], asked: str | None, option: str) -> str | None:
    """The class that counts as positive: the one asked for, or the one that the names tell; None with more than two.

    `asked` is empty or None where nobody asked; `option` is what a person types before it, such as `data.positive=`. A
    UserError says that the names do not tell, or that the class asked for is none of them or one of more than two.
    """
    if len(classes) > 2:
        if asked:
            raise UserError(f"{option}{asked}: with {len(classes)} classes none of them is the positive one")
        return None
    if asked:
        if asked not in classes:
            raise UserError(f"{option}{asked}: the classes are {' and '.join(classes)}; use one of them")
        return asked
    for name, other in (classes, classes[::-1]):
        if _says(name) > _says(other):
            return name
    choices = " or ".join(f"{option}{name}" for name in classes)
    raise UserError(
        f"the names {' and '.join(classes)} do not say which class is the positive one: choose with {choices}"
    )


def _says(name: str) -> int:
    """1 for the name of an illness, -1 for that of its absence, 0 for any other."""
    words = set(re.findall(r"[^\W\d_]+", name.casefold()))
    if spelling(name) in (("0",), ("-1",)) or words & (_NO | _NEGATIVE):
        return -1
    return int(bool(words & _POSITIVE))
