"""What people read is in the field's words (docs/glossary.md), and nothing installs a distribution of another name."""

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "underhood"

WORDS = {  # a regular expression, whole words in any case → what to write instead
    r"pictures?": "image",
    r"what is taken for what": "confusion matrix",
    r"ideals?(?! (digits?\b|3|7|\{\}))": "class mean",  # "the ideal digit", "the ideal 3": the chapter's words
    r"contributions?": "attributions",
    r"what each pixel adds": "attributions",
    r"strangers?": "out-of-distribution images",
    r"suspects?": "label issues",
    r"doubt(s|ed|ful|ing)?": "label issues",
    r"moved about": "data augmentation",
    r"(is|are|was|were) (not a|no) number": "NaN or infinite",
    r"(?<!standard\s)deviations?": "standard deviation, std",
    r"mend(s|ed|ing)?": "fix",
    r"told": "returned, given",
    r"hears?": "receives",
    r"leans?": "depends, tends",
    r"whoever": "the person, the caller",
    r"comes? to": "is",
    r"nobody": "no one, nothing",
}
CONTRACT = (  # names of files, columns and keys, which stay: in backticks, in quotes, or as these file names
    *("pictures.csv", "ideals.npy", "suspects.csv"),
    "layer, mean, deviation, zeros",  # the columns of layers.csv
    *(f"{quote}{name}{quote}" for quote in "\"'" for name in ("ideal", "contributions", "suspects", "deviation")),
)
CODE = re.compile(r"`+[^`\n]*(?:\n[^`\n]+)?`+")  # a code span, possibly over the end of a line
FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
READ = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TEMPLATES = [
    PACKAGE / "reporting" / "report.html",
    PACKAGE / "serving" / "page" / "index.html",
    PACKAGE / "explorer" / "page.html",
    PACKAGE / "live" / "page" / "live.html",
    PACKAGE / "live" / "page" / "replay.html",
]
CODE_FOLDERS = PACKAGE, ROOT / "docs" / "hooks", ROOT / "examples"
MODULES = [file for folder in CODE_FOLDERS for file in sorted(folder.rglob("*.py")) if file.parent.name != "lessons"]

Text = tuple[int, str]  # the line on which it begins, and the text


# --- what people read


def texts_of_python(source: str) -> Iterator[Text]:
    """Comments, docstrings, and strings of more than one word. One word is a key, a name or a flag."""
    tree = ast.parse(source)
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            text = node.value
        else:
            continue
        if len(text.split()) > 1:
            yield node.lineno, text
    comments: dict[int, str] = {}  # line → text, with the lines of comment that follow it
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, goes_on = token.start[0], token.line.lstrip().startswith("#")
            if not (goes_on and start in comments and line == start + comments[start].count("\n") + 1):
                start = line
            comments[start] = f"{comments[start]}\n{token.string[1:]}" if start in comments else token.string
    yield from comments.items()


def texts_of_markdown(source: str) -> Iterator[Text]:
    """Prose and console output; of blocks of code the comments, and of Python also the strings."""

    def line_of(place: int) -> int:
        return source.count("\n", 0, place) + 1

    position = 0
    for block in FENCE.finditer(source):
        yield line_of(position), source[position : block.start()]
        first, language, code = line_of(block.start(3)), block[2].lower(), block[3]
        if language in ("", "text", "console", "shell", "sh", "bash"):
            yield first, code
        elif language in ("python", "py"):
            indent = len(block[1])
            plain = "\n".join(line[indent:] for line in code.split("\n"))
            yield from ((first + line - 1, text) for line, text in texts_of_python(plain))
        elif language != "json":
            yield from (
                (first + number, line.partition("#")[2]) for number, line in enumerate(code.split("\n")) if "#" in line
            )
        position = block.end()
    yield line_of(position), source[position:]


