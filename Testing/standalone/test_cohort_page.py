"""The page over all cases, in a real browser without a connection: what it shows, and that names do nothing in it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import SimpleITK as sitk

from LiverGTANLib.standalone.cohort import PAGE
from LiverGTANLib.standalone.cohort.page import write_page
from LiverGTANLib.standalone.cohort.records import read_records
from LiverGTANLib.standalone.cohort.table import rows_of
from support.cohort_cases import bandStudent, segment, write_ct

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (group test)")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)
HOSTILE = "<img src=x onerror=document.title='hit'>&\"' \u202e #1"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; the tests are skipped where this machine has none."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its chromedriver on the path (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def folder(bandStudent, tmp_path_factory) -> Path:
    """What a run made of CTs of which one is much larger, one has no liver, one is bad and one has a hostile name."""
    top = tmp_path_factory.mktemp("page")
    names = ["a", "b 50%?", "c", "d", "large", "empty"] + ([HOSTILE.replace("/", "")] if os.name != "nt" else ["e"])
    for index, name in enumerate(names):
        write_ct(top / "in" / f"{name}.nii.gz", {"large": 1.7}.get(name, 1 + index / 100), name != "empty")
    (top / "in" / "bad.nii.gz").write_bytes(b"no image")
    assert segment(bandStudent, top / "in", "-o", top / "out") == 2
    return top / "out"


@pytest.fixture
def page(browser, folder):
    browser.get((folder / PAGE).as_uri())
    return browser


def column(page, number: int) -> list[str]:
    script = "return [...document.querySelector('tbody').rows].map(row => row.cells[arguments[0]].innerText.trim())"
    return [text.split("\n")[0] for text in page.execute_script(script, number)]


def test_errors_come_first_and_then_what_stands_out(page, folder):
    names = column(page, 1)
    assert names[:3] == ["bad", "empty", "large"] and len(names) == 8
    assert "outlier" in column(page, 4)[2] and not any("outlier" in text for text in column(page, 4)[3:])
    assert "cannot be read" in column(page, 5)[0] and "No liver is in view" in column(page, 5)[1]
    summary = page.find_element("id", "summary").text
    assert "8 cases; 1 with an error; 1 without a liver; 1 called an outlier" in summary


def test_every_picture_is_there_and_shows_an_outline(page, folder):
    widths = page.execute_script(
        "return Promise.all([...document.images].map(i => { i.loading = 'eager';"
        " return i.decode().then(() => i.naturalWidth) }))"
    )
    assert len(widths) == 7 and min(widths) > 50
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "thumbnails" / "a.seg.nrrd.png"))).astype(int)
    assert (pixels[..., 0] - pixels[..., 2] > 40).sum() > 50, "the outline has the color of the liver"


def test_volumes_are_sorted_by_a_click_as_numbers_up_and_down(page):
    for direction, reverse in (("ascending", False), ("descending", True)):
        page.find_element("xpath", "//button[starts-with(., 'Volume')]").click()
        volumes = column(page, 2)
        assert volumes[-1] == "", "what has no volume stays last"
        numbers = [float(volume) for volume in volumes[:-1]]
        assert numbers == sorted(numbers, reverse=reverse) and len(set(numbers)) > 4
        assert page.find_element("css selector", f"th[aria-sort={direction}]").text.startswith("Volume")
    page.find_element("xpath", "//button[starts-with(., 'Range')]").click()
    ends = column(page, 3)
    assert ends[-2:] == ["", ""], "an error and a CT without a liver have none"
    lows = [float(text.split(" to ")[0]) for text in ends[:-2]]
    assert lows == sorted(lows) and len(lows) == 6
    page.find_element("xpath", "//button[.='Case']").click()
    assert column(page, 1)[1:4] == ["a", "b 50%?", "bad"]


def test_a_name_is_text_and_nothing_is_fetched(page, folder):
    assert any(text.startswith("<img src=x") for text in column(page, 1)) or os.name == "nt"
    assert page.title == "Liver volumes"
    asked = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith("file:") for name in asked)
    assert not [line for line in page.get_log("browser") if line["level"] == "SEVERE"]
    text = (folder / PAGE).read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text
    blocked = page.execute_async_script(
        "const done = arguments[0]; document.addEventListener('securitypolicyviolation', e => done(e.blockedURI));"
        "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)"
    )
    assert blocked.startswith("http://127.0.0.1:9"), "the page's own policy lets nothing through"


def test_links_lead_to_the_masks(page, folder):
    links = [link.get_attribute("href") for link in page.find_elements("css selector", "tbody a")]
    assert len(links) == 7 and all(Path(unquote(urlparse(link).path)).is_file() for link in links)


def test_thousands_of_cases_open_and_sort(browser, tmp_path, folder):
    record, count = read_records(folder)["a.seg.nrrd"], 2000
    many = [
        replace(
            record, id=f"case {n}", output=f"{n}.seg.nrrd", report=record.report | {"volume_ml": 900 + 7919 * n % 1000}
        )
        for n in range(count)
    ]
    write_page(tmp_path, rows_of(many, tmp_path))
    browser.get((tmp_path / PAGE).as_uri())
    browser.find_element("xpath", "//button[.='Case']").click()
    shown = browser.execute_script(
        "return [...document.querySelectorAll('tbody bdi:not(.path)')].map(e => e.innerHTML)"
    )
    assert shown == [f"case {n}" for n in range(count)]
