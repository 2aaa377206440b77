"""Records the small real access log that other tests read: `python -m tests.services.record_log FILE`.

Starts a real vLLM, sends it requests of every kind, and keeps what the middleware wrote; only the machine's name is
replaced.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.e2e.traffic import COUNTED_ONCE, KINDS
from tests.e2e.witness import serve_and_watch
from tests.services import install_vllm

HOST = "gpu-1"


def main() -> None:
    """Write the log into the file named on the command line."""
    target = Path(sys.argv[1])
    if reason := install_vllm.why_missing():
        sys.exit(reason)
    install_vllm.install_checkout(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        witness = serve_and_watch(Path(folder), counted=COUNTED_ONCE * 4, mixed=KINDS * 3, parallel=4, seed=3)
        assert witness.line_sums == witness.vllm_sums, "the log would not be true"
        log = witness.log.read_text()
    host = witness.lines[0]["host"]
    target.write_text(log.replace(f'"host":"{host}"', f'"host":"{HOST}"'))
    print(f"{target}: {len(witness.request_lines)} requests, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
