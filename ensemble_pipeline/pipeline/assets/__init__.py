"""The assets, one module a concern. Each writes its table in one transaction and returns metadata; no IO manager."""
