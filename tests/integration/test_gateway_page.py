"""The files of the run page over HTTP: their types, their tags, their policy, and nothing beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateways import project, serving

pytestmark = pytest.mark.redis

PAGE = Path(__file__).parents[2] / "workers" / "gateway" / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture(params=[False, True], ids=["local", "with keys"])
def client(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[httpx2.Client]:
    with serving(project(tmp_path, redis_url), keys=request.param) as served, served.asking() as asking:
        yield asking


def test_every_file_of_the_page_is_served_to_everybody(client: httpx2.Client) -> None:
    for file in PAGE.iterdir():
        answer = client.get("/" if file.name == "index.html" else f"/page/{file.name}")
        assert (answer.status_code, answer.content) == (200, file.read_bytes()), file
        assert answer.headers["content-type"].startswith(TYPES[file.suffix])
        assert answer.headers["cache-control"] == "no-cache"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_is_there_already_is_not_sent_again(client: httpx2.Client) -> None:
    for path in ("/", "/page/page.js"):
        tag = client.get(path).headers["etag"]
        for seen in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = client.get(path, headers={"If-None-Match": seen})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        assert client.head(path).headers["etag"] == tag


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "none.js", "page.js/x", "", ".", "PAGE.JS"]
)
def test_nothing_else_is_served(client: httpx2.Client, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code in (401, 404) and answer.headers["content-type"] == "application/problem+json"
    assert client.post("/page/page.js").status_code == 405


def test_the_page_loads_nothing_but_its_own_files() -> None:
    """No address of anybody else's, no script or style within the page, and no way for text to become markup."""
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.-]+\.\w+", text), file
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            file
        )
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert "<style" not in page and not re.findall(r"<[^>]+\s(?:style|on\w+)=", page)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    loaded = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page))
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in PAGE.glob("*.js"))
    loaded |= {f"page/{name}" for name in re.findall(r'from "\./([^"]+)"', scripts)}
    assert loaded == {f"page/{file.name}" for file in PAGE.iterdir()} - {"page/index.html"}