class _Page(HTMLParser):
    """The text of a page, of the attributes that are read, and of its script's strings and comments."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[Text] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag if tag in ("style", "script") else self.inside
        for name, value in attrs:
            if name in ("alt", "title", "aria-label", "placeholder", "content", "label"):
                self.texts.append((self.getpos()[0], value or ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.texts.append((self.getpos()[0], data))
        for number, line in enumerate(data.split("\n") if self.inside == "script" else []):
            found = re.findall(r"\"[^\"]*\"|'[^']*'|`[^`]*`|//.*", line)
            self.texts += [(self.getpos()[0] + number, text.strip("`")) for text in found if len(text.split()) > 1]


def texts_of_html(source: str) -> list[Text]:
    """What a page shows; a template's expressions are left out."""
    page = _Page()
    page.feed(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", source))
    page.close()
    return page.texts


def helps() -> Iterator[tuple[str, str]]:
    """The help of each command."""
    from typer.main import get_command

    from underhood.cli.commands import app

    root = get_command(app)
    context = root.make_context("underhood", [], resilient_parsing=True)
    yield "underhood --help", root.get_help(context)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield f"underhood {name} --help", command.get_help(inner)


# --- the words


def wrong_words(texts: Iterable[Text]) -> Iterator[tuple[int, str, str]]:
    """(line, the words found, what to write instead) for each of WORDS outside code and contract names."""

    def hidden(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "·", found[0])  # keeps the lines

    for first, text in texts:
        text = CODE.sub(hidden, text)
        text = re.sub(r"(?<=\])\([^)\s]*\)", hidden, text)  # where a Markdown link leads
        text = re.sub("|".join(map(re.escape, CONTRACT)), hidden, text)
        text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
        for pattern, instead in WORDS.items():
            spaced = pattern.replace(" ", r"\s")
            for found in re.finditer(rf"(?<![\w./-])(?:{spaced})(?![\w/])", text, re.IGNORECASE):
                yield first + text.count("\n", 0, found.start()), found[0], instead


def complaints(name: str, texts: Iterable[Text]) -> list[str]:
    return [f"{name}:{line}: {word!r}, not {instead!r}"[:200] for line, word, instead in sorted(wrong_words(texts))]


def test_the_package_speaks_the_fields_words() -> None:
    found = [
        line for file in MODULES for line in complaints(str(file.relative_to(ROOT)), texts_of_python(file.read_text()))
    ]
    assert len(MODULES) > 50
    assert found == [], "\n".join(found)


def test_the_documents_speak_the_fields_words() -> None:
    found = [
        line for file in READ for line in complaints(str(file.relative_to(ROOT)), texts_of_markdown(file.read_text()))
    ]
    assert len(READ) > 12
    assert found == [], "\n".join(found)


def test_the_pages_speak_the_fields_words() -> None:
    found = [
        line for file in TEMPLATES for line in complaints(str(file.relative_to(ROOT)), texts_of_html(file.read_text()))
    ]
    assert found == [], "\n".join(found)


def test_every_help_speaks_the_fields_words() -> None:
    every = dict(helps())
    assert len(every) > 12
    found = [line for name, text in every.items() for line in complaints(name, [(1, text)])]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("python", '"""Some pictures."""\nx = "picture"  # Nobody hears it\n', ["pictures", "Nobody", "hears"]),
        ("python", 'raise E(f"{x}: mend the\\n" f"picture {y}")\n', ["mend", "picture"]),
        ("python", 'x["ideal"]  # the key "ideal" of pictures.csv, in ``contributions``\n', []),
        ("python", '"""The ideal digits, and the standard deviation."""\n', []),
        ("markdown", "A [picture](pictures.md) `picture`.\n\n```text\nan ideal, a deviation\n```\n",
         ["picture", "ideal", "deviation"]),
        ("markdown", '```json\n{"suspects": "a picture is"}\n```\n```python\nideals = 1  # told\n```\n', ["told"]),
        ("html", '<p title="a picture">{{ ideals }} ideal</p><style>.picture {}</style>', ["picture", "ideal"]),
        ("html", '<script>const ideal = "a picture of it"; // leans\n</script>', ["picture", "leans"]),
    ],
)  # fmt: skip
def test_the_search_finds_words_and_leaves_code_alone(kind: str, source: str, words: list[str]) -> None:
    texts = {"python": texts_of_python, "markdown": texts_of_markdown, "html": texts_of_html}[kind](source)
    assert sorted(word for _, word, _ in wrong_words(texts)) == sorted(words)


# --- the distribution


def installed(text: str) -> Iterator[tuple[int, str]]:
    """(line, requirement) of everything that a text tells pip to install, in a shell or in a list of arguments."""
    text = text.replace("\\\n", "  ")
    for number, line in enumerate(text.split("\n"), start=1):
        for command in re.finditer(r"\bpipx?[\s\"',]+install\b([^`;|&#\n]*)", line):
            yield from ((number, word.strip("\"'(),.")) for word in command[1].split())


def is_other_distribution(requirement: str) -> bool:
    """Whether this names the distribution ``underhood``, which is not ours, with or without extras and version."""
    return bool(re.match(r"underhood(?![\w-])(?![./\\])", requirement))


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pip install {}", True),
        ("pip install -U '{}[onnx]'", True),
        ("python -m pip install --quiet --no-deps {}>=0.2  # to serve", True),
        ("`pip install {}`, then `{} train`", True),
        ('run(["pip", "install", "--no-deps", "{}"])', True),
        ("pip install \\\n  --upgrade {}", True),
        ("pip install numpy && pip install {}==1", True),
        ("pip install -U {}-vision", False),
        ("pip install '{}-vision[onnx]'", False),
        ("`pip install .`, then `{} train`", False),
        ("pip install --editable '.[test]'  # then {} is there", False),
        ("pip install dist/{}_vision-0.2-py3-none-any.whl", False),
    ],
)
def test_installing_the_other_distribution_is_found(line: str, wrong: bool) -> None:
    found = [one for _, one in installed(line.replace("{}", "underhood")) if is_other_distribution(one)]
    assert bool(found) == wrong


def tracked() -> list[Path]:
    """The repository's text files: those that git knows, or would."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository: nothing says which files belong to it")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    suffixes = (".py", ".md", ".toml", ".yml", ".yaml", ".html", ".txt", ".cfg", ".sh")
    files = [ROOT / name for name in sorted(set(names)) if name]
    return [file for file in files if file.is_file()
            and (file.suffix in suffixes or file.name == "Makefile" or ".ci" in file.parent.parts)]  # fmt: skip


def test_nothing_installs_the_other_distribution() -> None:
    files = tracked()
    assert len(files) > 100
    found = [f"{file.relative_to(ROOT)}:{line}: {one}" for file in files if file != Path(__file__)
             for line, one in installed(file.read_text("utf-8")) if is_other_distribution(one)]  # fmt: skip
    for file in files:
        if file.name.startswith("requirements") or file.name == "constraints.txt":
            lines = file.read_text("utf-8").splitlines()
            found += [f"{file.relative_to(ROOT)}: {line}" for line in lines if is_other_distribution(line.strip())]
    assert found == []


def test_the_distribution_is_ours_and_so_are_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "underhood-vision"
    assert project["scripts"] == {"underhood": "underhood.cli:main"}
    every = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert [one for one in every if is_other_distribution(one)] == []
