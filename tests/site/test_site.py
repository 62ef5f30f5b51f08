"""The hooks of the site in docs/hooks/: lessons without a script, docstrings as Markdown, nothing from elsewhere."""

import importlib
import json
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def hooks_are_found() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "hooks")
        yield


def hook(name: str) -> Any:
    return importlib.import_module(name)


def element(name: str, inside: str = "", **given: Any) -> str:
    """An element as marimo writes it: the arguments of its script are JSON in attributes."""
    data = "".join(f" data-{key.replace('_', '-')}='{escape(json.dumps(value))}'" for key, value in given.items())
    return f"<marimo-ui-element object-id='a-0'><marimo-{name}{data}>{inside}</marimo-{name}></marimo-ui-element>"


def label(text: str) -> str:
    return f'<span class="markdown prose contents"><span class="paragraph">{text}</span></span>'


SHOWN = {
    element("slider", label=label("x"), start=-2.0, stop=2.0, initial_value=1.5, steps=[]): ["x", "1.5", "−2 to 2"],
    element("slider", label=label("rate"), start=0, stop=2, initial_value=1, steps=[0.1, 1, 3]): ["rate", "0.1 to 3"],
    element("radio", label=label("break it:"), initial_value="none", options=["none", "a & b"]): ["or a &amp; b"],
    element("multiselect", initial_value=["a", "b"], options=["a", "b"]): ["a, b", "all chosen"],
    element("callout-output", kind="warn", html=label("<strong>No</strong>")): ['callout warning"', "<strong>No"],
    element("accordion", "<div>So.</div>", labels=['<ol start="5"><li>Why?</li></ol>']): ["5. Why?", "So."],
    element("file", label=label("A picture")): ["A picture", "a file of your own"],
    element("anywidget"): ["a sheet to draw on"],
    element("anything"): ["a part that moves"],
    "<div style='display: flex; flex-direction: row'><b>1</b></div>": ['<div class="beside"><b>1</b></div>'],
    "<pre class='text-xs'>a\n  &lt;b&gt;</pre>": ["a\n  &lt;b&gt;"],
}


@pytest.mark.parametrize("source", SHOWN)
def test_what_marimo_shows_by_script_is_shown_without(source: str) -> None:
    result = hook("plain").plain(source)
    assert "marimo-" not in result
    assert "style=" not in result
    assert [text for text in SHOWN[source] if text not in result] == []


def test_figures_have_alt_texts_and_wide_ones_scroll() -> None:
    bundle = {"image/png": "data:image/png;base64,AAAA", "__metadata__": {"image/png": {"width": 888, "height": 330}}}
    alt = hook("lessons").alternative('axes.set(xlabel="step", ylabel="loss")\naxes.set_title("two < three")')
    shown = hook("plain").show("application/vnd.marimo+mimebundle", json.dumps(bundle), alt)
    assert shown == (
        '<figure class="drawn wide" tabindex="0"><img src="data:image/png;base64,AAAA"'
        ' alt="Figure: loss over step (two &lt; three)" width="888" height="330"></figure>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([[6131, 28], "text/plain:torch.uint8"], "[[6131, 28], torch.uint8]"),
        (["text/plain+float:9.0", "a", None], "[9.0, 'a', None]"),
        ({"over all": []}, "over all: []"),
        ("text/markdown:<em>x</em> &amp; y", "x & y"),
    ],
)
def test_values_are_shown_nearly_as_python_shows_them(value: Any, text: str) -> None:
    assert hook("plain").as_python(value) == text


def test_a_lesson_begins_with_its_heading_and_hides_what_says_nothing() -> None:
    lessons = hook("lessons")
    cells = [
        lessons.Cell("import marimo as mo"),
        lessons.Cell("# 1 · Pixels\n\nNumbers.", markdown=True),
        lessons.Cell('mo.md(f"{1 + 1}")', outputs=[("text/markdown", "<b>2</b>")]),
        lessons.Cell("check = 1", hidden=True, outputs=[("text/plain", "<1>")]),
        lessons.Cell("print(1)", printed="1\n"),
        lessons.Cell("## More\n\nMore.", markdown=True),
    ]
    lesson = lessons.make_lesson("01_pixels", cells)
    assert lesson.title == "1 · Pixels"
    kept = [lesson.body.index(text) for text in ("# 1 · Pixels", "underhood lessons", "Numbers.", "import marimo")]
    assert kept == sorted(kept)
    assert "mo.md(" not in lesson.body
    assert "check" not in lesson.body
    page = lessons.put_in(lesson.body, lesson.outputs)
    assert page.index("<b>2</b>") < page.index("&lt;1&gt;") < page.index("```text\n1\n```")
    assert "data-output" not in page
    presented = lessons.put_in(lessons.cut(lesson.slides), lesson.outputs)
    assert [presented.count(text) for text in ("<section>", "</section>", "Numbers.", "import marimo")] == [2, 2, 1, 0]
    assert presented.index("Numbers.") < presented.index("<b>2</b>") < presented.index("</section>")
    assert presented.index("</section>") < presented.index("More.")
    assert lessons.to_pages("[2](?file=02_tensors.py)") == "[2](02_tensors.md)"
    with pytest.raises(lessons.LessonError, match="heading"):
        lessons.make_lesson("02", cells[:1])


