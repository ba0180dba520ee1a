"""People's verbs of `python -m job`, beside the stages that DVC calls.

The function `run` of each returns the closing sentence, or raises a UserError that names what to put right.
"""
