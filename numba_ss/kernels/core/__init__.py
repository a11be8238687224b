"""What every kernel may use: rows, tiles, exact scalar functions, random numbers, threads."""
