"""The ladder of answer formats: when a server is asked for its answers in a plainer form.

At once where it refuses the form; after three answers in a row that are not in it where it takes it and does as it
likes: one such answer says more about the model's day than about the server.
"""

from collections.abc import Mapping

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.domain import AnswerFormat, FormatKey, ModelReply
from ensemble_pipeline.errors import FormatRefusedError
from ensemble_pipeline.store import answer_formats
from ensemble_pipeline.store.answer_formats import Remembered
from ensemble_pipeline.store.database import AsyncDatabase, Connection

MOST_IGNORED = 3


class FormatLadder:
    """The forms in force, as one batch knows them; what it learns goes to the database for all others."""

    def __init__(self, known: Mapping[FormatKey, Remembered], clock: Clock) -> None:
        self.in_force: dict[FormatKey, AnswerFormat] = {key: it.answer_format for key, it in known.items()}
        """By server; who is not named is asked in the strictest form."""
        self._in_doubt = {key for key, it in known.items() if it.ignored}
        self._clock = clock

    @classmethod
    def read(cls, connection: Connection, clock: Clock) -> "FormatLadder":
        """What is remembered of all servers."""
        return cls(answer_formats.remembered(connection, clock.now()), clock)

    async def note_refusal(self, database: AsyncDatabase, key: FormatKey, error: FormatRefusedError) -> None:
        """The server does not take the form that `error` names."""
        if error.answer_format is not None:
            await self._step_down(database, key, AnswerFormat(error.answer_format), str(error))

    async def note_reply(self, database: AsyncDatabase, key: FormatKey, reply: ModelReply) -> None:
        """The server replied: in the form it was asked for, or not."""
        used = reply.answer_format
        if reply.is_format_ignored:
            self._in_doubt.add(key)
            async with database.connection() as connection:
                ignored = await answer_formats.note_ignored(connection, key, used, self._clock.now())
            # none: another process asks in a plainer form already
            if not 0 < ignored < MOST_IGNORED:
                await self._step_down(database, key, used, f"{ignored} answers in a row were not in the form {used}")
        elif reply.answer is not None and key in self._in_doubt:
            self._in_doubt.discard(key)
            async with database.connection() as connection:
                await answer_formats.note_kept(connection, key, used)

    async def _step_down(self, database: AsyncDatabase, key: FormatKey, given_up: AnswerFormat, cause: str) -> None:
        plainer = given_up.plainer
        # of several calls under way at once the first one decides
        if plainer is None or self.in_force.get(key, AnswerFormat.JSON_SCHEMA) is not given_up:
            return
        self.in_force[key] = plainer
        async with database.connection() as connection:
            await answer_formats.step_down(connection, key, given_up, cause, self._clock.now())
