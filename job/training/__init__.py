"""How a network learns: sources of images, the loop over their batches, saved states, run folders."""
