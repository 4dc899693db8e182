"""Training: batches, losses, stages, the loop, checkpoints, reports."""
