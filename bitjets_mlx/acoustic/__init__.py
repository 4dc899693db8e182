"""BitJETS: the ternary acoustic model. Phonemes in, mel + F0 + voicing out."""
