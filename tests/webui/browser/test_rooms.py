"""The tabs beside the drawing ones."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from PIL import Image, PngImagePlugin
from playwright.sync_api import expect

from tests.webui.browser.conftest import Open
from tests.webui.browser.serving import Server
from tests.webui.browser.steps import draw, go_to, prompt_of


def test_a_picture_of_another_tool_is_read_as_text(open_page: Open, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(
        "parameters",
        "<img src=x onerror=alert(1)> a harbour\nNegative prompt: fog\n"
        "Steps: 33, Sampler: Euler a, "
        "Schedule type: Karras, CFG scale: 6, Seed: 12345678901234567890, Size: 512x640, "
        "Model: dream, Face restoration: GFPGAN",
    )
    picture = tmp_path / "harbour.png"
    Image.new("RGB", (64, 64), "teal").save(picture, pnginfo=info)
    page = open_page()
    page.on("dialog", lambda dialog: (_ for _ in ()).throw(AssertionError(dialog.message)))
    room = go_to(page, "picture_info")
    room.locator("input[type=file]").set_input_files(picture)
    expect(room.locator(".found-recipe h2")).to_have_text("Drawn with AUTOMATIC1111")
    expect(room.locator(".block.found-recipe")).to_contain_text(
        "<img src=x onerror=alert(1)> a harbour"
    )
    expect(room.locator(".found-recipe li")).to_contain_text(["GPU", "GFPGAN", "dream"])
    assert room.locator(".found-recipe img").count() == 0
    room.get_by_role("button", name="Use it").click()
    form = page.locator("#tab-text_to_image")
    expect(prompt_of(form)).to_have_value("<img src=x onerror=alert(1)> a harbour")
    expect(form.locator(".field-seed textarea, .field-seed input")).to_have_value(
        "12345678901234567890"  # above what a browser's numbers can hold
    )
    expect(form.locator(".field-steps input[type=number]")).to_have_value("33")
    expect(form.locator(".field-height input")).to_have_value("640")


def test_a_picture_without_recipe_is_refused_in_words(open_page: Open, tmp_path: Path) -> None:
    text = tmp_path / "page.png"
    text.write_text("<svg onload=alert(1)>")
    page = open_page()
    room = go_to(page, "picture_info")
    room.locator("input[type=file]").set_input_files(text)
    expect(room.get_by_role("alert")).to_contain_text("page.png is no picture")
    expect(room.get_by_role("alert")).not_to_contain_text("/tmp")


def test_prompt_file(open_page: Open, server: Server, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text("a cat\n--prompt dog --steps 0 --sampler_name Eulr\n")
    good.write_text("a cat\n# no prompt\n--prompt a dog --steps 4 --seed 5\na pond\n")
    page = open_page()
    room = go_to(page, "prompt_file")
    room.locator("input[type=file]").set_input_files(bad)
    expect(room.get_by_role("alert")).to_contain_text("2 problems")
    expect(room.locator(".checked tbody tr").first).to_contain_text("2")
    expect(room.locator(".checked tbody")).to_contain_text("Euler")
    expect(room.locator("button.go")).to_be_disabled()
    room.get_by_role("button", name=re.compile("clear|remove", re.IGNORECASE)).first.click()
    room.locator("input[type=file]").set_input_files(good)
    expect(room.locator(".fine")).to_contain_text("3 rows, 3 pictures")
    server.gate.shut()
    room.locator("button.go").click()
    expect(room.locator(".flock .status")).to_contain_text("0 of 3 rows drawn")
    page.reload()
    room = go_to(page, "prompt_file")
    expect(room.locator(".flock .status")).to_contain_text("0 of 3 rows drawn")
    server.gate.open()
    expect(room.locator(".flock .status")).to_contain_text("3 of 3 rows drawn")
    room.locator("button.pack").click()
    with page.expect_download() as download:
        room.locator(".zip a").first.click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        names = bundle.namelist()
    assert len(names) == 3
    assert [name[:5] for name in names] == ["00001", "00002", "00003"]
    assert "a-dog" in names[1]


def test_grid(open_page: Open, server: Server) -> None:
    page = open_page()
    room = go_to(page, "grid")
    prompt_of(room).fill("a kite")
    room.locator("button.go").click()
    expect(room.get_by_role("alert")).to_contain_text("choose at least one axis")
    for place, axis, field, values in (
        ("Columns (X)", "x", "Steps", "2..3"),
        ("Rows (Y)", "y", "Guidance", "1, 7"),
    ):
        room.get_by_role("combobox", name=place).click()
        page.get_by_role("option", name=field, exact=True).click()
        expect(page.get_by_role("option")).to_have_count(0)
        room.locator(f".axis-{axis} input").fill(values)
    room.locator("button.go").click()
    expect(room.locator(".flock .status")).to_contain_text("4 of 4 pictures drawn")
    expect(room.locator(".results img").first).to_be_visible()
    jobs = server.service.jobs(limit=4)[::-1]
    drawn = [(job.request.steps, job.request.guidance_scale) for job in jobs]
    assert drawn == [(2, 1.0), (3, 1.0), (2, 7.0), (3, 7.0)], "row by row"
    assert len({job.request.seed for job in jobs}) == 1


def test_history(open_page: Open, server: Server) -> None:
    page = open_page()
    for prompt in ("a zebra at dawn", "a zebra at dusk"):
        room = draw(page, prompt)
        expect(room.locator(".status")).to_contain_text("Done in")
        room.get_by_role("button", name="Recipe of the picture")
    room = go_to(page, "history")
    room.locator(".search input, .search textarea").fill("zebra at")
    expect(room.locator(".count")).to_have_text("2 jobs")
    room.locator(".thumbs button").first.click()
    expect(room.locator(".recipe textarea")).to_have_value(re.compile("^a zebra at dusk"))
    room.get_by_role("button", name="Favourite", exact=True).click()
    expect(room.get_by_role("button", name="No favourite")).to_be_visible()
    room.get_by_label("Favourites only").check()
    expect(room.locator(".count")).to_have_text("1 jobs")

    server.stop()
    server.start()  # the same address, another process's worth of memory
    page.reload()
    room = go_to(page, "history")
    room.locator(".search input, .search textarea").fill("zebra at")
    expect(room.locator(".count")).to_have_text("2 jobs")
    room.locator(".thumbs button").last.click()
    room.locator("button.delete").click()
    expect(room.get_by_text("This cannot be undone")).to_be_visible()
    room.get_by_role("button", name="Keep it").click()
    expect(room.get_by_text("This cannot be undone")).to_be_hidden()
    room.locator("button.delete").click()
    room.get_by_role("button", name="Delete for good").click()
    expect(room.locator(".count")).to_have_text("1 jobs")
    assert [job.request.prompt for job in server.service.jobs(text="zebra")] == ["a zebra at dusk"]
    room.locator(".thumbs button").first.click()
    room.get_by_role("button", name="Use it").click()
    expect(prompt_of(page.locator("#tab-text_to_image"))).to_have_value("a zebra at dusk")


def test_models(open_page: Open) -> None:
    page = open_page()
    room = go_to(page, "models")
    expect(room.get_by_role("row").filter(has_text="mini").first).to_contain_text("Apache-2.0")
