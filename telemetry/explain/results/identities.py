"""Ids of answers: equal for equal questions to equal weights."""

import hashlib
import json
from collections.abc import Mapping

ID_CHARACTERS = 16


def identity_of(question: Mapping[str, object]) -> str:
    """Sixteen hexadecimal digits of a question, whose values can be said as JSON."""
    text = json.dumps(question, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARACTERS]
