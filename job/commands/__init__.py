"""People's verbs of `python -m job`: `run` of each returns the closing sentence, or raises a UserError."""
