"""Which values of a configuration are secrets, by their name and by their shape.

A name says it where its last word does. `password` and `secret` always do. `token` and `key` do
not: `pad_token` and `sort_key` are hyperparameters. So these are hidden where the word before names
somebody who hands out credentials, and else unless the value is one that no credential has: a
number, a special token such as `<pad>`, a plain word such as `length`. What is not known is hidden,
for a hyperparameter that is missing costs less than a password that is shown.
"""

import re

from telemetry.format.replay import HIDDEN

_ALWAYS = frozenset(
    {"password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets"}
    | {"credential", "credentials", "apikey", "authorization", "cookie", "bearer", "authtoken"}
)
_MAYBE = frozenset({"token", "key", "auth", "tokens", "keys", "pat"})
_ISSUERS = frozenset(
    {"api", "access", "private", "secret", "auth", "bearer", "refresh", "session", "hub", "hf"}
    | {"huggingface", "wandb", "comet", "neptune", "mlflow", "clearml", "openai", "anthropic"}
    | {"github", "gitlab", "git", "aws", "azure", "gcp", "google", "slack", "kaggle", "login"}
    | {"account", "client", "service", "deploy", "encryption", "signing", "ssh", "license"}
    | {"webhook", "storage", "subscription", "master", "admin"}
)
_JOINED = re.compile(r"(.*)(password|passwd|pwd|secret|token|key)")  # `hubtoken`, `dbpassword`
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SPECIAL_TOKEN = re.compile(r"[<\[{|▁Ġ].{0,40}[>\]}|]|\W{1,4}|")
_PLAIN_WORD = re.compile(r"[a-z]{1,20}([_./ -][a-z]{1,20}){0,3}")
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]*@")
_BEARER = re.compile(r"(?i)\b(bearer|basic|token)(\s+)[A-Za-z0-9._~+/=-]{8,}")
_ASSIGNED = re.compile(
    r"""(?<![\w.-])(?P<name>[A-Za-z_][\w.-]*)(?P<between>['"]?\s*[=:]\s*['"]?)(?P<value>[^\s'",;&)\]}]+)"""
)
_SHAPES = re.compile(
    r"\b(hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|AIza)[A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
)


def is_secret(path: str, value: object) -> bool:
    """Whether the value of a dotted key must not be recorded.

    Args:
        path: The key, such as `hub.api_key` or `hubToken`.
        value: Its value; truth values and None are never secrets.
    """
    if value is None or isinstance(value, bool):
        return False
    parts = [[word.lower() for word in _WORD.findall(part)] for part in path.split(".")]
    named = [words for words in parts if words]
    if any(words[-1] in _ALWAYS for words in named):
        return True
    last = named[-1] if named else [""]
    joined = _JOINED.fullmatch(last[-1])
    if joined and (joined[2] not in _MAYBE or joined[1] in _ISSUERS):
        return True
    if last[-1] not in _MAYBE:
        return False
    issuer = last[-2] if len(last) > 1 else ""
    if issuer in _ISSUERS or last == ["token"]:
        return True
    return isinstance(value, str) and not _is_plain(value)


def without_secrets(text: str) -> str:
    """The text without logins of addresses, bearer tokens, and values that are assigned in it."""
    text = _LOGIN.sub(rf"\1{HIDDEN}@", text)
    text = _BEARER.sub(rf"\1\2{HIDDEN}", text)
    text = _SHAPES.sub(HIDDEN, text)
    return _ASSIGNED.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    value = found["value"]
    if value.lower() in {"bearer", "basic", "token"} or value.startswith(HIDDEN[:-1]):
        return found[0]  # what follows is hidden already
    if not is_secret(found["name"], value):
        return found[0]
    return f"{found['name']}{found['between']}{HIDDEN}"


def _is_plain(text: str) -> bool:
    """A special token, a word or two, or a number: what no credential looks like."""
    if text.replace(".", "", 1).lstrip("-").isdecimal():
        return True
    return bool(_SPECIAL_TOKEN.fullmatch(text) or _PLAIN_WORD.fullmatch(text))
