"""PyTorch checkpoints without PyTorch: a reader that runs no pickle, and one mapping for each known family."""
