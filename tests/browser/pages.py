"""What tests do with any page."""

from playwright.sync_api import Page


def draw(page: Page, points: list[tuple[float, float]], steps: int = 8) -> None:
    """Draw a line through points, fractions of the sheet. steps: movements of the mouse from each to the next."""
    box = page.locator("#canvas").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()


def problems_of(page: Page, address: str) -> list[str]:
    """What the page's console says, its errors, and its requests to elsewhere, from now on."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: problems.append(request.url) if not request.url.startswith((address, "data:")) else None,
    )
    return problems
