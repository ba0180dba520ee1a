"""One module per method, with a function `train(task)` that trains one fold, and a section of `params.yaml`.

Which training labels a method may see `Params.labels` says.
"""
