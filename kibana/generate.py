"""Writes the saved objects beside this file, for the default settings; run it after a change of fields or panels.

    python -m kibana.generate

`logproc setup kibana` imports the same objects with a pipeline's own index and thresholds.
"""

from __future__ import annotations

from pathlib import Path

from logproc.kibana.objects import ndjson, saved_objects
from logproc.settings import ElasticsearchStore, Thresholds

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """What belongs into each file."""
    index = ElasticsearchStore(kind="elasticsearch").index
    return {FOLDER / f"{name}.ndjson": ndjson(objects) for name, objects in saved_objects(index, Thresholds()).items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
