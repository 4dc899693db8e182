"""Ternary arithmetic (BitNet b1.58): quantization, layers, packing."""
