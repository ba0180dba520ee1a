"""How a network learns: batches, the fit loop, self-training methods, run folders."""
