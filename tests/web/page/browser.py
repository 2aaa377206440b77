"""A real Chromium, driven over the W3C WebDriver protocol by chromedriver."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

SWITCHES: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en-US",
    "--ignore-certificate-errors",
)
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE_S: Final = 20.0


class WebDriverError(Exception):
    """The browser could not do what was asked; the message says why."""


def why_missing() -> str | None:
    """Why there is no browser here; None when there is one."""
    for name in ("chromedriver", "chromium"):
        if shutil.which(name) is None:
            return f"{name} is missing: apt-get install chromium chromium-driver"
    return None


class Browser:
    """One window. `wait_for` is the only way to wait: for a condition, never for a time."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}", f"--log-path={profile}.log"], stdout=subprocess.DEVNULL
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
        try:
            self._session = self._opened(profile)
        except BaseException:
            self._driver.kill()
            raise

    def _opened(self, profile: Path) -> str:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._http.get("/status")
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        options = {
            "args": [*SWITCHES, f"--user-data-dir={profile}"],
            "binary": shutil.which("chromium"),
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "acceptInsecureCerts": True,
        }
        answer = self._http.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        if "sessionId" not in answer:
            raise WebDriverError(answer.get("message", str(answer)))
        return str(answer["sessionId"])

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self._http.delete(f"/session/{self._session}")
        finally:
            self._driver.terminate()
            self._driver.wait(10)
            self._http.close()

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(
            method, f"/session/{self._session}{path}", json=None if method == "GET" else (body or {})
        )
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise WebDriverError(value.get("message", str(value)))
        return value

    def open(self, url: str) -> None:
        """Go to a page, and wait until it has loaded."""
        self._do("POST", "/url", {"url": url})

    @contextmanager
    def another_tab(self) -> Iterator[None]:
        """A new tab in front of the others, closed in the end."""
        before = self._do("GET", "/window")
        made = self._do("POST", "/window/new", {"type": "tab"})["handle"]
        self._do("POST", "/window", {"handle": made})
        try:
            yield
        finally:
            self._do("DELETE", "/window")
            self._do("POST", "/window", {"handle": before})

    @property
    def url(self) -> str:
        """Where the browser is."""
        return str(self._do("GET", "/url"))

    def back(self) -> None:
        """The back button."""
        self._do("POST", "/back")

    def size(self, width: int, height: int, *, scale: float = 1) -> None:
        """The size of the page in CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page; `arguments` are its `arguments`."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """As `run`, for a body that calls its last argument when it is done."""
        return self._do("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def elements(self, selector: str) -> list[str]:
        """The ids of the elements that match a CSS selector."""
        found = self._do("POST", "/elements", {"using": "css selector", "value": selector})
        return [each[_ELEMENT] for each in found]

    def text(self, selector: str) -> str:
        """The visible text of the first element that matches; empty when there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """The visible text of each element that matches."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)", selector))

    def click(self, selector: str, containing: str = "") -> None:
        """Click the first element that matches and contains a text, as a person would: it must be visible."""
        self.wait_for(lambda: self._try_click(selector, containing), f"to click {selector} {containing}")

    def _try_click(self, selector: str, containing: str) -> bool:
        for element in self.elements(selector):
            try:
                if containing in self._do("GET", f"/element/{element}/text"):
                    self._do("POST", f"/element/{element}/click")
                    return True
            except WebDriverError as error:  # drawn anew between looking and clicking, or not yet in sight
                if "intercepted" in str(error):  # what stays on top of the window hides it
                    self.run("arguments[0].scrollIntoView({block: 'center'})", {_ELEMENT: element})
                elif "stale" not in str(error) and "interactable" not in str(error):
                    raise
        return False

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that matches."""
        self.wait_for(lambda: bool(self.elements(selector)), f"{selector} to type into")
        self._do("POST", f"/element/{self.elements(selector)[0]}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def click_at(self, x: int, y: int) -> None:
        """Click a place of the window, in CSS pixels."""
        steps = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._do("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press at one place, move to another, let go."""
        steps = [
            {"type": "pointerMove", "duration": 0, "x": start[0], "y": start[1]},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "duration": 60, "x": (start[0] + end[0]) // 2, "y": end[1]},
            {"type": "pointerMove", "duration": 60, "x": end[0], "y": end[1]},
            {"type": "pointerUp", "button": 0},
        ]
        self._do("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})

    def screenshot(self, path: Path) -> None:
        """A picture of what the window shows, in the format that the ending tells: png or webp."""
        kind = {"format": path.suffix[1:], **({} if path.suffix == ".png" else {"quality": 88})}
        path.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", **kind)["data"]))

    def complaints(self) -> list[str]:
        """What the browser has written into its console since it was asked last: errors, refusals by the policy."""
        found = self._do("POST", "/se/log", {"type": "browser"})
        return [each["message"] for each in found if each["level"] in {"SEVERE", "WARNING"}]

    def wait_for(self, true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        """Wait for something that must come, and return it; the limit is only there so that a failure ends."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, (
                f"waited {seconds:.0f} s for: {what}\nat {self.url}\n{self.text('body')[:2000]}\n{self.complaints()}"
            )
            time.sleep(0.02)
        return found

    def wait_text(self, selector: str, text: str) -> None:
        """Wait until an element that matches shows a text."""
        self.wait_for(lambda: any(text in each for each in self.texts(selector)), f"{text!r} in {selector}")


def scrolled(browser: Browser) -> bool:
    """Scroll to the end of the page; true, so that it can stand in a condition that is waited for."""
    browser.run("scrollTo(0, document.body.scrollHeight)")
    return True
