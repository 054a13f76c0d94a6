"""A real headless Chromium, driven as a person would: by the WebDriver protocol, which is plain JSON over HTTP.

It shares nothing with a browser of whoever runs the tests: a new empty profile, and no address but this machine's.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.ports import free_port
from tests.support.waiting import comes_true, wait_until

MISSING = "chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)"
BOUND = 60.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Space": "\ue00d",
    "Shift": "\ue008",
    "Control": "\ue009",
}


def is_there() -> bool:
    """Whether this machine has the browser and its driver."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One tab. Selectors are CSS; what is asked for is waited for."""

    def __init__(self, session: httpx2.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._post("url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """What the body of a function returns in the page; elements travel as such."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def devtools(self, command: str, **parameters: object) -> Any:
        """A command of the browser's own protocol, for what WebDriver does not know."""
        return self._post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def wait(self, script: str, what: str, *arguments: object, seconds: float = BOUND) -> None:
        """Returns once the function's body returns something true."""
        if not comes_true(lambda: self.run(script, *arguments), timeout_seconds=seconds):
            raise AssertionError(f"waited in vain until {what}; the page shows: {self.text()[:3000]!r}")

    def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait_text(self, text: str, selector: str = "body") -> None:
        """Returns once the text can be read there."""
        script = "return (document.querySelector(arguments[1])?.innerText ?? '').includes(arguments[0])"
        self.wait(script, f"{selector} says {text!r}", text, selector)

    def find(self, selector: str, text: str = "") -> Any:
        """The first visible element that fits and says the text; waits for it."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].find(e => e.checkVisibility() "
            "&& e.textContent.includes(arguments[1])) ?? null"
        )
        self.wait(script, f"there is {selector} {text!r}", selector, text)
        return self.run(script, selector, text)

    def click(self, selector: str, text: str = "") -> None:
        """Click on it with the mouse, at the place where it is seen."""
        self._post(f"element/{self.find(selector, text)[_ELEMENT]}/click", {})

    def type(self, selector: str, text: str, *, label: str = "") -> None:
        """Replace what is in a field by typing; `label` names it by its label."""
        element = self.labelled(label) if label else self.find(selector)
        self._post(f"element/{element[_ELEMENT]}/clear", {})
        self._post(f"element/{element[_ELEMENT]}/value", {"text": text})

    def labelled(self, label: str) -> Any:
        """The field with this label, or with one that begins with it."""
        script = (
            "return [...document.querySelectorAll('label')].find(l => l.checkVisibility() "
            "&& l.textContent.startsWith(arguments[0]))?.control ?? null"
        )
        self.wait(script, f"there is a field {label!r}", label)
        return self.run(script, label)

    def press(self, *keys: str) -> None:
        """Press keys on the keyboard, wherever the focus is: names of `KEYS`, else texts; `Shift+Tab` holds one."""
        actions: list[dict[str, str]] = []
        for key in keys:
            held, _, last = key.rpartition("+") if "+" in key[:-1] else ("", "", key)
            strokes = [KEYS[last]] if last in KEYS else list(last)
            actions += [{"type": "keyDown", "value": KEYS[held]}] if held else []
            for stroke in strokes:
                actions += [{"type": "keyDown", "value": stroke}, {"type": "keyUp", "value": stroke}]
            actions += [{"type": "keyUp", "value": KEYS[held]}] if held else []
        self._post("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def focused(self) -> str:
        """What has the focus, as a screen reader would name it."""
        return str(
            self.run(
                "const e = document.activeElement; return e === document.body ? 'nothing' : "
                "(e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent || e.id).trim()"
            )
        )

    def tab_to(self, name: str, *, most: int = 60) -> None:
        """Press Tab until what has the focus bears this name."""
        for _ in range(most):
            if name in self.focused():
                return
            self.press("Tab")
        raise AssertionError(f"no way by Tab to {name!r}; the focus is on {self.focused()!r}")

    def size(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """The size of the page in CSS pixels; a phone has a viewport of its own."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )

    def prefers(self, **features: str) -> None:
        """What the person prefers, as in `prefers(color_scheme="dark")`."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.devtools("Emulation.setEmulatedMedia", features=wanted)

    def screenshot(self, file: Path) -> None:
        """The whole page as a picture."""
        found = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """What the browser has written into its log since the last time: errors and refusals, policies among them."""
        found = self._post("se/log", {"type": "browser"})
        return [f"{entry['level']} {entry['message']}" for entry in found if entry["level"] in ("SEVERE", "WARNING")]

    def _post(self, path: str, body: Mapping[str, object]) -> Any:
        answer = self._session.post(path, json=body)
        value = answer.json()["value"]
        if answer.status_code != httpx2.codes.OK:
            raise AssertionError(f"{path} {body}: {value['error']}: {value['message'].splitlines()[0]}")
        return value


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser until the end of the block; all its files lie in the folder."""
    port = free_port()
    log = folder / "chromedriver.log"
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}", f"--log-path={log}", "--allowed-ips=127.0.0.1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as asking:
            wait_until(lambda: _is_ready(asking), "chromedriver answers", timeout_seconds=BOUND)
            options = {"args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"], "binary": shutil.which("chromium")}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
            answer = asking.post("/session", json={"capabilities": wanted}).json()["value"]
            assert "sessionId" in answer, (answer, log.read_text(encoding="utf-8", errors="replace")[-2000:])
            session = f"{asking.base_url}/session/{answer['sessionId']}".replace("//session", "/session")
            asking.base_url = f"{session}/"
            try:
                yield Browser(asking)
            finally:
                # Without the slash: chromedriver knows no other form, and a driver that ends leaves its browser behind.
                ended = asking.delete(session)
                assert ended.status_code == httpx2.codes.OK, ended.text
    finally:
        driver.terminate()
        try:
            driver.wait(20)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait(20)


def _is_ready(asking: httpx2.Client) -> bool:
    try:
        return bool(asking.get("/status").json()["value"]["ready"])
    except httpx2.TransportError:
        return False


def contrasts(browser: Browser) -> list[str]:
    """Every text on the page that is read with less contrast than WCAG AA asks for, with its ratio."""
    return [str(found) for found in browser.run(_CONTRASTS)]


_CONTRASTS = re.sub(
    r"\n\s+",
    "\n",
    """
const numbers = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
const channel = (value) => value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const ground = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const found = numbers(getComputedStyle(one).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found;
  }
  return [255, 255, 255];
};
const found = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('option')) continue;
  const [a, b] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.className} ${texts.currentNode.data.trim().slice(0, 40)}`);
}
return found;
""",
)
