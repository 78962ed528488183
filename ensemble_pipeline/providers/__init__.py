"""Asking language models: wire formats, prompts, answers and prices, behind one ``ProviderManager``.

Belongs here: what one HTTP attempt needs, from prompt to priced and checked answer. Does not: retries, failover,
budgets and the ledger (``ensemble``), or any opinion on what an answer is worth (``forecasting``).
"""
