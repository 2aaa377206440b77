"""The notifiers in the settings: one section for each kind of channel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import Field, SecretStr, field_validator, model_validator

from logproc.settings_section import Section


class Notifier(Section):
    """What every channel has. Secrets come from the environment or from files, and are never printed."""

    fallback: str | None = Field(None, description="The notifier that is told instead while this one is dead.")
    language: Literal["en", "zh"] = "en"
    template_file: Path | None = Field(None, description="Text of one alert, with $names; docs/notifications.md.")
    per_minute: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Messages a minute, in place of what the channel's vendor allows."
    )


class Hook(Notifier):
    """A channel that is one URL, the URL being a secret."""

    url: SecretStr | None = None
    url_file: Path | None = None

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if self.url is None and self.url_file is None:
            raise ValueError("`url` or `url_file` is needed")
        if self.url is not None and self.url_file is not None:
            raise ValueError("`url` or `url_file`, not both")
        return self


class Signed(Hook):
    """A channel that may check a signature."""

    secret: SecretStr | None = None
    secret_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("`secret` or `secret_file`, not both")
        return self


class Mentioning(Section):
    """A channel that can call people by name."""

    mention: list[str] = Field(
        default_factory=list,
        description="Who is called when it is critical or worse: phone numbers (DingTalk, WeCom), open_ids (Feishu), "
        "member ids (Slack), or `all`.",
    )

    @field_validator("mention", mode="before")
    @classmethod
    def _as_texts(cls, value: object) -> object:
        """YAML reads a phone number as a number."""
        return [str(each) if isinstance(each, int) else each for each in value] if isinstance(value, list) else value


class DingTalk(Signed, Mentioning):
    """A custom robot of a DingTalk group."""

    kind: Literal["dingtalk"]
    keyword: str | None = Field(None, description="The robot's keyword: put into every message.")


class WeCom(Hook, Mentioning):
    """A robot of a WeCom group."""

    kind: Literal["wecom"]


class Feishu(Signed, Mentioning):
    """A custom bot of a Feishu or Lark group."""

    kind: Literal["feishu"]
    keyword: str | None = Field(None, description="The bot's keyword: put into every message.")


class Slack(Hook, Mentioning):
    """An incoming webhook of Slack."""

    kind: Literal["slack"]


class Email(Notifier):
    """A mailbox, by SMTP."""

    kind: Literal["email"]
    host: str
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Default: 587 with starttls, 465 with implicit, 25 with none."
    )
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    sender: str = Field(alias="from")
    to: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("`password` or `password_file`, not both")
        if (self.user is None) != (self.password is None and self.password_file is None):
            raise ValueError("`user` needs `password` or `password_file`, and they need `user`")
        if self.tls == "none" and self.user is not None and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("`tls: none` would send the password in the clear: use starttls or implicit")
        for address in (self.sender, *self.to):
            if "@" not in address or any(character.isspace() for character in address):
                raise ValueError(f"{address!r} is no mail address: expected e.g. ops@example.org")
        return self


class WithToken(Hook):
    """A channel that may want a bearer token."""

    token: SecretStr | None = Field(None, description="Bearer token.")
    token_file: Path | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("`token` or `token_file`, not both")
        return self


class Alertmanager(WithToken):
    """One Alertmanager (API v2), by its base URL. For a cluster, one notifier for each member."""

    kind: Literal["alertmanager"]


class Webhook(Signed, WithToken):
    """Anything that takes a POST: an auto-scaler, a phone gateway."""

    kind: Literal["webhook"]


AnyNotifier = DingTalk | WeCom | Feishu | Slack | Email | Alertmanager | Webhook
NOTIFIERS: Final[tuple[type[Notifier], ...]] = get_args(AnyNotifier)
"""The section of every kind."""
