"""Ids and addresses: what is believed, what is passed on, and what must not be told."""

from __future__ import annotations

import pickle
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from serve import identity
from serve.settings import read_settings

PROXIES = read_settings({"LOGPROC_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8"})


@pytest.mark.parametrize("given", [b"client-abc-123", b"a" * 128, b"a.b_c:d-9"])
def test_a_safe_request_id_is_kept(given: bytes) -> None:
    assert identity.request_id(given) == given


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"two words", b"new\nline", b'"', b"\xff", "é".encode()])
def test_any_other_request_id_is_replaced_by_a_new_one(given: bytes) -> None:
    first, second = identity.request_id(given), identity.request_id(given)
    assert first != second
    assert len(first) == 32
    assert first.isalnum()


def test_the_trace_id_comes_from_a_valid_traceparent_alone() -> None:
    trace = b"0af7651916cd43dd8448eb211c80319c"
    assert identity.trace_id(b"00-" + trace + b"-b7ad6b7169203331-01") == trace.decode()
    assert identity.trace_id(b"01-" + trace + b"-b7ad6b7169203331-01-later") == trace.decode()
    for bad in (
        b"",
        b"00-" + trace,
        b"00-" + trace.upper() + b"-b7ad6b7169203331-01",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"ff-" + trace + b"-b7ad6b7169203331-01",
        trace,
    ):
        assert identity.trace_id(bad) is None


