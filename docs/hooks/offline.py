"""Checks of the built site: nothing is loaded from elsewhere, and no link is broken."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)
IN_SCRIPT = re.compile(
    r"[\"'`]((?:https?:)?//[^\"'`\s]+)[\"'`]"
)  # an address that is a whole string, not one in a comment
LOADS = {  # tag → the attributes whose address a browser loads by itself
    "script": ("src",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",), "embed": ("src",),
    "video": ("src", "poster"), "audio": ("src",), "track": ("src",), "object": ("data",), "input": ("src",),
    "use": ("href", "xlink:href"), "image": ("href", "xlink:href"), "link": ("href",),
}  # fmt: skip
NAMED_ONLY = frozenset({"canonical", "prev", "next", "author", "license", "help", "search"})  # of <link>: loads nothing
# Addresses in the theme's script → the class of the elements that need them. `problems` checks that no page has one.
THEME = {
    "https://unpkg.com/mermaid@": "mermaid",  # for an element of this class
    "https://unpkg.com/resize-observer-polyfill": None,  # for browsers of before 2020
    "https://api.github.com/": "md-source",  # for the link to a repository
    "https://${": "md-source",
}


class _Page(HTMLParser):
    """What a page loads, its links, and the anchors in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.classes: set[str] = set()
        self.inside = ""  # "style" or "script", while in one

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= set(given.get("class", "").split())
        self.loads += IN_CSS.findall(given.get("style", ""))
        self.inside = tag if tag in ("style", "script") else self.inside
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and set(given.get("rel", "").split()) <= NAMED_ONLY:
            return
        for name in LOADS.get(tag, ()):
            several = given.get(name, "").split(", ") if name == "srcset" else [given.get(name, "")]
            self.loads += [part.split()[0] for part in several if part.strip()]

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.loads += IN_CSS.findall(data)
        elif self.inside == "script":
            self.loads += IN_SCRIPT.findall(data)


def problems(site: Path, private: tuple[str, ...] = ()) -> tuple[list[str], int]:
    """The errors of a built site, one line each, and the number of links that were checked.

    private: strings that no page may contain, such as the path of the folder in which it was built
    """
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    classes = {name for page in pages.values() for name in page.classes}
    found: list[str] = []
    followed = 0
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name} loads {url[:200]}" for url in page.loads if ELSEWHERE.match(url)]
        text = path.read_text("utf-8")
        found += [f"{name} holds {word}" for word in private if word in text]
        for link in [*page.links, *page.loads]:
            if re.match(r"\s*(?:[a-z][a-z+.-]*:|//)", link, re.IGNORECASE):
                continue
            followed += 1
            if wrong := _leads_nowhere(link, path, site.resolve(), pages):
                found.append(f"{name} links to {link}: {wrong}")
    for path in sorted(site.rglob("*.css")):
        found += [f"{path.relative_to(site)} loads {url}" for url in IN_CSS.findall(path.read_text("utf-8"))]
    for path in sorted(site.rglob("*.js")):
        found += [f"{path.relative_to(site)} may load {url}" for url in _named(path) if not _never(url, classes)]
    return found, followed


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    page.close()
    return page


def _leads_nowhere(link: str, path: Path, site: Path, pages: dict[Path, _Page]) -> str:
    address, anchor = urldefrag(link)
    address = unquote(address.split("?")[0])
    start = site if address.startswith("/") else path.parent
    target = (start / address.lstrip("/")).resolve() if address else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "there is no such file"
    if anchor and target in pages and unquote(anchor) not in pages[target].anchors:
        return "there is no such place in that page"
    return ""


def _named(path: Path) -> list[str]:
    """The addresses that are whole strings of a script. The search index is text, not a script."""
    if path.name == "search_index.js":
        return []
    return IN_SCRIPT.findall(path.read_text("utf-8"))


def _never(url: str, classes: set[str]) -> bool:
    """Whether the theme loads this address only for elements that no page has."""
    return any(url.startswith(known) and needs not in classes for known, needs in THEME.items())
