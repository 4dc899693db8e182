"""Ternary arithmetic (BitNet b1.58): quantisation, layers, packing."""
