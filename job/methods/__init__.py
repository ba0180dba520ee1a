"""One module per method, each with two functions and a section of `params.yaml`.

`labels(params)` returns which training labels the method may see, `all` or `half`; `train(task)` trains one fold.
"""
