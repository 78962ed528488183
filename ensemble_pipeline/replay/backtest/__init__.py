"""Walk-forward over archives, strictly as-of, through the very functions that decide in production.

Belongs here: what an archive's rows become, what is known at each instant, the scores of what was said. Does not:
pages and pictures (``pipeline``), how anything is decided (``ensemble``).
"""
