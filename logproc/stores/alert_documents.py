"""One entry in the life of an alert → its document, under the names of `fields.py`."""

from __future__ import annotations

from typing import Any, Final

from logproc.alerts.alert import Alert, entry_id
from logproc.stores.fields import ALERT_FIELDS

_MADE: Final = frozenset({"event.id", "event.kind", "service.name", "message", "llm.alert.message_zh"})


def alert_document(alert: Alert, service: str) -> dict[str, Any]:
    """The flat document of one entry, ready for JSON; what is unknown is left out, as everywhere.

    `service` is the pipeline's `service`. `event.id` is the same for the same entry, however often it is written;
    `llm.alert.examples` are the `event.id` of requests; `value` and `bound` are in the unit of the threshold.
    """
    document: dict[str, Any] = {
        "event.id": entry_id(alert),
        "event.kind": "alert",
        "service.name": service,
        "message": alert.text.get("en"),
        "llm.alert.message_zh": alert.text.get("zh"),
    }
    for each in ALERT_FIELDS:
        if each.name not in _MADE:
            document[each.name] = getattr(alert, each.source)
    return {each.name: document[each.name] for each in ALERT_FIELDS if document[each.name] not in (None, [], {})}
