"""One file a step; the number is its place in the order."""
