"""People's verbs of `python -m job`, beside the stages that DVC calls."""
