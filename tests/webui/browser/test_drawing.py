"""Drawing in the page: the preview, leaving and coming back, stopping, going on with a picture."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.webui.browser.conftest import Open
from tests.webui.browser.serving import Server
from tests.webui.browser.steps import draw, go_to, prompt_of


def test_a_picture_forms_before_the_eyes(open_page: Open, server: Server) -> None:
    page = open_page()
    room = page.locator("#tab-text_to_image")
    server.gate.shut()
    prompt_of(room).fill("a barn at noon")
    expect(room.locator(".block.tokens")).to_have_text(re.compile(r"\d of \d+ tokens"))
    prompt_of(room).press("Control+Enter")
    for step in (1, 2, 3):
        server.gate.let(1)
        expect(room.locator(".status")).to_contain_text(f"Step {step} of 10")
    expect(room.locator("img.forming")).to_be_visible()
    expect(room.locator(".status")).to_contain_text("left")
    server.gate.open()
    expect(room.locator(".results img").first).to_be_visible()
    expect(room.locator(".status")).to_contain_text("Done in")
    expect(room.locator("img.forming")).to_have_count(0)
    room.get_by_role("button", name="Recipe of the picture").click()
    expect(room.locator(".recipe textarea")).to_have_value(re.compile("^a barn at noon\nSteps: 10"))
    room.locator("button.reuse").click()
    expect(room.locator(".field-seed textarea, .field-seed input")).to_have_value(re.compile(r"\d"))
    with page.expect_download() as download:
        room.locator(".results").get_by_role("button", name="Download").click()
    job = server.service.jobs(limit=1)[0]
    assert download.value.path().read_bytes() == job.pictures[0].read_bytes(), "recipe and all"


def test_a_job_is_found_again(open_page: Open, server: Server) -> None:
    page = open_page()
    server.gate.shut()
    draw(page, "a job to come back to")
    server.gate.let(3)
    expect(page.locator("#tab-text_to_image .status")).to_contain_text("Step 3 of 10")
    expect(page).to_have_url(re.compile("job="))
    address = page.url
    page.reload()
    room = page.locator("#tab-text_to_image")
    expect(room.locator(".status")).to_contain_text("Step 3 of 10")
    expect(prompt_of(room)).to_have_value("a job to come back to")
    page.close()
    unknowing = open_page().locator("#tab-text_to_image")  # opened without the job's address
    expect(unknowing.locator(".status")).to_contain_text("Step 3 of 10")
    server.gate.open()
    expect(unknowing.locator(".results img").first).to_be_visible()
    again = open_page(address).locator("#tab-text_to_image")
    expect(again.locator(".results img").first).to_be_visible()


def test_two_tabs_do_not_mix(open_page: Open, server: Server) -> None:
    first, second = open_page(), open_page()
    server.gate.shut()
    one = draw(first, "the first window")
    expect(one.locator(".status")).to_contain_text("Loading")
    two = draw(second, "the second window")
    expect(two.locator(".status")).to_contain_text("place 1")
    server.gate.open()
    for room, words in ((one, "the first window"), (two, "the second window")):
        room.get_by_role("button", name="Recipe of the picture").click()
        expect(room.locator(".recipe textarea")).to_have_value(re.compile(f"^{words}\n"))


def test_interrupt_and_skip(open_page: Open, server: Server) -> None:
    page = open_page()
    server.gate.shut()
    room = draw(page, "not wanted any more")
    expect(room.locator("button.interrupt")).to_be_visible()
    room.locator("button.interrupt").click()
    expect(room.locator(".status")).to_contain_text("Interrupted; 0 of 1 drawn")
    expect(room.locator("button.interrupt")).to_be_hidden()

    room.locator(".field-count input[type=number]").fill("2")
    room.locator(".field-count input[type=number]").press("Tab")
    draw(page, "one of the two")
    server.gate.let(1)
    expect(room.locator(".status")).to_contain_text("Picture 1 of 2")
    room.locator("button.skip").click()
    expect(room.locator(".status")).to_contain_text("Picture 2 of 2")
    server.gate.open()
    expect(room.locator(".status")).to_contain_text("Done in")
    assert server.service.jobs(limit=1)[0].skipped == 1


def test_a_wrong_field_is_named_beside_the_form(open_page: Open, server: Server) -> None:
    page = open_page()
    before = server.service.counts()
    room = page.locator("#tab-text_to_image")
    room.locator(".field-seed textarea, .field-seed input").fill("many")
    draw(page, "a cat")
    said = room.get_by_role("alert")
    expect(said).to_contain_text("seed = 'many'")
    expect(said).to_contain_text("Valid:")
    expect(page.locator("body")).not_to_contain_text("Traceback")
    assert server.service.counts() == before
    room.locator("button.dice").click()
    draw(page, "a cat")
    expect(room.locator(".results img").first).to_be_visible()
    expect(said).to_have_count(0)


def test_styles_and_proportions(open_page: Open, server: Server) -> None:
    page = open_page()
    room = page.locator("#tab-text_to_image")
    room.get_by_role("radio", name="16:9").check()
    expect(room.locator(".field-width input")).to_have_value("168")
    room.locator("button.swap").click()
    expect(room.locator(".field-width input")).to_have_value("96")
    room.locator(".field-styles input").click()
    page.get_by_role("option", name="Watercolour").click()
    page.keyboard.press("Escape")
    draw(page, "a heron")
    expect(room.locator(".status")).to_contain_text("Done in")
    request = server.service.jobs(limit=1)[0].request
    assert request.prompt == "watercolour painting of a heron, soft washes, paper texture"
    assert request.negative_prompt == "photograph"
    assert (request.width, request.height) == (96, 168)


def test_a_picture_goes_on_to_other_tabs(open_page: Open, server: Server) -> None:
    page = open_page()
    room = draw(page, "a start")
    room.get_by_role("button", name="To image to image").click()
    target = page.locator("#tab-image_to_image")
    expect(target.locator(".picture img")).to_be_visible()
    draw(page, "a start, at night", "image_to_image")
    expect(target.locator(".results img").first).to_be_visible()
    request = server.service.jobs(limit=1)[0].request
    assert request.strength == 0.75
    assert server.service.inputs.get(request.init_image or "").size == (128, 128)

    target.get_by_role("button", name="To outpaint").click()
    outpaint = page.locator("#tab-outpaint")
    expect(outpaint.locator(".picture img")).to_be_visible()
    field = outpaint.locator(".field-extend_right input[type=number]")
    field.fill("64")
    field.press("Tab")
    draw(page, "a start, and more of it", "outpaint")
    expect(outpaint.locator(".results img").first).to_be_visible()
    assert server.service.jobs(limit=1)[0].request.extend_right == 64


def test_a_mask_is_drawn_in_the_browser(open_page: Open, server: Server) -> None:
    page = open_page()
    room = draw(page, "a picture to mend")
    room.get_by_role("button", name="To inpaint").click()
    inpaint = page.locator("#tab-inpaint")
    canvas = inpaint.locator(".painting canvas").first
    expect(canvas).to_be_visible()
    draw(page, "a moon", "inpaint")
    expect(inpaint.get_by_role("alert")).to_contain_text("nothing is painted yet")
    inpaint.get_by_role("button", name=re.compile("brush", re.IGNORECASE)).first.click()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=8)
    page.mouse.up()
    inpaint.locator("button.go").click()
    expect(inpaint.locator(".results img").first).to_be_visible()
    request = server.service.jobs(limit=1)[0].request
    mask = server.service.inputs.get(request.mask or "", "mask").convert("L")
    assert mask.size == server.service.inputs.get(request.init_image or "").size
    share = sum(value > 127 for value in mask.tobytes()) / (mask.width * mask.height)
    assert 0.005 < share < 0.6, "the stroke, and nothing but the stroke"


def test_tabs_open(open_page: Open) -> None:
    page = open_page()
    for tab in ("models", "history"):
        go_to(page, tab)
    expect(page.locator("#tab-history .count")).to_be_visible()
