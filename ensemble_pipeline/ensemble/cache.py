"""Which earlier answers may be given again: only while nothing material changed since they were given.

Pure but for `Memory`, which reads. Belongs here: what an answer depends on, what is kept, what refuses it later. Does
not: whether similar markets may share at all (cache_evidence.py), who plans with it (plan.py).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_pipeline.domain import (
    Action,
    Answer,
    CacheKind,
    EarlierAnswer,
    Evidence,
    ModelReply,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble.offers import stance
from ensemble_pipeline.ensemble.similarity import similarity, twin_key
from ensemble_pipeline.forecasting.pooling import clip_probability, logit
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.settings import CacheSettings, MemberSettings, Policy
from ensemble_pipeline.store import answer_cache
from ensemble_pipeline.store.answer_cache import CacheEntry, CacheKey
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.database import Connection

# what providers put behind the name of the model that was asked, and it is the same model: its date, or how a gateway
# chose who serves it; other tags name sizes and variants
_VERSION = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")
_ROUTING = re.compile(r":(?:online|nitro|floor|free|latest)$")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a batch asks with: the same for all of its markets."""

    policy: Policy
    calibration: Calibration
    at: datetime


def key_of(asked: Asked, member: MemberSettings, snapshot: Snapshot, evidence: Sequence[Evidence]) -> CacheKey:
    """What an answer of `member` about `snapshot` depends on."""
    market = snapshot.market
    return CacheKey(
        prompt_hash=prompt_wording(member.role).prompt_hash,
        rules_digest=_digest(market.question, market.rules, market.category, market.closes_at.isoformat()),
        news_digest=_digest(*sorted((it.published_at.isoformat(), it.source, it.text) for it in evidence)),
        calibration_epoch=asked.calibration.epoch,
        shows_price=asked.policy.ensemble.show_market_price,
        mid=snapshot.quote.mid,
        twin_key=twin_key(market),
    )


def is_worth_keeping(policy: Policy, member: MemberSettings, snapshot: Snapshot, reply: ModelReply) -> bool:
    """Whether a reply may be given again later: sure enough, of a calm market, of the very model, for a trade.

    An answer by which its model would do nothing (SKIP) is not kept: given again it would only say that once more.
    """
    answer = reply.answer
    return (
        policy.cache.is_enabled
        and answer is not None
        and answer.confidence >= policy.cache.min_confidence
        and snapshot.regime is not VolatilityRegime.VOLATILE
        and is_same_model(member.model, reply.response_model)
        and _would_trade(policy, snapshot, answer)
    )


def _would_trade(policy: Policy, snapshot: Snapshot, answer: Answer) -> bool:
    return stance(snapshot.quote, answer.p_yes, answer.confidence, policy.gates)[0] is Action.TRADE


def is_same_model(asked: str, answered: str) -> bool:
    """Whether a reply came from the model that was asked, and not from one that stood in for it.

    >>> is_same_model("gpt-5.4-mini", "gpt-5.4-mini-2026-03-17"), is_same_model("x-ai/grok-4.6:online", "grok-4.6")
    (True, True)
    >>> is_same_model("gpt-5.4", "gpt-5.4-mini"), is_same_model("llama3.2:1b", "llama3.2:3b")
    (False, False)
    >>> is_same_model("meta-llama/llama-3.1-8b-instruct", "someone/llama-3.1-8b-instruct")
    False
    """
    name, other = (_ROUTING.sub("", it.rpartition("/")[2].casefold()) for it in (asked, answered))
    makers = {it.casefold().split("/")[-2] for it in (asked, answered) if "/" in it}
    return len(makers) < 2 and (name == other or _VERSION.sub("", other) == name)


def refusal_of(
    entry: CacheEntry,
    kind: CacheKind,
    now: CacheKey,
    response_model: str | None,
    at: datetime,
    options: CacheSettings,
    *,
    emergency_age: timedelta | None = None,
) -> str:
    """What changed since an answer was given, the first of several; empty where nothing did.

    Of a similar market the rules must carry the same meaning word by word, of the same one be the same text. With an
    `emergency_age` answers may be that old, and the calibration another: it is applied after the answers are pooled.
    """
    then, age = entry.key, at - entry.answered_at
    oldest = timedelta(minutes=options.max_age_minutes) if emergency_age is None else emergency_age
    distance = price_distance(then.mid, now.mid)
    is_same_text = then.rules_digest == now.rules_digest
    has_same_rules = is_same_text if kind is CacheKind.SAME else then.twin_key == now.twin_key
    return next(
        (
            cause
            for cause, is_other in (
                ("from_the_future", age < timedelta(0)),
                ("superseded", entry.is_superseded),
                ("too_old", age > oldest),
                ("price_unknown", (then.mid is None) != (now.mid is None)),
                ("price_moved", distance is not None and distance >= options.max_price_move_logit),
                ("rules_changed", not has_same_rules),
                ("news_changed", then.news_digest != now.news_digest),
                ("prompt_changed", (then.prompt_hash, then.shows_price) != (now.prompt_hash, now.shows_price)),
                ("model_changed", entry.response_model != response_model),
                (
                    "calibration_changed",
                    emergency_age is None and then.calibration_epoch != now.calibration_epoch,
                ),
            )
            if is_other
        ),
        "",
    )


