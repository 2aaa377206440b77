"""logproc on a host without containers: units that systemd accepts, rotation that loses nothing, paths that agree."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logproc.settings_file import load
from serve.log_file import LogFile
from serve.settings import Settings as ServeSettings
from tests.stack.compose import ROOT

UNITS = ROOT / "deploy" / "systemd"
LOGROTATE = ROOT / "deploy" / "logrotate" / "vllm-access"


def unit(name: str) -> dict[str, str]:
    """The section [Service]; of a key that stands several times the last."""
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return dict(parser["Service"])


@pytest.mark.service
@pytest.mark.parametrize("name", ["logproc.service", "vllm.service"])
def test_systemd_accepts_the_units_and_finds_logproc_well_closed_in(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    program = unit(name)["ExecStart"].split()[0]
    copy = tmp_path / name
    copy.write_text((UNITS / name).read_text().replace(program, "/bin/true"))  # it wants to see the program
    verified = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)

    assert verified.returncode == 0, verified.stderr
    assert name not in verified.stderr
    if name == "logproc.service":
        security = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(copy)]  # 2.5 of 10
        judged = subprocess.run(security, capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stdout + judged.stderr


def test_what_the_unit_starts_is_a_command_of_ours_on_the_settings_beside_it() -> None:
    service = unit("logproc.service")
    program, *arguments = service["ExecStart"].split()
    settings = load(UNITS / "logproc.yaml", {})

    assert Path(program).name == "logproc"
    assert arguments == ["run", "/etc/logproc/logproc.yaml"]
    assert settings.state == Path("/var/lib") / service["StateDirectory"]
    asked = [sys.executable, "-m", "logproc", arguments[0], "--help"]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0


def test_logproc_reads_what_vllm_writes_and_may() -> None:
    vllm = unit("vllm.service")
    written = re.search(r"LOGPROC_ACCESS_LOG=(\S+)", (UNITS / "vllm.service").read_text())
    settings = load(UNITS / "logproc.yaml", {})

    assert written is not None
    assert Path(written[1]).match(settings.logs.paths[0])
    assert Path(written[1]).parent == Path("/var/log") / vllm["LogsDirectory"]
    assert "--middleware serve.AccessLogMiddleware" in vllm["ExecStart"]
    assert unit("logproc.service")["SupplementaryGroups"] == vllm["Group"]


@pytest.mark.service
def test_logrotate_moves_and_packs_the_log_under_the_server_and_replay_finds_every_line(tmp_path: Path) -> None:
    """The file as it is, but for the folder and the user; rotated three times while a server writes."""
    if shutil.which("logrotate") is None:
        pytest.skip("logrotate is not installed (apt-get install logrotate)")
    log = tmp_path / "vllm" / Path(ServeSettings().path).name
    log.parent.mkdir(mode=0o755)
    text = LOGROTATE.read_text().replace("/var/log/vllm", str(log.parent))
    assert Path(f"{log.parent}/access*.jsonl").name in text
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(re.sub(r"\n    su .*", "", text))
    configuration.chmod(0o644)
    writer = LogFile(str(log), max_bytes=1 << 30, keep=5)
    for number in range(40):
        line = {"time": f"2026-01-01T00:00:{number:02}Z", "method": "POST", "path": "/v1/completions", "status": 200,
                "prompt_tokens": 1, "completion_tokens": 1, "duration_ms": 1.0}  # fmt: skip
        assert writer.append(json.dumps(line).encode() + b"\n")[1] is None
        if number in {10, 20, 30}:
            command = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(configuration)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")

    files = sorted(log.parent.glob("access.jsonl*"))
    assert {path.suffix for path in files} == {".jsonl", ".1", ".gz"}
    done = subprocess.run(
        [sys.executable, "-m", "logproc", "replay", "--json", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["requests"] == 40
