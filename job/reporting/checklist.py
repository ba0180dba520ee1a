"""Reporting guidelines, item by item, with where this report answers them.

Items in our own words, numbered as in CLAIM (Mongan et al., Radiology: AI 2020; 42 items) and TRIPOD+AI (Collins et
al., BMJ 2024; 27 items). What a program cannot know of a study, such as ethics and funding, is said to be open.
"""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """One item: its numbers in both guidelines (empty where one has none), the answer, and the page that gives it."""

    claim: str
    tripod: str
    asks: str
    answer: str
    page: str


ITEMS = (
    Item("1", "1", "Named as a study of a model", "The verdict names models and data.", "index"),
    Item("2", "2", "Structured summary", "Verdict, table and what was run.", "index"),
    Item("3", "3a–c", "Background, intended users, inequalities", "Intended use; inequalities are open.", "method"),
    Item("4", "4", "Objectives", "To reproduce a published method and judge it by patients.", "method"),
    Item("5, 6", "–", "Design and goal", "Retrospective; a study of methods, not of clinical use.", "method"),
    Item("7", "5a, 5b", "Sources and dates of the data", "Source named; dates and centres are open.", "data"),
    Item("8", "6a–c", "Setting, eligibility, treatment", "Open: the data set does not say.", "data"),
    Item("9, 10", "7", "Preparation, subsets of the data", "Crop, size, refused files, copies.", "data"),
    Item("12", "–", "De-identification", "Names as delivered; report.pseudonyms hides them.", "data"),
    Item("13", "11", "Missing data", "Refused files with reasons; nothing is imputed.", "data"),
    Item("14–18", "8a–c", "Reference standard and annotators", "As delivered; annotators are open.", "data"),
    Item("19", "10", "Sample size", "Given by the data; intervals show what it allows.", "index"),
    Item("20, 21", "16", "Parts, and the level on which they are apart", "Subjects, counted and checked.", "data"),
    Item("22", "22", "Description of the model", "Network, input, outputs; model card.", "method"),
    Item("23", "18f", "Software", "Packages with versions, commit.", "moment"),
    Item("24, 25", "12", "Initial weights and training", "Every parameter with its value.", "provenance"),
    Item("26", "12", "Choice of the final model", "The epoch with the best validation accuracy.", "method"),
    Item("27", "12", "Ensembles", "Votes, ties, agreement, other rules.", "ensemble"),
    Item("28", "12", "Metrics", "Defined; counts beside rates.", "method"),
    Item("29", "12", "Uncertainty", "Intervals over subjects, folds with variance.", "index"),
    Item("30", "–", "Robustness", "Spread of folds, size baseline; else open.", "folds"),
    Item("31", "25", "Explanation of the calls", "Activation maps of the cells shown.", "errors"),
    Item("32", "23a", "Evaluation on other data", "Open: no other centre.", "method"),
    Item("33, 34", "20a–c", "Flow and traits of the participants", "Counts by part; age, sex, stage are open.", "data"),
    Item("35, 36", "23a", "Performance with precision", "Every model, with baselines and intervals.", "index"),
    Item("–", "13", "Class imbalance", "Balanced accuracy, specificity and constant baselines shown.", "index"),
    Item("–", "14, 23b", "Fairness across groups of people", "By patient; groups are unknown.", "errors"),
    Item("–", "15", "Form of the output, thresholds", "Probabilities, calibration, thresholds.", "decisions"),
    Item("37", "–", "Analysis of failures", "Gallery, votes and patients of the errors.", "errors"),
    Item("38", "26", "Limitations", "Listed.", "method"),
    Item("39", "27a–c", "Use in practice", "None intended; cells left to a pathologist are counted.", "decisions"),
    Item("40", "18c, 18d", "Registration and protocol", "Open: not registered.", ""),
    Item("41", "18e, 18f", "Access to data and code", "Code and parameters, digests of every output.", "moment"),
    Item("42", "18a, 18b", "Funding and interests", "Open: for the authors of a study to say.", ""),
    Item("–", "17", "Ethical approval", "Open: for the authors of a study to say.", ""),
    Item("–", "19", "Patients and public", "Not involved.", ""),
)  # fmt: skip
