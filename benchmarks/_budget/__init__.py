"""Parts of the benchmark `budget`."""
