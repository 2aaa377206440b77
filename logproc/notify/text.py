"""A message → paragraphs of text, in a language and a markup, made as short as a channel wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from string import Template
from typing import Final, TypeVar

import msgspec

from logproc.alerts.alert import SEVERITIES, Alert
from logproc.notify.channel import ExternalAlert, Message
from logproc.notify.words import WORDS, Language, Words, percent, quantity


@dataclasses.dataclass(frozen=True, slots=True)
class Markup:
    """How a channel marks text. What comes from outside passes `escape`: it can mark nothing, and call nobody."""

    escape: Callable[[str], str]
    title: str
    """With `{}` for the text; so are the next ones."""
    item: str
    quote: str
    link: str
    """With `{}` for the text and for the URL."""
    line_end: str = "\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How much is said. `shown`: of how many alerts; `text_chars`: of the text of each."""

    shown: int
    is_digest: bool = False
    examples: int = 5
    text_chars: int = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Style:
    """What a channel's settings say of its texts. `zone`: None is the local time of the process (TZ)."""

    language: Language = "en"
    template: Template | None = None
    zone: tzinfo | None = None

    @property
    def words(self) -> Words:
        """The words of the language."""
        return WORDS[self.language]


T = TypeVar("T")

LONGEST_BRIEF: Final = 1000
"""Bytes of the brief form: half of what the narrowest channel takes, so that mentions and keywords have their place."""


def fit(message: Message, make: Callable[[Shape], T], fits: Callable[[T], bool]) -> T:
    """The most of a message that fits: first fewer examples, then shorter texts, then few words, then fewer alerts.

    The shortest form of all is returned when even that does not fit.
    """
    count = len(message.alerts) + len(message.external)
    for shape in _full_shapes(message, count):
        if fits(made := make(shape)):
            return made
    fewest, most = 0, count  # the largest number of alerts that fits, in few words each
    best = make(Shape(shown=0, is_digest=True))
    while fewest <= most:
        middle = (fewest + most) // 2
        made = make(Shape(shown=middle, is_digest=True))
        if fits(made):
            best, fewest = made, middle + 1
        else:
            most = middle - 1
    return best


def _full_shapes(message: Message, count: int) -> Iterator[Shape]:
    if message.digest:
        return
    for examples, text_chars in ((5, 2000), (1, 2000), (0, 2000), (0, 300), (0, 100)):
        yield Shape(shown=count, examples=examples, text_chars=text_chars)


def title(message: Message, style: Style) -> str:
    """One line, without markup: severity or end, what, and where."""
    words = style.words
    severity = words.resolved if message.is_resolved else words.severities[message.severity]
    said = {"reminder": words.reminder, "escalation": words.escalation, "test": words.test}.get(message.reason)
    count = len(message.alerts) + len(message.external)
    if count != 1:
        what = words.alerts.format(n=count)
        if message.group:
            what += words.colon + ", ".join(f"{name}={value}" for name, value in sorted(message.group.items()))
    else:
        what = _alert_title(message.alerts[0], words) if message.alerts else _external_title(message.external[0])
    return one_line(f"{severity} · {shortened(what, 150)}" + (f" ({said})" if said else ""))


def paragraphs(message: Message, shape: Shape, style: Style, markup: Markup) -> list[str]:
    """One paragraph for each alert, or for each sort of alerts in a digest; and how many are not shown."""
    words = style.words
    told = _by_gravity(message)
    shown = told[: shape.shown]
    if shape.is_digest:
        made = list(_digest(shown, style, markup))
    else:
        made = [_paragraph(each, message, shape, style, markup) for each in shown]
    if len(told) > len(shown) > 0:
        made.append(words.more.format(n=len(told) - len(shown)))
    return made


def brief_text(message: Message, style: Style, longest: int) -> str:
    """The shortest form, within so many bytes: few words, no markup, no links, no template."""
    few = dataclasses.replace(style, template=None)
    bare = msgspec.structs.replace(message, digest=True)

    def lines(shape: Shape) -> str:
        told = "\n".join([title(message, few), *paragraphs(bare, shape, few, PLAIN)])
        return plain(told).replace("://", " ")

    return fit(bare, lines, lambda made: len(made.encode()) <= longest)


def _by_gravity(message: Message) -> list[Alert | ExternalAlert]:
    """What fires before what has ended, the grave before the mild; else in the order of the message."""
    told: list[Alert | ExternalAlert] = [*message.alerts, *message.external]
    return sorted(told, key=lambda each: (_has_ended(each), -SEVERITIES.index(each.severity)))


def _has_ended(alert: Alert | ExternalAlert) -> bool:
    return (alert.state if isinstance(alert, Alert) else alert.status) == "resolved"


def _paragraph(each: Alert | ExternalAlert, message: Message, shape: Shape, style: Style, markup: Markup) -> str:
    values = values_of(each, shape, style)
    if style.template is not None:
        marked = {name: markup.escape(value) for name, value in values.items()}
        return style.template.safe_substitute(marked).strip().replace("\n", markup.line_end)
    words = style.words
    is_alone = len(message.alerts) + len(message.external) == 1
    lines = [] if is_alone else [markup.title.format(markup.escape(f"{values['status']} · {values['title']}"))]
    if values["text"]:
        lines.append(markup.quote.format(markup.escape(values["text"])))
    facts = {
        words.value: values["value"] + (f" ({words.bound.format(bound=values['bound'])})" if values["bound"] else ""),
        words.cause: values["cause"],
        words.since: values["since"],
        words.until: values["until"],
        words.requests: values["n"],
        words.host: values["host"],
        words.details: values["labels"],
        words.examples: values["examples"],
    }
    lines += [
        markup.item.format(markup.escape(name + words.colon + fact)) for name, fact in facts.items() if fact.strip()
    ]
    if isinstance(each, ExternalAlert) and _is_link(each.generator_url):
        lines.append(markup.item.format(markup.link.format(words.details, each.generator_url)))
    return markup.line_end.join(lines)


