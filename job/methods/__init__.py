"""One module per method, each with the two functions of `job.methods.task.Method` and a section of `params.yaml`.

`labels` returns which training labels the method may see, `train` trains one fold.
"""
