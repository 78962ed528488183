"""The models of synthetic worlds: invented names with a skill that is known because it was put there.

Belongs here: who they are, what they cost, how they err and fail. Does not: markets and the passing of time (see
``sandbox.synthetic``). The names stand for no real model, so a leaderboard of them claims nothing about one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ensemble_pipeline.sandbox.chance import logit, normal, sigmoid, uniform
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer, WorldModel

# the share of a model's error variance that stays with a market for its whole life
_LASTING_SHARE = 0.35
_MAX_LOGIT = 9.0

CATEGORIES = (
    "Climate and Weather",
    "Economics",
    "Entertainment",
    "Politics",
    "Science and Technology",
    "Sports",
)


@dataclass(frozen=True, slots=True)
class SyntheticModel:
    """One invented model.

    Its answer is ``sigmoid(logit(truth) + bias + noise_sd · category_noise · standard normal)``.

    Attributes:
        model: Identity, provider and price.
        noise_sd: Standard deviation of its error in log-odds, > 0; the smaller, the more skilled.
        bias: Constant error in log-odds; positive leans to YES.
        category_noise: Multiplier on `noise_sd` by category, > 0; below 1 is a strength. Absent means 1.
        latency_ms: Median response time in milliseconds; the distribution is log-normal.
        latency_spread: Standard deviation of the response time's logarithm, ≥ 0.
        output_tokens: Median billed output tokens, reasoning included.
        failure_rate: Share of markets and steps at which a call fails outside the outage, in [0, 1].
        outage: Stretch of the world's life, as shares of it, during which every call fails.
    """

    model: WorldModel
    noise_sd: float
    bias: float = 0.0
    category_noise: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float = 1500.0
    latency_spread: float = 0.35
    output_tokens: float = 250.0
    failure_rate: float = 0.01
    outage: tuple[float, float] | None = None

    def noise_in(self, category: str) -> float:
        """Standard deviation of its error in `category`, in log-odds."""
        return self.noise_sd * self.category_noise.get(category, 1.0)


@dataclass(frozen=True, slots=True)
class Occasion:
    """When and about what a model is asked: all that its answer depends on, besides itself.

    Attributes:
        seed: Of the world.
        ticker: Of the market.
        category: Of the market.
        step: Number of the step; within one the model says the same.
        lived: Share of the world's life that has passed, in [0, 1].
        p_yes: The probability the model errs around, strictly between 0 and 1.
    """

    seed: object
    ticker: str
    category: str
    step: int
    lived: float
    p_yes: float


def draw_answer(spec: SyntheticModel, occasion: Occasion) -> WorldAnswer:
    """What the model answers on the occasion; the same each time it is asked."""
    wire_model = spec.model.wire_model
    draw = (occasion.seed, wire_model, occasion.ticker, occasion.step)
    lasting = normal("lasting", occasion.seed, wire_model, occasion.ticker)
    share = math.sqrt(_LASTING_SHARE) * lasting + math.sqrt(1 - _LASTING_SHARE) * normal("passing", *draw)
    answer = logit(occasion.p_yes) + spec.bias + spec.noise_in(occasion.category) * share
    return WorldAnswer(
        p_yes=sigmoid(min(max(answer, -_MAX_LOGIT), _MAX_LOGIT)),
        failure=_draw_failure(spec, occasion.lived, uniform("failure", *draw)),
        latency_ms=max(1, round(spec.latency_ms * math.exp(spec.latency_spread * normal("latency", *draw)))),
        output_tokens=max(16, round(spec.output_tokens * math.exp(0.25 * normal("tokens", *draw)))),
    )


def _draw_failure(spec: SyntheticModel, lived: float, draw: float) -> FailureKind | None:
    if spec.outage is not None and spec.outage[0] <= lived < spec.outage[1]:
        return FailureKind.UNAVAILABLE
    if draw >= spec.failure_rate:
        return None
    return FailureKind.UNAVAILABLE if draw < spec.failure_rate / 2 else FailureKind.UNREADABLE


def _model(name: str, provider: str, input_usd_per_mtok: str, output_usd_per_mtok: str) -> WorldModel:
    wire = f"sandbox/{name}" if provider == "openrouter" else name
    return WorldModel(name, provider, wire, Decimal(input_usd_per_mtok), Decimal(output_usd_per_mtok))


DEFAULT_MODELS: tuple[SyntheticModel, ...] = (
    SyntheticModel(
        _model("cedar-pro", "xai", "2", "6"),
        noise_sd=0.20,
        bias=0.03,
        category_noise={"Economics": 0.8, "Sports": 1.25},
        latency_ms=3800,
        output_tokens=420,
        failure_rate=0.010,
    ),
    SyntheticModel(
        _model("maple-sonnet", "anthropic", "3", "15"),
        noise_sd=1.10,
        bias=-0.04,
        category_noise={"Politics": 0.75, "Climate and Weather": 1.3},
        latency_ms=2600,
        output_tokens=260,
        failure_rate=0.006,
    ),
    SyntheticModel(
        _model("aspen-mini", "openai", "0.75", "4.50"),
        noise_sd=1.70,
        bias=0.05,
        category_noise={"Sports": 0.7, "Politics": 1.2},
        latency_ms=1700,
        output_tokens=300,
        failure_rate=0.008,
    ),
    SyntheticModel(
        _model("willow-flash", "openrouter", "0.30", "1.20"),
        noise_sd=2.30,
        bias=-0.08,
        category_noise={"Science and Technology": 0.8, "Economics": 1.2},
        latency_ms=1200,
        latency_spread=0.5,
        output_tokens=220,
        failure_rate=0.020,
        outage=(0.40, 0.47),
    ),
    SyntheticModel(
        _model("birch-nano", "openai", "0.20", "1.25"),
        noise_sd=3.00,
        bias=0.10,
        category_noise={"Entertainment": 0.8},
        latency_ms=700,
        output_tokens=180,
        failure_rate=0.008,
    ),
    SyntheticModel(
        _model("juniper-8b", "local", "0", "0"),
        noise_sd=3.90,
        bias=-0.10,
        category_noise={"Climate and Weather": 0.7},
        latency_ms=4500,
        latency_spread=0.2,
        output_tokens=160,
        failure_rate=0.030,
    ),
)
