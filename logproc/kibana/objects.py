"""Everything that is imported into Kibana for one pipeline, in the order in which it is imported, as NDJSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from logproc.kibana.data_views import data_views
from logproc.kibana.overview import overview
from logproc.kibana.searches import searches
from logproc.kibana.why_slow import why_slow
from logproc.settings import Thresholds

SavedObject = dict[str, Any]


def saved_objects(index: str, thresholds: Thresholds) -> dict[str, list[SavedObject]]:
    """The saved objects by the name of the file that holds them; `index` is the pipeline's `store.index`.

    What an object refers to is in a file before it, or before it in its own.
    """
    views = data_views(index)
    return {
        "data-views": [view.saved_object() for view in views.all],
        "searches": [search.saved_object() for search in searches(index, views)],
        "dashboards": [
            overview(index, views, thresholds).saved_object(),
            why_slow(index, views, thresholds).saved_object(),
        ],
    }


def ndjson(objects: Iterable[SavedObject]) -> str:
    """One object a line, as Kibana imports and exports them."""
    return "".join(json.dumps(each, sort_keys=True, ensure_ascii=False) + "\n" for each in objects)
