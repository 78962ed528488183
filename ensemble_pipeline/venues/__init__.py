"""Prediction markets, one folder a venue, all behind ``venues.base.Venue``. Public reads only; no order code."""
