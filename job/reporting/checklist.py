"""Reporting guidelines, item by item, with where this report answers them.

Items in our own words, numbered as in CLAIM (2024 update, Tejani et al., doi:10.1148/ryai.240300; 44 items) and
TRIPOD+AI (Collins et al., doi:10.1136/bmj-2023-078378; 27 items). What a program cannot know of a study, such as
ethics and funding, is said to be open.
"""

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
    Item("2", "2", "Summary", "Verdict, table and what was run.", "index"),
    Item("3", "3a–c", "Background, intended users, inequalities", "Intended use; inequalities are open.", "method"),
    Item("4", "4", "Objectives", "To reproduce a published method and judge it by patients.", "method"),
    Item("5, 6", "–", "Design and goal", "Retrospective; a study of methods, not of clinical use.", "method"),
    Item("7", "5a, 5b", "Sources and dates of the data", "Source named; dates and centres are open.", "data"),
    Item("8", "6a–c", "Setting, eligibility, treatment", "Open: the data set does not say.", "data"),
    Item("9, 10", "7", "Preparation, subsets of the data", "Crop, size, refused files, copies.", "data"),
    Item("11", "–", "De-identification", "Names as delivered; report.pseudonyms hides them.", "data"),
    Item("12", "11", "Missing data", "Refused files with reasons; nothing is imputed.", "data"),
    Item("13", "–", "How the images were taken", "Sizes and colour modes; microscope and stain are open.", "data"),
    Item("14–18", "8a–c", "Reference standard and annotators", "As delivered; annotators are open.", "data"),
    Item("–", "9a–c, 12b", "Inputs, and how they are scaled", "Pixels alone: no name, age or sex.", "method"),
    Item("19, 20", "12a", "Parts, and the level on which they are apart", "Subjects, counted and checked.", "data"),
    Item("–", "16", "Differences between training and test data", "One source; counts by part and class.", "data"),
    Item("21", "10", "Sample size", "Given by the data; intervals show what it allows.", "index"),
    Item("22", "12c, 22", "Description of the model", "Network, input, outputs; model card.", "method"),
    Item("23", "–", "Software", "Packages with versions, commit.", "appendix#machine"),
    Item("24, 25", "12c", "Initial weights and training", "Every parameter with its value.", "appendix"),
    Item("26", "12c", "Choice of the final model", "The epoch with the best validation accuracy.", "method"),
    Item("27", "12g", "Ensembles, how predictions are made", "Votes, ties, agreement, other rules.", "performance"),
    Item("28", "12e", "Metrics", "Defined; counts beside rates.", "method"),
    Item("29", "–", "Uncertainty", "Intervals over subjects, folds with variance.", "index"),
    Item("30", "–", "Robustness", "Spread of folds, size baseline; else open.", "performance"),
    Item("31", "–", "Explanation of the predictions", "Activation maps of the cells shown.", "errors"),
    Item("32", "–", "Evaluation on internal data", "Validation out of fold, and subjects held out.", "performance"),
    Item("33", "–", "Test on external data", "Open: no other centre.", "method"),
    Item("34", "18d", "Registration", "Open: not registered.", ""),
    Item("35, 36", "20a–c, 21", "Flow and traits of the participants", "By part; age, sex, stage are open.", "data"),
    Item("37, 38", "23a", "Performance with precision", "Every model, baselines, intervals, ROC.", "performance"),
    Item("–", "12d, 23b", "Differences between clusters", "Each patient by itself; centres are open.", "performance"),
    Item("–", "12f, 24", "Updating the model", "Temperature: with and without it; nothing else.", "decisions"),
    Item("–", "13", "Class imbalance", "Balanced accuracy, specificity and constant baselines shown.", "index"),
    Item("–", "14", "Fairness across groups of people", "Open: the groups are not in the data.", "method"),
    Item("–", "15", "Form of the output, thresholds", "Probabilities, calibration, thresholds.", "decisions"),
    Item("39", "–", "Analysis of failures", "Gallery, votes and patients of the errors.", "errors"),
    Item("–", "25", "Interpretation", "Verdict beside baselines and the published figures.", "index"),
    Item("40", "26", "Limitations", "Listed.", "method"),
    Item("41", "–", "Use in practice", "None intended; cells left to a pathologist are counted.", "decisions"),
    Item("–", "27a", "Unusable input", "Files that are refused, with reasons.", "data"),
    Item("–", "27b, 27c", "Users’ expertise, next steps", "Open: no use is intended.", "method"),
    Item("42", "18c", "Protocol", "None was prepared; the method in words, every parameter.", "method"),
    Item("43", "18e, 18f", "Access to data, model and code", "Digests of every output, commit.", "appendix#machine"),
    Item("44", "18a, 18b", "Funding and interests", "Open: for the authors of a study to say.", ""),
    Item("–", "17", "Ethical approval", "Open: for the authors of a study to say.", ""),
    Item("–", "19", "Patients and public", "Open: for the authors of a study to say.", "")
)  # fmt: skip
