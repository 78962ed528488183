"""Real archives played through the whole pipeline; each test skips, saying so, where its archive is absent."""
