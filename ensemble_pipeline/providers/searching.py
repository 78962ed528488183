"""Who may search the web for an answer, and how it is asked where nothing later than the question may be found.

Belongs here: which member searches by which tool, and what is left out in a world that knows a future. Does not: the
tools' requests (the dialects), the dates of what they find (``sources``).
"""

from datetime import datetime

from ensemble_pipeline.errors import ProviderError
from ensemble_pipeline.settings import MemberSettings, ProviderSettings, is_online_model

_ONLINE = ":online"
_TOOLS = frozenset({"responses", "messages"})
# only Anthropic dates the pages it names
_DATED = frozenset({"messages"})


def has_tool(member: MemberSettings, provider: ProviderSettings) -> bool:
    """Whether the provider's search tool goes with the questions to `member`."""
    return member.max_web_searches > 0 and not member.has_own_search and provider.search_tool in _TOOLS


def as_asked(member: MemberSettings, provider: ProviderSettings, as_of: datetime | None) -> MemberSettings:
    """`member` as it is asked at `as_of`: without a search whose pages nobody dates; ``None`` changes nothing.

    Raises:
        ProviderError: it searches by itself, which nobody can keep it from; nothing was sent.
    """
    if as_of is None or not member.max_web_searches:
        return member
    if member.has_own_search:
        raise ProviderError(
            f"{member.name} searches the web by itself, and may find what was published after the question: in a world "
            "that is not live it is not asked. Disable it there."
        )
    if provider.search_tool in _DATED:
        return member
    model = member.model.replace(_ONLINE, "") if is_online_model(member) else member.model
    return member.model_copy(update={"max_web_searches": 0, "model": model})
