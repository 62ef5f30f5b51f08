"""The course's own page: the path through the lessons, what each is about, and what the reader has solved so far.

The lessons themselves are opened by marimo, on an address of its own.
"""

import ast
import hmac
import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.lessons import PROGRESS, files
from underhood.runs import atomic_write

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

COOKIE = "underhood-course"
ABOUT = {  # lesson → what it is about
    "01": "What a computer has when it has an image: a table of numbers, in a folder whose name is the answer.",
    "02": "Whole images in one line of code: shape, rank, axis, and why a vector operation beats a loop.",
    "03": "The first program that reads digits: is it nearer to the average 3 or 7? Right 95 times in 100.",
    "04": "Weights, numbers that can be turned: model, parameter and loss, and the seven steps of learning.",
    "05": "Which way to turn a weight: the derivative, and how PyTorch finds it.",
    "06": "The seven steps with three weights, number by number, until a curve fits a roller coaster.",
    "07": "A loss for digits, and why accuracy cannot be one.",
    "08": "Mini-batches and the loop that trains every network. Watch 784 weights become a picture.",
    "09": "Seven ways to break a training without an error message, and what each looks like.",
    "10": "Symptoms, suspicions and experiments: five numbers that tell seven faults apart, and what is only chance.",
    "11": "Optimizer and Learner taken apart, and built again in sixty lines of your own.",
    "12": "Why two layers are one, and what a bend between them changes.",
    "13": "A window that slides over the digit, shortcuts through many layers, and what each buys on all of MNIST.",
    "14": "When a network learns its training images by heart, how to see it, and what helps.",
    "15": "How the gradient is found: the chain rule on six numbers, then on two matrices, by hand.",
    "16": "The same gradient, turned against the image: a change that nobody sees and the network believes.",
    "17": "All ten digits, a digit of your own, photographs, and what a network says of a shirt.",
    "18": "Thirty-seven questions. The answers are hidden until you ask for them.",
    "19": "Every word of the course, with the lesson that explains it.",
}


class Lesson(NamedTuple):
    """A line of the page."""

    name: str  # of the file
    title: str
    about: str
    time: str  # that it takes, in words; empty where nothing is said
    exercises: int
    solved: int


def lessons(folder: Path) -> list[Lesson]:
    """The lessons in order, with what the reader whose copies are in ``folder`` has solved."""
    try:
        solved = json.loads((folder / PROGRESS).read_text("utf-8"))
    except (OSError, ValueError):  # none yet, or damaged by an editor: the lessons still open
        solved = {}
    found = []
    for file in files():
        text, number = file.read_text("utf-8"), file.name[:2]
        names = re.findall(r"exercise\(\s*\"([\d.]+)\"", text)
        title = re.search(r"app_title=(\".*?\")", text)
        time = re.search(r"\bIt\s+takes\s+(about\s[^.*]*?(?:hours?|minutes))\b", text)
        found.append(
            Lesson(
                file.name,
                ast.literal_eval(title[1]) if title else file.stem,
                ABOUT.get(number, ""),
                re.sub(r"\s+", " ", time[1]) if time else "",
                len(names),
                sum(name in solved for name in names),
            )
        )
    return found


def page(folder: Path, notebooks: str, token: str) -> str:
    """The page as HTML. notebooks: marimo's address; token: of its server"""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("underhood.lessons", "."), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    path = lessons(folder)
    following = next((one.name for one in path if one.solved < one.exercises), path[-1].name)
    return environment.get_template("course.html").render(
        lessons=path, folder=folder, notebooks=notebooks, token=token, following=following,
        solved=sum(one.solved for one in path), exercises=sum(one.exercises for one in path),
    )  # fmt: skip


def reset(folder: Path, name: str) -> Path:
    """Put a lesson back as it was, and forget which of its exercises are solved. Returns where the reader's copy went.

    Raises UnknownNameError for a lesson that there is not, UnderhoodError where the folder cannot be written.
    """
    original = next((file for file in files() if file.name == name), None)
    if original is None:
        raise UnknownNameError("lesson", name, [file.name for file in files()])
    mine, kept = folder / name, folder / "before-reset" / name
    try:
        if mine.exists():
            kept.parent.mkdir(exist_ok=True)
            mine.replace(kept)
        atomic_write(mine, original.read_bytes())
        progress = folder / PROGRESS
        if progress.exists():
            solved = json.loads(progress.read_text("utf-8"))
            left = {key: day for key, day in solved.items() if key.split(".")[0] != str(int(name[:2]))}
            atomic_write(progress, json.dumps(left, indent=2).encode())
    except OSError as error:
        raise UnderhoodError(f"cannot write to {folder} ({error.strerror})") from None
    except ValueError:
        raise UnderhoodError(f"{folder / PROGRESS} is damaged: remove it and try again") from None
    return kept


def slides(notebook: str) -> str:
    """How marimo presents a notebook: a slide for each cell, with its code where that is not folded. JSON."""
    cells = []
    for node in ast.parse(notebook).body:
        if isinstance(node, ast.With):  # the imports
            cells.append({"type": "skip"})
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            cells.append({"type": "slide", "showCode": "hide_code=True" not in ast.unparse(node.decorator_list[0])})
    return json.dumps({"type": "slides", "data": {"cells": cells, "deck": {"transition": "none"}}})


def make_app(folder: Path, notebooks: str, token: str) -> "Starlette":
    """The page's server. It answers to a browser that once had the token, under its own address only.

    notebooks: marimo's address; token: of both servers; a person who has it can run code here
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
    from starlette.routing import Route

    def known(request: "Request") -> bool:
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), token.encode())

    def front(request: "Request") -> "Response":
        given = request.query_params.get("access_token")
        if given is not None and hmac.compare_digest(given.encode(), token.encode()):
            response: Response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        if not known(request):
            return PlainTextResponse("Open the address that `underhood lessons` printed.", 403)
        return HTMLResponse(page(folder, notebooks, token), headers={"Cache-Control": "no-store"})

    def put_back(request: "Request") -> "Response":
        if not known(request):
            return PlainTextResponse("Open the address that `underhood lessons` printed.", 403)
        name = request.path_params["name"]
        try:
            reset(folder, name)
        except UnderhoodError as error:
            return PlainTextResponse(str(error), 404 if isinstance(error, UnknownNameError) else 500)
        close_notebook(notebooks, token, name)
        return RedirectResponse("/", 303)

    routes = [Route("/", front), Route("/reset/{name}", put_back, methods=["POST"])]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[hosts])


def close_notebook(notebooks: str, token: str, name: str) -> None:
    """End marimo's session of a lesson, which would go on with the code that was there before."""

    def ask(what: str, body: dict[str, str]) -> dict[str, list[dict[str, str]]]:
        address = f"{notebooks}/api/home/{what}?access_token={token}"
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as response:
            found: dict[str, list[dict[str, str]]] = json.load(response)
            return found

    try:
        for notebook in ask("running_notebooks", {})["files"]:
            if Path(notebook["path"]).name == name and notebook.get("sessionId"):
                ask("shutdown_session", {"sessionId": notebook["sessionId"]})
    except OSError:
        return  # marimo is not there any more: nothing is open
