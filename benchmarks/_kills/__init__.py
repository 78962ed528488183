"""Parts of the benchmark of kills."""
