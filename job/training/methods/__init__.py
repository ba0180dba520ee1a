"""One module per method, each with `train(task) -> Trained`, and each with its own section of `params.yaml`."""
