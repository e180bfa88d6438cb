"""Tests of tokens and the keys that sign them, for cases that take too long with a whole server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import SettingsError, UnauthorizedError
from orris.serving.access import jwks as jwks_module
from orris.serving.access import tokens as module
from orris.serving.access.jwks import JwksFile, JwksUrl, read_jwks
from orris.serving.access.tokens import Tokens
from tests.serving.issuer import AUDIENCE, ISSUER, Issuer, issuing
from tests.waiting import eventually


def verifier(jwks: JwksFile | JwksUrl, **given: str) -> Tokens:
    """Return a verifier of the issuer's tokens."""
    algorithms = tuple(given.get("algorithms", "RS256,ES256,EdDSA").split(","))
    return Tokens(jwks, issuer=ISSUER, audiences=("other", AUDIENCE), algorithms=algorithms, leeway_seconds=5)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Return an issuer without a URL."""
    made = Issuer()
    made.publish("rsa", "ec")
    return made


@pytest.fixture
def from_file(issuer: Issuer, tmp_path: Path) -> Tokens:
    """Return a verifier whose keys come from a file."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(issuer.published))
    return verifier(JwksFile(path))


def reason(tokens: Tokens, token: bytes) -> str:
    """Return the logged reason for which a token is refused."""
    with pytest.raises(UnauthorizedError) as told:
        tokens.find(token, 0.0)
    return told.value.reason


def test_a_token_names_its_caller(from_file: Tokens, issuer: Issuer) -> None:
    """A token's caller is its subject, and the second time the answer comes from the cache."""
    token = issuer.token("rsa", sub="shop").encode()
    caller = from_file.find(token, 0.0)
    assert caller.name == "token:shop"
    assert from_file.find(bytes(token), 0.0) is caller


def test_the_log_has_the_reason(from_file: Tokens, issuer: Issuer) -> None:
    """The log has the reason for a refusal in fixed words, without any part of the token."""
    now = int(time.time())
    assert reason(from_file, issuer.token(exp=now - 10).encode()) == "the token has expired"
    assert reason(from_file, issuer.token(nbf=now + 3600).encode()) == "the token is not valid yet"
    assert reason(from_file, issuer.token(aud="x").encode()) == "the token is for another audience"
    assert reason(from_file, issuer.token(iss="x").encode()) == "the token is from another issuer"
    assert reason(from_file, issuer.token(exp=None).encode()) == "the token lacks a claim"
    assert reason(from_file, (issuer.token()[:-20] + "A" * 20).encode()) == "the token's signature is wrong"
    assert reason(from_file, b"a.b.c") == "the token is malformed"
    assert reason(from_file, b"a" * 20_000 + b".b.c") == "the token is too long"


def test_a_known_token_is_forgotten_when_it_expires(
    from_file: Tokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cached token is not accepted longer than the token itself is valid."""
    token = issuer.token(exp=int(time.time()) + 600).encode()
    from_file.find(token, 0.0)
    monkeypatch.setattr(module, "time", lambda: time.time() + 1200)
    monkeypatch.setattr(from_file, "_leeway", -1200)  # PyJWT reads its own clock: this moves it as far
    assert reason(from_file, token) == "the token has expired"


def test_the_cache_of_tokens_is_bounded(from_file: Tokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of tokens is bounded, and the least recently used token is dropped first."""
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    first, second, third = (issuer.token("ec", jti=str(i)).encode() for i in range(3))
    caller = from_file.find(first, 0.0)
    from_file.find(second, 0.0)
    from_file.find(first, 0.0)
    from_file.find(third, 0.0)
    assert from_file.find(first, 0.0) is caller
    assert len(from_file._known) == 2


@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=120))
def test_any_bytes_are_refused(head: bytes, body: bytes, signature: bytes) -> None:
    """Arbitrary bytes as a token raise only the error for refused credentials."""
    issuer = Issuer()
    issuer.publish("ed")
    jwks = _Fixed(read_jwks(json.dumps(issuer.published).encode(), "x"))
    assert reason(verifier(jwks), b".".join([head, body, signature]))  # type: ignore[arg-type]


class _Fixed:
    """Keys that do not change."""

    def __init__(self, keys: object) -> None:
        self.keys = keys

    def refresh(self, now: float) -> None:
        """Do nothing."""

    def missed(self, now: float) -> None:
        """Do nothing."""


