"""One module per method, each with what `job.methods.task.Method` asks for and a section of `params.yaml`.

`labels` says which training labels it may see, `images` how many images it will train on, `train` trains one fold.
"""
