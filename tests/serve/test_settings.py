"""Settings of the middleware: what each variable does, and what becomes of a bad value."""

from __future__ import annotations

import pytest

from serve.settings import MIB, Settings, read_settings


def test_an_empty_environment_gives_the_defaults_without_a_warning() -> None:
    settings = read_settings({})
    assert settings == Settings()
    assert settings.warnings == ()
    assert (settings.path, settings.service, settings.hash_key_file) == ("logs/access.jsonl", "vllm", "logs/access.key")


def test_every_variable_is_read() -> None:
    settings = read_settings(
        {
            "LOGPROC_ACCESS_LOG": "/var/log/llm/access.jsonl",
            "LOGPROC_ACCESS_LOG_MAX_MB": "0.5",
            "LOGPROC_ACCESS_LOG_KEEP": "9",
            "LOGPROC_ACCESS_LOG_ALL": "yes",
            "LOGPROC_SERVICE": "chat-7b",
            "LOGPROC_USER_HEADER": "X-User",
            "LOGPROC_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "LOGPROC_HASH_KEY_FILE": "/run/secrets/key",
        }
    )
    assert settings.warnings == ()
    assert settings.path == "/var/log/llm/access.jsonl"
    assert settings.max_bytes == MIB // 2
    assert settings.keep == 9
    assert settings.log_all
    assert settings.service == "chat-7b"
    assert settings.user_header == b"x-user"
    assert settings.hash_key_file == "/run/secrets/key"
    assert settings.trusts("10.1.2.3")
    assert settings.trusts("::1")
    assert not settings.trusts("11.1.2.3")
    assert not settings.trusts("a name")


def test_the_key_file_lies_beside_the_log() -> None:
    assert read_settings({"LOGPROC_ACCESS_LOG": "/data/x.jsonl"}).hash_key_file == "/data/x.key"
    assert read_settings({"LOGPROC_ACCESS_LOG": "-"}).hash_key_file == "logs/access.key"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGPROC_ACCESS_LOG", "a\0b"),
        ("LOGPROC_ACCESS_LOG_MAX_MB", "many"),
        ("LOGPROC_ACCESS_LOG_MAX_MB", "-1"),
        ("LOGPROC_ACCESS_LOG_MAX_MB", "nan"),
        ("LOGPROC_ACCESS_LOG_MAX_MB", "inf"),
        ("LOGPROC_ACCESS_LOG_KEEP", "0"),
        ("LOGPROC_ACCESS_LOG_ALL", "perhaps"),
        ("LOGPROC_SERVICE", "x" * 200),
        ("LOGPROC_USER_HEADER", "two words"),
        ("LOGPROC_TRUSTED_PROXIES", "10.0.0.0/8,proxy.local"),
    ],
)
def test_a_bad_value_becomes_the_default_and_one_warning_that_names_it(name: str, value: str) -> None:
    settings = read_settings({name: value})
    assert settings == Settings()
    (warning,) = settings.warnings
    assert warning.startswith(name)
    assert len(warning) < 400
