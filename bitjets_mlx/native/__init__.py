"""All C: sources, their build cache and loader, threads, and the BLAS that MLX multiplies with on Linux."""
