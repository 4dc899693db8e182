"""Measures of speech, one small module each. Needs the packages of requirements-quality.txt; nothing that speaks does."""
