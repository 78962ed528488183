"""What happens outside and is only observed here: markets, their resolutions, and the log of forecasts."""

import dagster as dg

MARKETS = dg.AssetSpec(
    "markets",
    group_name="intake",
    kinds={"kalshi", "postgres"},
    description=(
        "Open markets of the venue with their quotes, as `market_sensor` last saw them. If observations stop, look at "
        "the sensor's ticks: the venue does not answer, or the daemon is not running."
    ),
)
RESOLUTIONS = dg.AssetSpec(
    "resolutions",
    deps=[MARKETS],
    group_name="intake",
    kinds={"kalshi", "postgres"},
    description=(
        "What markets settled to, brought by `settlement_sensor`; append-only, a correction is a new version. "
        "If it stands still while markets close, look at the sensor's ticks."
    ),
)
FORECAST_LOG = dg.AssetSpec(
    "forecast_log",
    deps=[MARKETS],
    group_name="decisions",
    kinds={"postgres"},
    description=(
        "Every probability a model gave, with its call and its cost. Decisions append to it and scoring reads it: "
        "the seam that lets decisions depend on rankings without a cycle."
    ),
)
EXTERNAL = [MARKETS, RESOLUTIONS, FORECAST_LOG]
