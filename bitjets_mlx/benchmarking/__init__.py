"""What `python -m bitjets_mlx.benchmark` measures, a file a subcommand."""
