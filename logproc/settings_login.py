"""How to log in to a server of the Elastic Stack: an API key, or a user and a password; and which CA to trust."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from logproc.settings_section import Section


class Login(Section):
    """Secrets come from the environment or from files, and are never printed."""

    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_cert: Path | None = Field(None, description="File with the certificates to trust, for https.")

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        for name in ("api_key", "password"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise ValueError(f"set `{name}` or `{name}_file`, not both")
        has_key, has_password = bool(self.api_key or self.api_key_file), bool(self.password or self.password_file)
        if has_key and (self.username or has_password):
            raise ValueError("set an API key, or a user and a password, not both")
        if bool(self.username) != has_password:
            raise ValueError("`username` and `password` (or `password_file`) belong together")
        return self


class Kibana(Login):
    """Where `logproc setup kibana` puts dashboards and rules."""

    url: str | None = Field(None, description="Such as http://localhost:5601; with /s/NAME for a space of that name.")

    @model_validator(mode="after")
    def _plain_url(self) -> Self:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("`url`: expected a URL such as http://localhost:5601")
        if self.url is not None and "@" in self.url:
            raise ValueError("`url`: no user or password in a URL: set `username` and `password_file`")
        return self
