"""Kalshi, trade API v2: public market data, read without a key, and the fee schedule.

Belongs here: its wire format and its fees. Does not: orders, or what any of it means to the ensemble.
"""

from ensemble_pipeline.venues.kalshi.client import KalshiVenue

__all__ = ["KalshiVenue"]