def test_a_forwarded_address_is_believed_from_a_trusted_proxy_only() -> None:
    forwarded = b"1.2.3.4"
    assert identity.client_address("9.9.9.9", forwarded, PROXIES) == "9.9.9.9"
    assert identity.client_address("10.0.0.1", forwarded, PROXIES) == "1.2.3.4"
    assert identity.client_address("10.0.0.1", forwarded, read_settings({})) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the client itself may have written what stands left
        (b"1.2.3.4, 10.0.0.7", "1.2.3.4"),
        (b"10.0.0.8, 10.0.0.7", "10.0.0.8"),
        (b"1.2.3.4:5678", "1.2.3.4"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"unknown", "10.0.0.1"),
        (b"1.2.3.4, marker\xff, 10.0.0.7", "10.0.0.7"),
        (b"", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(forwarded: bytes, client: str) -> None:
    assert identity.client_address("10.0.0.1", forwarded, PROXIES) == client


def test_a_connection_without_an_address_has_no_client() -> None:
    assert identity.client_address(None, b"1.2.3.4", PROXIES) is None
    assert identity.client_address("", b"1.2.3.4", PROXIES) is None


def test_the_key_is_the_bearer_token_else_the_api_key_header() -> None:
    assert identity.presented_key(b"Bearer sk-1", b"sk-2") == b"sk-1"
    assert identity.presented_key(b"bearer  sk-1 ", b"") == b"sk-1"
    assert identity.presented_key(b"Basic dXNlcg==", b"sk-2") == b"sk-2"
    assert identity.presented_key(b"Bearer ", b"") == b""


def test_a_key_id_depends_on_the_key_and_the_secret_and_tells_neither() -> None:
    keys, others = identity.ApiKeys(b"x" * 32), identity.ApiKeys(b"y" * 32)
    one = keys.id_of(b"Bearer sk-1", None)
    assert one is not None
    assert len(one) == 12
    assert int(one, 16) >= 0
    assert one == keys.id_of(b"Bearer sk-1", None) == keys.id_of(b"bearer sk-1 ", b"sk-2") == keys.id_of(None, b"sk-1")
    assert one == identity.ApiKeys(b"x" * 32).id_of(None, b"sk-1")
    assert len({one, keys.id_of(b"Bearer sk-2", None), others.id_of(b"Bearer sk-1", None)}) == 3
    assert keys.id_of(None, None) is None
    assert keys.id_of(b"Bearer ", b"") is None
    assert identity.ApiKeys().id_of(b"Bearer sk-1", None) is None


def test_no_key_stays_in_memory_and_few_ids_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MOST_KEYS", 10)
    keys = identity.ApiKeys(b"x" * 32)
    ids = [keys.id_of(b"Bearer sk-%d" % number, None) for number in range(100)]
    assert len(set(ids)) == 100
    assert [keys.id_of(b"Bearer sk-%d" % number, None) for number in range(100)] == ids
    assert len(keys._ids) <= 10
    assert b"sk-" not in pickle.dumps(keys._ids)


def test_what_is_kept_of_a_key_cannot_be_compared_with_a_guess_made_elsewhere() -> None:
    one, other = identity.ApiKeys(b"x" * 32), identity.ApiKeys(b"x" * 32)
    assert one.id_of(b"Bearer sk-1", b"sk-2") == other.id_of(b"Bearer sk-1", b"sk-2")
    assert set(one._ids).isdisjoint(other._ids)


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "access.key"
    secret = identity.load_hash_key(str(file))
    assert len(secret) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert identity.load_hash_key(str(file)) == secret
    assert list(file.parent.iterdir()) == [file]


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    file, start, secrets = tmp_path / "access.key", threading.Barrier(8), set()

    def load() -> None:
        start.wait()
        secrets.add(identity.load_hash_key(str(file)))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert secrets == {file.read_bytes()}


def test_a_secret_that_is_too_short_or_out_of_reach_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(ValueError, match="3 bytes"):
        identity.load_hash_key(str(tmp_path / "short"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        identity.load_hash_key(str(tmp_path / "file" / "access.key"))


def _scope(**fields: object) -> dict[str, object]:
    return {"path": "/", "root_path": "", **fields}


def test_the_template_is_the_route_with_the_prefix_of_its_mounts() -> None:
    route = SimpleNamespace(path="/items/{item}", endpoint=object())
    scope = _scope(route=route, path="/items/7", path_params={"item": 7})
    assert identity.template_of(scope) == "/items/{item}"
    scope = _scope(route=route, root_path="/proxy/shop", app_root_path="/proxy", path_params={"item": "7"})
    assert identity.template_of(scope) == "/shop/items/{item}"
    scope = _scope(route=route, root_path="/shops/7", app_root_path="", path_params={"shop": "7", "item": "8"})
    assert identity.template_of(scope) == "/shops/{shop}/items/{item}"


def test_a_mounted_app_without_routes_is_named_by_its_mount() -> None:
    mount = SimpleNamespace(path="/static")
    scope = _scope(route=mount, root_path="/static", app_root_path="", path="/static/a/b.css", endpoint=object())
    assert identity.template_of(scope) == "/static"


def test_a_starlette_that_does_not_tell_the_route_is_read_by_its_parameters() -> None:
    scope = _scope(endpoint=object(), path="/items/7/parts", path_params={"item": 7})
    assert identity.template_of(scope) == "/items/{item}/parts"
    scope = _scope(endpoint=object(), path="/files/a/b", path_params={"path": "a/b"})
    assert identity.template_of(scope) is None


def test_an_app_without_routes_keeps_known_paths_only() -> None:
    assert identity.template_of(_scope(path="/v1/chat/completions"), {"/v1/chat/completions"}) == "/v1/chat/completions"
    assert identity.template_of(_scope(path="/secret/42"), {"/v1/chat/completions"}) is None
    scope = _scope(path="/api/v1/chat/completions", root_path="/api")
    assert identity.template_of(scope, {"/v1/chat/completions"}) == "/v1/chat/completions"
    scope = _scope(path="/v1/chat/completions", app=object())
    assert identity.template_of(scope, {"/v1/chat/completions"}) is None


def test_a_header_is_shown_without_control_characters_and_not_too_long() -> None:
    assert identity.shown(b" curl/8\x1b[31m\n ", 256) == "curl/8[31m"
    assert identity.shown(b"x" * 999, 16) == "x" * 16
    assert identity.shown(b"\x00", 16) is None


def test_an_odd_response_id_is_not_written() -> None:
    assert identity.response_id("chatcmpl-1") == "chatcmpl-1"
    assert identity.response_id("two words") is None
    assert identity.response_id("x" * 257) is None
    assert identity.response_id(7) is None
