"""Measures of speech, one module each. They need the packages of requirements-quality.txt; what speaks does not."""
