"""Tells a reply that was delivered a second time, as the answer to another question, from one of its own.

A server or gateway that sends a response twice on a connection leaves the copy where the client looks for its next
response: one market's answer would be taken for another's. Nothing in HTTP/1.1 forbids the client to believe it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

REMEMBERED = 1000


class Repeats:
    """The last thousand replies of one provider that carry an id, and what each was the answer to.

    Only a reply that is the same in every byte counts: some local servers draw ids from a few hundred numbers, so that
    an id alone proves nothing.
    """

    def __init__(self) -> None:
        self._questions: OrderedDict[bytes, bytes] = OrderedDict()

    def is_anothers(self, question: bytes, reply: bytes, data: Mapping[str, Any]) -> bool:
        """Whether `reply`, whose JSON is `data`, came before as the answer to another question than `question`.

        >>> repeats, data = Repeats(), {"id": "chatcmpl-1"}
        >>> repeats.is_anothers(b"A?", b"reply", data), repeats.is_anothers(b"A?", b"reply", data)
        (False, False)
        >>> repeats.is_anothers(b"B?", b"reply", data)
        True
        """
        if not isinstance(data.get("id"), str):
            return False
        asked, said = hashlib.sha256(question).digest(), hashlib.sha256(reply).digest()
        first = self._questions.setdefault(said, asked)
        if len(self._questions) > REMEMBERED:
            self._questions.popitem(last=False)
        return first != asked
