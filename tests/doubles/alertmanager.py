"""A double of Alertmanager's POST /api/v2/alerts. What it does with them, only the real one shows: tests/services."""

from __future__ import annotations

import json
import re

from tests.doubles.server import Double, Post, Reply, as_json


class AlertmanagerDouble(Double):
    def answer(self, post: Post) -> Reply:
        if post.path == "/api/v1/alerts":
            return Reply(410, b"v1 is gone")
        if post.path != "/api/v2/alerts":
            return Reply(404)
        alerts = json.loads(post.body)
        good = [each for each in alerts if each["labels"] and all(map(_is_name, each["labels"]))]
        if good:
            self.taken.append(post)  # the good ones of a batch are stored, whatever the answer is
        return Reply() if len(good) == len(alerts) else as_json("invalid label set", status=400)


def _is_name(label: str) -> bool:
    return re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", label) is not None
