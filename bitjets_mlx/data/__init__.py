"""Recordings and transcripts in, checked and cached training features out."""