def price_distance(before: float | None, after: float | None) -> float | None:
    """Distance of two prices in log-odds, each within [0.001, 0.999]; ``None`` where one is unknown."""
    if before is None or after is None:
        return None
    ends = logit(clip_probability([before, after], _PRICE_CLIP))
    return abs(float(ends[1] - ends[0]))


_PRICE_CLIP = 0.001
# a price seen longer ago does not tell whether it moved
_FRESH = timedelta(minutes=5)


class Memory:
    """The earlier answers that the markets of a batch might be given again, read once; says which may be."""

    def __init__(
        self,
        asked: Asked,
        same: Sequence[CacheEntry],
        twins: Sequence[CacheEntry],
        response_models: Mapping[str, str],
        allowed: Mapping[CacheKind, str],
    ) -> None:
        """`allowed` says of each kind why it may not be shared at all; empty where it may."""
        self._asked = asked
        self._same = {(it.market.market_id, it.model_id): it for it in same}
        self._twins = twins
        self._response_models = response_models
        self._allowed = allowed

    @classmethod
    def read(
        cls,
        connection: Connection,
        asked: Asked,
        snapshots: Sequence[Snapshot],
        allowed: Mapping[CacheKind, str],
    ) -> "Memory":
        """What might be given again about these snapshots, as of the asking."""
        if not asked.policy.cache.is_enabled:
            return cls(asked, (), (), {}, allowed)
        models = [member.name for member in asked.policy.enabled_members]
        ids = [snapshot.market.market_id for snapshot in snapshots]
        since = asked.at - timedelta(minutes=asked.policy.cache.max_age_minutes)
        keys = [twin_key(snapshot.market) for snapshot in snapshots]
        return cls(
            asked,
            answer_cache.newest_of_market(connection, ids, models, asked.at),
            answer_cache.newest_of_twins(connection, keys, models, since, asked.at),
            answer_cache.answering_models(connection, models, asked.at),
            allowed,
        )

    def earlier(
        self, snapshot: Snapshot, members: Sequence[MemberSettings], evidence: Sequence[Evidence]
    ) -> dict[str, EarlierAnswer]:
        """By member, its earlier answer that comes closest, with what speaks against it; absent where it has none."""
        found = {}
        for member in members:
            now = key_of(self._asked, member, snapshot, evidence)
            looked = self._of_market(snapshot, member, now)
            if looked is None or looked.refusal:
                looked = self._of_twin(snapshot, member, now) or looked
            if looked is not None:
                found[member.name] = looked
        return found

    def in_emergency(
        self, snapshot: Snapshot, members: Sequence[MemberSettings], evidence: Sequence[Evidence], oldest: timedelta
    ) -> dict[str, EarlierAnswer]:
        """By member, its newest answer about this very market, by the bounds of an emergency: up to `oldest` old.

        Nothing for an age of 0: then nobody says anything again in an emergency.
        """
        found = {}
        for member in members if oldest else ():
            entry = self._same.get((snapshot.market.market_id, member.name))
            if entry is not None:
                now = key_of(self._asked, member, snapshot, evidence)
                found[member.name] = self._look(entry, member, CacheKind.SAME, snapshot, now, 1.0, oldest)
        return found

    def _of_market(self, snapshot: Snapshot, member: MemberSettings, now: CacheKey) -> EarlierAnswer | None:
        entry = self._same.get((snapshot.market.market_id, member.name))
        return None if entry is None else self._look(entry, member, CacheKind.SAME, snapshot, now, 1.0)

    def _of_twin(self, snapshot: Snapshot, member: MemberSettings, now: CacheKey) -> EarlierAnswer | None:
        """The newest answer to a market that asks the same; ``None`` where no such market is alike enough."""
        for entry in self._twins:
            if entry.model_id != member.name or entry.market.market_id == snapshot.market.market_id:
                continue
            likeness = similarity(snapshot.market, entry.market)
            if likeness >= self._asked.policy.cache.min_similarity:
                return self._look(entry, member, CacheKind.SIMILAR, snapshot, now, likeness)
        return None

    def _look(
        self,
        entry: CacheEntry,
        member: MemberSettings,
        kind: CacheKind,
        snapshot: Snapshot,
        now: CacheKey,
        likeness: float,
        emergency_age: timedelta | None = None,
    ) -> EarlierAnswer:
        asked = self._asked
        # under one name another model may be asked since
        is_members = is_same_model(member.model, entry.response_model)
        answering = self._response_models.get(member.name) if is_members else None
        refusal = refusal_of(entry, kind, now, answering, asked.at, asked.policy.cache, emergency_age=emergency_age)
        if asked.at - snapshot.quote.observed_at > _FRESH:
            refusal = refusal or "price_old"
        if snapshot.regime is VolatilityRegime.VOLATILE:
            refusal = refusal or "volatile"
        return EarlierAnswer(
            forecast_id=entry.forecast_id,
            kind=kind,
            refusal=refusal or self._allowed.get(kind, ""),
            age_s=max(0.0, (asked.at - entry.answered_at).total_seconds()),
            price_distance=price_distance(entry.key.mid, now.mid),
            similarity=likeness,
        )


def _digest(*parts: str | tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