@pytest.mark.parametrize("algorithms", ["HS256", "none", "RS256,HS512", ""])
def test_only_asymmetric_algorithms_can_be_allowed(issuer: Issuer, tmp_path: Path, algorithms: str) -> None:
    """Symmetric algorithms are refused in the settings, because the public key would be the secret."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(issuer.published))
    with pytest.raises(SettingsError, match=r"only .*RS256.* are safe"):
        verifier(JwksFile(path), algorithms=algorithms)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}',
        b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}',
        b"\xff",
    ],
)
def test_a_jwks_without_a_usable_key_is_refused(content: bytes) -> None:
    """A JWKS that has only symmetric or short keys is refused."""
    with pytest.raises(SettingsError, match=r"^x: "):
        read_jwks(content, "x")


def test_a_key_verifies_only_its_own_algorithm(issuer: Issuer) -> None:
    """A key's ``alg`` limits the tokens that it verifies, and a key for encryption verifies none."""
    entry = json.loads(issuer.public("rsa"))
    (key,) = read_jwks(json.dumps({"keys": [entry | {"alg": "RS512"}, entry | {"use": "enc"}]}).encode(), "x")
    assert key.algorithms == {"RS512"}


@pytest.mark.parametrize("url", ["http://issuer.example/jwks.json", "file:///etc/passwd", "ftp://localhost/x"])
def test_keys_are_not_fetched_over_plain_http(url: str) -> None:
    """Keys are fetched over HTTPS only, because a changed key could sign any token."""
    with pytest.raises(SettingsError, match="only https"):
        JwksUrl(url, refresh_seconds=60)


def test_an_issuer_that_does_not_answer_stops_the_start() -> None:
    """An issuer that does not answer at the start stops the server, so that a wrong URL is noticed."""
    with issuing("ec") as issuer:
        issuer.status = 500
        with pytest.raises(SettingsError, match=r"127\.0\.0\.1.*500"):
            JwksUrl(issuer.url, refresh_seconds=60)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"], ids=["head", "body"])
def test_an_issuer_that_trickles_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that sends a byte at a time, in its head or in its body, is given up after the time-out in all."""
    monkeypatch.setattr(jwks_module, "FETCH_SECONDS", 0.5)
    ended = threading.Event()

    def trickle(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):
            client.sendall(head)
            while not ended.wait(0.05):
                client.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        issuer = threading.Thread(target=trickle, args=(listener,))
        issuer.start()
        try:
            with pytest.raises(SettingsError, match=r"did not arrive within 0\.5 s"):
                JwksUrl(f"http://127.0.0.1:{listener.getsockname()[1]}/jwks", refresh_seconds=60)
        finally:
            ended.set()
            issuer.join()


def test_unknown_keys_cause_no_more_than_one_fetch_in_a_while() -> None:
    """Any number of tokens with unknown keys cause at most one fetch per interval."""
    with issuing("ec") as issuer:
        jwks = JwksUrl(issuer.url, refresh_seconds=3_600, unknown_key_seconds=600)
        tokens = verifier(jwks)
        stranger = Issuer()
        stranger.publish("ec9")
        token = stranger.token("ec9").encode()
        for _ in range(300):
            with pytest.raises(UnauthorizedError):
                tokens.find(token, time.monotonic())
        assert issuer.n_fetches == 1
        jwks._asked_at -= 600
        for _ in range(300):
            with pytest.raises(UnauthorizedError):
                tokens.find(token, time.monotonic())
        eventually(lambda: issuer.n_fetches == 2)
        _settle()
        assert issuer.n_fetches == 2


def test_an_issuer_that_fails_later_leaves_the_keys_that_were_fetched() -> None:
    """If the issuer fails later, the fetched keys stay, and its keys are fetched again when it recovers."""
    with issuing("ec") as issuer:
        tokens = verifier(JwksUrl(issuer.url, refresh_seconds=0.05))
        issuer.status = 503
        old = issuer.token("ec").encode()
        tokens.find(old, time.monotonic())
        eventually(lambda: issuer.n_fetches > 3)
        assert tokens.find(old, time.monotonic()).name == "token:shop"
        issuer.publish("ec2")
        issuer.status = 200
        new = issuer.token("ec2").encode()

        def known() -> bool:
            try:
                return tokens.find(new, time.monotonic()).name == "token:shop"
            except UnauthorizedError:
                return False

        eventually(known)
        assert reason(tokens, old) == "the token's key is not known"


def _settle() -> None:
    """Give the fetching thread the opportunity to fetch once too often."""
    for _ in range(20):
        threading.Event().wait(0.005)
