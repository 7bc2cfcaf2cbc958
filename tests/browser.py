"""Pages in a real browser, Debian's Chromium driven by Playwright: no page may complain or reach for the network."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

_LOCAL = ("file:", "data:", "blob:", "about:")
_ARGUMENTS = ("--no-sandbox", "--enable-unsafe-swiftshader", "--force-color-profile=srgb")
PHONE = {"width": 390, "height": 780}
LAPTOP = {"width": 1280, "height": 800}
SMALL = {"width": 1000, "height": 600}  # WebGL without graphics hardware takes its time per pixel


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a headless Chromium; skip where there is none, but fail where the environment variable CI is set."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None
    if path is None or sync_playwright is None:
        missing = "playwright is not installed" if sync_playwright is None else "Chromium is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and this is CI")
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def quiet_page(browser: Any, path: Path, *, viewport: dict[str, int] = LAPTOP, **options: Any) -> Iterator[Any]:
    """Yield a page that shows the file at `path`; fail if it logged an error or asked for anything not its own."""
    complaints: list[str] = []

    def judge(route: Any) -> None:
        if route.request.url.startswith(_LOCAL):
            route.continue_()
        else:
            complaints.append(f"request for {route.request.url}")
            route.abort()

    context = browser.new_context(viewport=viewport, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.route("**/*", judge)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.goto(path.resolve().as_uri())
    yield page
    context.close()
    assert complaints == []


def pixels_of(locator: Any) -> np.ndarray:
    """Return what an element looks like, axes (row, column, rgb)."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB")).astype(int)


def open_viewer(page: Any, case_id: str) -> None:
    """Show a case in the viewer of a report."""
    page.locator("#viewer-case").select_option(label=case_id)
    if page.locator("#viewer-open").is_visible():
        page.locator("#viewer-open").click()
    page.locator("#viewer-body[data-shown]").wait_for()


def organs_in_3d(page: Any) -> np.ndarray:
    """Return the pixels of the 3D view without the cube that tells the sides."""
    page.locator('input[value="3d"]').check(force=True)
    pixels = pixels_of(page.locator("#viewer-canvas"))
    pixels[-100:, :100] = 0
    return pixels


def num_of_color(pixels: np.ndarray, color: tuple[int, int, int], *, tolerance: int = 12) -> int:
    """Return how many pixels have a colour."""
    return int((np.abs(pixels - color).max(axis=-1) <= tolerance).sum())


def contrast_of(locator: Any) -> float:
    """Return the WCAG contrast ratio of an element's text and the first ancestor's ground that is not transparent."""
    text, ground = locator.evaluate(
        """element => {
            const solid = (color) => color && !/, 0\\)$/.test(color) && color !== "transparent";
            let ground = "rgb(255, 255, 255)";
            if (matchMedia("(prefers-color-scheme: dark)").matches) ground = "rgb(18, 18, 18)"; // the canvas itself
            for (let at = element; at; at = at.parentElement) {
                const color = getComputedStyle(at).backgroundColor;
                if (solid(color)) { ground = color; break; }
            }
            return [getComputedStyle(element).color, ground];
        }"""
    )
    lighter, darker = sorted((_luminance(text), _luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    numbers = np.array([float(part) for part in color[color.index("(") + 1 : -1].replace(",", " ").split()[:3]]) / 255
    linear = np.where(numbers <= 0.03928, numbers / 12.92, ((numbers + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
