"""The hooks that mkdocs calls while it builds the site: generated pages, links, and the final check.

mkdocs.yml names this file. It uses the other files of this folder.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import lessons  # the files beside this one, which mkdocs finds while it loads it
import offline
import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from underhood.lessons.course import ABOUT

ROOT = Path(__file__).parent.parent.parent
LINK = re.compile(r"(\]\()([^)\s]+)((?:\s+\"[^\"]*\")?\))")
WIDE = ("glossary.md",)  # pages with wide tables: the theme leaves out both side columns
log = get_plugin_logger("site")
outputs: dict[str, list[str]] = {}  # of each lesson's page


@event_priority(50)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages: lessons, reference, and the files outside docs/ that pages link to."""
    made = _lessons() | _reference() | _from_the_repository(files)
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    config.nav = _with(config.nav or [], made)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to files of the repository at the pages generated from them."""
    source = page.file.src_uri
    if source in WIDE:
        page.meta["hide"] = ["navigation", "toc"]
    if source.startswith(("lessons/", "slides/", "reference/")):
        return markdown
    place = Path(source).relative_to("repository") if source.startswith("repository/") else Path("docs") / source
    return "".join(_relinked(part, place, source) for part in _outside_code(markdown))


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Add the output of a lesson's cells."""
    whole = lessons.put_in(html, outputs.get(page.file.src_uri, []))
    return lessons.cut(whole) if page.file.src_uri.startswith("slides/") else whole


@event_priority(-200)  # after the search's index is written
def on_post_build(config: MkDocsConfig) -> None:
    """Fail if the site would load anything from elsewhere, or if a link is broken."""
    private = tuple(path for path in (str(ROOT), os.environ.get("UNDERHOOD_DATA")) if path)
    found, followed = offline.problems(Path(config.site_dir), private)
    if found:
        more = [f"and {len(found) - 20} more"] if len(found) > 20 else []
        raise PluginError("the site has errors:\n  " + "\n  ".join([*found[:20], *more]))
    log.info(f"{followed:,} links within the site checked; nothing is loaded from elsewhere")


# --- lessons


def _lessons() -> dict[str, str]:
    try:
        read = lessons.read_lessons(lessons.files())
    except lessons.LessonError as error:
        raise PluginError(str(error)) from None
    pages = {}
    for lesson in read:
        outputs[f"lessons/{lesson.name}.md"] = lesson.outputs
        pages[f"lessons/{lesson.name}.md"] = lesson.body
        outputs[f"slides/{lesson.name}.md"] = lesson.outputs
        pages[f"slides/{lesson.name}.md"] = lesson.slides
    rows = "\n".join(f"- [{lesson.title}]({lesson.name}.md): {ABOUT.get(lesson.name[:2], '')}" for lesson in read)
    without = any("MNIST is not on this machine" in shown for lesson in read for shown in lesson.outputs)
    pages["lessons/index.md"] = LESSONS.format(rows=rows, remark=WITHOUT_MNIST if without else "")
    return pages


LESSONS = """# The course

From the first pixel to a network that reads digits and recognises photographs, with every line of code in sight. You
need school mathematics and a little Python, and no other book. Each lesson is a [marimo](https://marimo.io) notebook in
plain Python. Its cells run again when a value that they use changes, for instance a number that you set with a slider.

```console
$ pip install '.[lessons]'
$ underhood lessons
```

opens the course with your own copies, which you can edit, and checks your exercises. The pages here are static: text,
code, output and figures, and each has slides to present.{remark}

{rows}
"""
WITHOUT_MNIST = (
    " They were built without MNIST, on the smaller digits that come with scikit-learn, so their numbers differ from"
    " the books'."
)


# --- reference


def _reference() -> dict[str, str]:
    return {f"reference/{name}.md": text for name, (_, text) in reference.pages().items()}


# --- files of the repository that pages link to


def _from_the_repository(files: Files) -> dict[str, str]:
    """A page for each file outside docs/ that a page links to, directly or through such a file."""
    waiting = [(Path("docs") / file.src_uri, file.content_string) for file in files.documentation_pages()]
    made: dict[str, str] = {}
    while waiting:
        place, text = waiting.pop()
        for part in _outside_code(text):
            for found in LINK.finditer(part):
                target = _target(found[2], place)
                if target and target.parts[0] != "docs" and _page_of(target) not in made:
                    words = (ROOT / target).read_text("utf-8")
                    made[_page_of(target)] = words if target.suffix == ".md" else _as_code(target, words)
                    waiting.append((target, words if target.suffix == ".md" else ""))
    return made


def _page_of(target: Path) -> str:
    return f"repository/{target.as_posix()}" + ("" if target.suffix == ".md" else ".md")


def _as_code(target: Path, text: str) -> str:
    language = {".py": "python", ".toml": "toml"}.get(target.suffix, "text")
    return f"# {target}\n\n{lessons.fenced(text.rstrip(), language)}\n"


def _target(link: str, place: Path) -> Path | None:
    """The file of the repository that a link in another file points at, or None."""
    address = link.split("#")[0]
    if not address or re.match(r"[a-z][a-z+.-]*:|/", address):
        return None
    target = Path(os.path.normpath(place.parent / address))
    return target if target.parts[0] != ".." and (ROOT / target).is_file() else None


def _relinked(text: str, place: Path, uri: str) -> str:
    def change(found: "re.Match[str]") -> str:
        target = _target(found[2], place)
        if target is None or (place.parts[0] == "docs" and target.parts[0] == "docs"):
            return found[0]
        to = target.relative_to("docs").as_posix() if target.parts[0] == "docs" else _page_of(target)
        anchor = "#" + found[2].split("#", 1)[1] if "#" in found[2] else ""
        return found[1] + posixpath.relpath(to, posixpath.dirname(uri) or ".") + anchor + found[3]

    return text if text.startswith("```") else LINK.sub(change, text)


def _outside_code(text: str) -> list[str]:
    """A page split into blocks of code and the text between them."""
    return re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)


# --- the table of contents


def _with(nav: list[Any], made: dict[str, str]) -> list[Any]:
    """mkdocs.yml's nav, with generated pages in place of entries such as ``lessons/*``."""
    result: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict):
            (title, inside), *_ = entry.items()
            result.append({title: _with(inside, made)} if isinstance(inside, list) else entry)
        elif isinstance(entry, str) and entry.endswith("/*"):
            folder = entry.removesuffix("*")
            inside = {uri: text for uri, text in made.items() if uri.startswith(folder)}
            result += [{_title(text): uri} for uri, text in inside.items() if not uri.endswith("/index.md")]
        else:
            result.append(entry)
    return result


def _title(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("# ").replace("`", "").strip()
