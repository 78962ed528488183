"""What the benchmark of windows is made of: a ledger, those who compete over it, and the processes they run in."""
