"""Operations that have a plain MLX form, the reference, and faster ones; which one runs is decided here alone."""
