"""Settings → channels: reads secrets and templates, once, at the start; errors name the key, never the value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from logproc import settings_notifiers as sections
from logproc.notify import alertmanager, dingtalk, email, feishu, slack, templates, webhook, wecom
from logproc.notify.channel import Channel, Limits
from logproc.notify.hook import bucket_key
from logproc.notify.text import Style
from logproc.settings import Settings

_MODULES: Final[Mapping[str, Any]] = {
    "dingtalk": dingtalk,
    "wecom": wecom,
    "feishu": feishu,
    "slack": slack,
    "email": email,
    "alertmanager": alertmanager,
    "webhook": webhook,
}


class ChannelError(Exception):
    """A channel of the settings cannot be made: which key, and what is wrong with it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key = key
        self.text = text


def build(settings: Settings) -> dict[str, Channel]:
    """Every notifier of the settings as a channel, by name.

    Raises:
        ChannelError: a secret or a template cannot be read, or a URL is none; the first one that is found.
    """
    return {name: build_one(settings, name) for name in settings.notifiers}


def build_one(settings: Settings, name: str) -> Channel:
    """One notifier of the settings as a channel. Raises ChannelError, and KeyError where there is no such notifier."""
    section = settings.notifiers[name]
    key = f"notifiers.{name}"
    style = Style(section.language, _template(section.template_file, key))

    def secret(field: str) -> str:
        return _secret(section, field, key)

    if isinstance(section, sections.Email):
        port = section.port or email.PORTS[section.tls]
        return email.Email(
            name,
            _limits(section, f"{section.host}:{port} {section.user} {section.sender}"),
            style,
            host=section.host,
            port=port,
            tls=section.tls,
            sender=section.sender,
            recipients=section.to,
            user=section.user or "",
            password=secret("password"),
        )
    url = _checked_url(secret("url"), f"{key}.url" if section.url is not None else f"{key}.url_file")
    limits = _limits(section, url)
    match section:
        case sections.DingTalk(keyword=word, mention=called):
            return dingtalk.DingTalk(
                name, url, limits, style, secret=secret("secret"), keyword=word or "", mention=called
            )
        case sections.Feishu(keyword=word, mention=called):
            return feishu.Feishu(name, url, limits, style, secret=secret("secret"), keyword=word or "", mention=called)
        case sections.WeCom():
            return wecom.WeCom(name, url, limits, style, mention=section.mention)
        case sections.Slack():
            return slack.Slack(name, url, limits, style, mention=section.mention)
        case sections.Alertmanager():
            token = secret("token")
            return alertmanager.Alertmanager(name, url, limits, style, service=settings.service, token=token)
        case sections.Webhook():
            return webhook.Webhook(name, url, limits, style, secret=secret("secret"), token=secret("token"))


def _limits(section: sections.Notifier, robot: str) -> Limits:
    kind: str = section.kind  # type: ignore[attr-defined] # every section has its own
    module = _MODULES[kind]
    per_s, burst = module.PER_S, module.BURST
    if section.per_minute is not None:
        per_s, burst = section.per_minute / 60, max(1, int(section.per_minute / 4))
    return Limits(per_s, burst, bucket_key(kind, robot), module.DIGEST_SIZE)


def _template(path: Path | None, key: str) -> Any:
    try:
        return templates.read(path) if path is not None else None
    except templates.TemplateError as error:
        raise ChannelError(f"{key}.template_file", str(error)) from None


def _secret(section: sections.Notifier, field: str, key: str) -> str:
    """A secret from the settings or from its file; empty when there is neither."""
    told: SecretStr | None = getattr(section, field)
    path: Path | None = getattr(section, f"{field}_file")
    if told is not None:
        value, where = told.get_secret_value().strip(), f"{key}.{field}"
    elif path is not None:
        where = f"{key}.{field}_file"
        try:
            value = path.read_text("utf-8").strip()
        except OSError as error:
            raise ChannelError(where, f"{path} cannot be read: {(error.strerror or '').lower()}") from None
        except UnicodeDecodeError:
            raise ChannelError(where, f"{path} is not UTF-8") from None
    else:
        return ""
    if not value:
        raise ChannelError(where, "empty")
    if not value.isprintable():
        raise ChannelError(where, "several lines or control characters: expected one line")
    return value


def _checked_url(url: str, key: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not url.isascii() or " " in url:
        raise ChannelError(key, "expected a URL that begins with https:// or http:// and names a host")
    return url