def test_a_notebook_is_run_beside_nothing_and_fails_with_its_cell(tmp_path: Path) -> None:
    body = "\n\n\n".join(
        f"@app.cell\ndef _({needs}):\n{code}"
        for needs, code in (
            ("", "    import marimo as mo\n    return (mo,)"),
            ("mo", '    mo.md("# One")\n    return'),
            ("mo", "    move = mo.ui.slider(1, 9, value=3, label='move')\n    move\n    return (move,)"),
            ("move", "    9 // (move.value - DIVISOR)\n    return"),
        )
    )
    notebook = tmp_path / "01_one.py"
    lessons = hook("lessons")
    notebook.write_text(f"import marimo\n\napp = marimo.App()\n\n\n{body}\n".replace("DIVISOR", "0"))
    (lesson,) = lessons.read_lessons([notebook])
    assert "a slider from 1 to 9" in lesson.outputs[0]
    assert lesson.outputs[1:] == ['<pre class="printed">3</pre>']
    assert list(tmp_path.iterdir()) == [notebook]
    notebook.write_text(notebook.read_text().replace("- 0", "- 3"))
    with pytest.raises(lessons.LessonError, match=r"01_one.py: .*zero\n\n9 // \(move.value - 3\)"):
        lessons.read_lessons([notebook])


DOCSTRING = """A curve.

size, fit: the pixels to make of each picture; without them they
    are chosen
seed: of the split; limit: at most so many
Returns what was made.

>>> 1 + 1  # doctest: +SKIP
2

    D/cat/…   a class

├── a tree
"""
MARKDOWN = """A curve.

- `size`, `fit`: the pixels to make of each picture; without them they
  are chosen
- `seed`: of the split
- `limit`: at most so many

Returns what was made.

```pycon
>>> 1 + 1
2
```

```text
D/cat/…   a class
```

```text
├── a tree
```"""


def test_docstrings_become_lists_and_code() -> None:
    as_markdown = hook("docstrings").as_markdown
    assert as_markdown(DOCSTRING, ["size", "fit", "seed", "limit"]) == MARKDOWN
    assert as_markdown("note: this names nothing") == "note: this names nothing"


def test_the_reference_holds_every_public_name_and_module() -> None:
    import underhood

    pages = hook("reference").pages()
    for name in underhood.__all__:
        assert f"[`{name}`][{underhood._HOME[name]}.{name}]" in pages["index"][1]
    lines = [line for _, text in pages.values() for line in text.splitlines() if line[:3] == ":::"]
    made = {line.removeprefix("::: ") for line in lines}
    assert len(lines) == len(made)
    assert set(underhood._HOME.values()) <= made
    package = ROOT / "underhood"
    private = {package / "lessons", package / "cli"}  # notebooks, and the command line, which has its page
    for file in package.rglob("*.py"):
        if not private & set(file.parents) and file.parent != package:
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            assert name in made
    assert "## lr-find" in pages["commands"][1]


GOOD = '<link rel="stylesheet" href="a.css"><a href="https://example.org">x</a><h1 id="top"><a href="#top">y</a></h1>'


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("index.html", GOOD, ""),
        ("index.html", '<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ("index.html", '<img srcset="a.css 1x, //cdn.example/x.png 2x">', "loads //cdn.example/x.png"),
        ("index.html", '<link rel="preconnect" href="https://fonts.example">', "loads https://fonts.example"),
        ("index.html", '<p style="background: url(https://cdn.example/x)">', "loads https://cdn.example/x"),
        ("index.html", "<style>@import 'http://cdn.example/x.css'</style>", "loads http://cdn.example/x.css"),
        ("index.html", "<script>load('https://cdn.example/x.js')</script>", "loads https://cdn.example/x.js"),
        ("index.html", '<a href="gone.html">x</a>', "there is no such file"),
        ("index.html", '<a href="a.html#gone">x</a>', "there is no such place"),
        ("index.html", "<p>/home/somebody/x</p>", "holds /home/somebody"),
        ("b.css", "@import url(https://cdn.example/x.css);", "loads https://cdn.example/x.css"),
        ("b.css", 'a { src: url("//cdn.example/x.woff2") }', "loads //cdn.example/x.woff2"),
        ("b.js", 'import("https://cdn.example/x.js")', "may load https://cdn.example/x.js"),
        ("b.js", "// see https://example.org/x.js", ""),
        ("b.js", 'load("https://unpkg.com/mermaid@11/dist/mermaid.min.js")', ""),
    ],
)
def test_nothing_may_come_from_elsewhere_and_links_lead_somewhere(
    tmp_path: Path, file: str, text: str, says: str
) -> None:
    (tmp_path / "a.css").write_text("a { color: red }")
    (tmp_path / "a.html").write_text("<p id=here>")
    (tmp_path / file).write_text(text)
    found, _ = hook("offline").problems(tmp_path, ("/home/somebody",))
    assert len(found) == bool(says), found
    assert says in "".join(found)


def test_the_theme_may_name_what_it_would_load_only_for_what_no_page_has(tmp_path: Path) -> None:
    (tmp_path / "b.js").write_text('load("https://unpkg.com/mermaid@11/dist/mermaid.min.js")')
    (tmp_path / "index.html").write_text('<pre class="mermaid">graph</pre>')
    assert len(hook("offline").problems(tmp_path)[0]) == 1


def test_links_to_files_outside_docs_lead_to_pages_made_of_them() -> None:
    pages = hook("pages")
    code = "```\n[r](../../benchmarks/RESULTS.md)\n```"
    parts = pages._outside_code(f"[r](../../benchmarks/RESULTS.md#top) [d](../design.md) [m](../../Makefile)\n{code}")
    made = "".join(pages._relinked(part, Path("docs/how-to/x.md"), "how-to/x.md") for part in parts)
    links = "[r](../repository/benchmarks/RESULTS.md#top) [d](../design.md) [m](../repository/Makefile.md)"
    assert made == f"{links}\n{code}"
    assert sys.modules["lessons"].__file__ == str(ROOT / "docs" / "hooks" / "lessons.py")
