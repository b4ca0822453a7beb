"""A browser and a service for all tests of a module: the real application on a socket, with the engine that needs no weights."""

from collections.abc import Callable, Iterator

import pytest
from live_service import LiveService, live_service
from playwright.sync_api import Browser
from studio_page import DESKTOP, Studio, chromium

Visit = Callable[..., Studio]
SLOW = "fake?step_s=0.25"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One per module: its event loop must not meet those of other tests."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with live_service(tmp_path_factory.mktemp("service"), f"fake,{SLOW}") as running:
        yield running


@pytest.fixture
def visit(browser: Browser, live: LiveService) -> Iterator[Visit]:
    """Opens the studio as a new person: (viewport, further settings of the context). Errors of the page fail the test."""
    visits: list[Studio] = []

    def visiting(viewport: dict[str, int] = DESKTOP, **settings: object) -> Studio:
        context = browser.new_context(viewport=viewport, locale="en-GB", **settings)  # type: ignore[arg-type]
        visits.append(Studio(context.new_page(), live.url))
        return visits[-1]

    yield visiting
    for one in visits:
        one.page.context.close()
    assert [fault for one in visits for fault in one.faults] == []