NAMES: Final = (
    "status", "severity", "state", "kind", "title", "text", "value", "bound", "cause", "shares", "since", "until", "n",
    "model", "host", "labels", "examples", "id",
)  # fmt: skip
"""What a template may name."""


def values_of(each: Alert | ExternalAlert, shape: Shape, style: Style) -> dict[str, str]:
    """The values of NAMES for one alert, as text without markup; empty where there is none."""
    words = style.words
    values = dict.fromkeys(NAMES, "")
    values["severity"] = words.severities[each.severity]
    values["state"] = words.resolved if _has_ended(each) else words.firing
    values["status"] = words.resolved if _has_ended(each) else values["severity"]
    if isinstance(each, Alert):
        values |= {
            "kind": each.kind,
            "title": _alert_title(each, words),
            "text": each.text.get(style.language) or next(iter(each.text.values()), ""),
            "value": quantity(each.kind, each.value) if each.value is not None else "",
            "bound": quantity(each.kind, each.bound) if each.bound is not None else "",
            "cause": words.causes[each.cause] if each.cause not in (None, "unknown") else "",
            "shares": ", ".join(
                f"{words.causes.get(name, name)} {percent(share)}" for name, share in each.shares.items()
            ),
            "since": moment(each.since, style.zone),
            "until": moment(each.until, style.zone) if each.until else "",
            "n": f"{each.n:,}" if each.n else "",
            "model": each.model or "",
            "host": each.host or "",
            "examples": ", ".join(each.examples[: shape.examples]),
            "id": each.id,
        }
        if values["cause"] and each.cause in each.shares:
            values["cause"] += f" ({percent(each.shares[str(each.cause)])})"
    else:
        values |= {
            "kind": each.labels.get("alertname", ""),
            "title": _external_title(each),
            "text": " ".join(each.annotations[name] for name in ("summary", "description", "message")
                             if each.annotations.get(name)),
            "since": moment(each.starts_at, style.zone),
            "until": moment(each.ends_at, style.zone) if _has_ended(each) else "",
            "model": each.labels.get("model", ""),
            "host": each.labels.get("instance", ""),
            "labels": ", ".join(f"{name}={value}" for name, value in sorted(each.labels.items())
                                if name not in {"alertname", "severity", "instance"}),
            "id": each.fingerprint,
        }  # fmt: skip
    values["text"] = shortened(values["text"], shape.text_chars)
    values["labels"] = shortened(values["labels"], shape.text_chars)
    return {name: one_line(value) for name, value in values.items()}


def _digest(shown: list[Alert | ExternalAlert], style: Style, markup: Markup) -> Iterator[str]:
    """What is alike stands together: `critical, P99 latency is too high: model 14:02, other 14:05`."""
    words = style.words
    alike: dict[str, list[str]] = {}
    for each in shown:
        status = words.resolved if _has_ended(each) else words.severities[each.severity]
        if isinstance(each, Alert):
            what, where, since = words.kinds[each.kind], each.model or each.host or words.everything, each.since
        else:
            what, since = shortened(each.labels.get("alertname", "alert"), 80), each.starts_at
            where = next((each.labels[name] for name in ("model", "instance", "pod", "job") if name in each.labels), "")
        heading = one_line(f"{status} · {what}")
        alike.setdefault(heading, []).append(one_line(f"{shortened(where, 40)} {moment(since, style.zone, '%H:%M')}"))
    for heading, items in alike.items():
        yield markup.title.format(markup.escape(heading)) + markup.line_end + markup.escape(", ".join(items))


def _alert_title(alert: Alert, words: Words) -> str:
    where = alert.model or alert.host or words.everything
    return f"{words.kinds[alert.kind]}{words.colon}{shortened(where, 80)}"


def _external_title(alert: ExternalAlert) -> str:
    where = alert.labels.get("model") or alert.labels.get("instance")
    return shortened(alert.labels.get("alertname", "alert"), 80) + (f": {shortened(where, 80)}" if where else "")


def moment(time: str, zone: tzinfo | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """An RFC 3339 time in the zone, with the offset behind the long form; as it stands where it is no such time."""
    try:
        read = datetime.fromisoformat(time)
    except ValueError:
        return time
    local = (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(zone)
    if form == "%H:%M":
        return f"{local:%H:%M}"
    offset = f"{local:%z}"
    return f"{local:{form}} " + ("UTC" if offset == "+0000" else f"{offset[:3]}:{offset[3:5]}")


def shortened(text: str, characters: int) -> str:
    """At most so many characters, `…` in place of the rest."""
    return text if len(text) <= characters else text[: max(0, characters - 1)].rstrip() + "…"


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters only, `…` in place of the rest."""
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: max(0, limit - 3)].decode("utf-8", "ignore").rstrip() + "…"


def one_line(text: str) -> str:
    """Without line breaks and other control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _is_link(url: str) -> bool:
    return url.startswith(("http://", "https://")) and not any(character in url for character in " ()<>|\n\"'")


_TO_HARMLESS: Final = str.maketrans({"<": "‹", ">": "›", "[": "［", "]": "］", "`": "'", "*": "∗", "@": "＠"})


def plain(text: str) -> str:
    """Markdown's and the vendors' special characters replaced by others that look alike."""
    return text.translate(_TO_HARMLESS)


PLAIN: Final = Markup(escape=str, title="{}", item="  {}", quote="{}", link="{}: {}")
