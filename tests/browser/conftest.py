import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, sync_playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    place = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            foreign = "--host-resolver-rules=MAP *.example 127.0.0.1"  # names of other people that point here
            chromium = playwright.chromium.launch(executable_path=place, args=["--no-sandbox", foreign])
        except Error as error:
            pytest.fail(
                f"no browser ({str(error).splitlines()[0]}): apt-get install chromium, or playwright install chromium"
            )
        yield chromium
        chromium.close()
