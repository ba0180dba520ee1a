"""What predictions prove: votes, metrics, baselines and the tables made of them. Nothing here imports torch."""
