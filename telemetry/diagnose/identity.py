"""What a diagnosis was made by, as short texts: the rules, and what was asked of them."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from telemetry.diagnose.policy import Policy


@cache
def rules_version() -> str:
    """Hash of the text of the rules: another text, another diagnosis."""
    folder = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def options_hash(detectors: Sequence[str] | None, policy: Policy) -> str:
    """Hash of what was asked: the rules chosen and the policy."""
    asked = [None if detectors is None else sorted(detectors), policy.identity()]
    return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()
