"""Measures of speech, one small module each. Needs the packages of requirements-dev.txt; nothing that speaks does."""
