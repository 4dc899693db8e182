"""The originals that converted checkpoints are held against, in PyTorch. Only `make_fixtures.py` needs them."""
