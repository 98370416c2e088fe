"""Programs that already speak these APIs work unchanged: their own clients, over a real server."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import webuiapi
from PIL import Image

from studio.metadata import Recipe
from studio.webui.logins import Logins, hashed
from studio.webui.settings import Settings
from tests.studio.jobs.stub import FAILS, Gate, stub_service
from tests.webui.serving import serving

SMALL: dict[str, Any] = {"steps": 2, "width": 64, "height": 64, "sampler_name": "Euler"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(stub_service(tmp_path_factory.mktemp("open"))) as port:
        yield port


@pytest.fixture(scope="module")
def a1111(port: int) -> Any:
    return webuiapi.WebUIApi(port=port)


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def recipe(data: bytes) -> Recipe:
    with Image.open(io.BytesIO(data)) as image:
        return Recipe.model_validate_json(image.info["studio"])


def test_openai_generates_in_base64(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        prompt="a cat", model="mini", n=2, size="64x128", response_format="b64_json"
    )
    assert answer.data
    requests = [recipe(base64.b64decode(each.b64_json or "")).request for each in answer.data]
    assert [(each.prompt, each.width, each.height) for each in requests] == [("a cat", 64, 128)] * 2
    assert (requests[1].seed or 0) - (requests[0].seed or 0) == 1


def test_openai_generates_addresses(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a cat", model="dall-e-3", size="1024x1024")
    assert answer.data
    drawn = recipe(httpx.get(answer.data[0].url or "").content).request
    assert (drawn.model, drawn.width, drawn.height) == ("mini", 128, 128)


@pytest.mark.parametrize(
    ("size", "drawn"), [("1792x1024", (160, 96)), ("1024x1536", (96, 160)), ("auto", (64, 64))]
)
def test_openai_sizes_give_the_shape(
    client: openai.OpenAI, size: Any, drawn: tuple[int, int]
) -> None:
    answer = client.images.generate(prompt="a cat", model="gpt-image-1", size=size)
    assert answer.data
    request = recipe(base64.b64decode(answer.data[0].b64_json or "")).request
    assert (request.width, request.height) == drawn


def test_openai_edits_what_the_mask_leaves_open(client: openai.OpenAI) -> None:
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (16, 16, 48, 48))
    answer = client.images.edit(
        image=as_png(Image.new("RGB", (64, 64), "blue")),
        mask=as_png(mask),
        prompt="a hat",
        response_format="b64_json",
    )
    assert answer.data
    request = recipe(base64.b64decode(answer.data[0].b64_json or "")).request
    assert request.prompt == "a hat"
    assert request.init_image
    assert request.mask
    listed = client.images.edit(
        image=[as_png(Image.new("RGBA", (64, 64), (1, 2, 3, 0)))],
        prompt="a hat",
        model="gpt-image-1",
    )
    assert listed.data
    assert recipe(base64.b64decode(listed.data[0].b64_json or "")).request.mask == "alpha"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "big"}, "size"),
        ({"size": "65x64"}, "width"),
        ({"n": 11}, "n"),
        ({"model": "another"}, "model"),
        ({"prompt": "a \0 cat"}, "prompt"),
    ],
)
def test_openai_errors_have_its_shape(
    client: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": "a cat", **fields})
    body: Any = caught.value.body
    assert body["type"] == "invalid_request_error"
    assert body["param"] == param
    assert "Traceback" not in caught.value.response.text


def test_openai_is_told_of_a_failure(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="The brush broke"):
        client.images.generate(prompt=FAILS)


def test_openai_lists_models(client: openai.OpenAI) -> None:
    assert "mini" in [model.id for model in client.models.list()]
    assert client.models.retrieve("mini").id == "mini"


def test_openai_full_queue_is_a_rate_limit(tmp_path: Path) -> None:
    gate = Gate(shut=True)
    service = stub_service(tmp_path, gate, queue_size=1)
    with serving(service) as port:
        url = f"http://127.0.0.1:{port}/v1"
        first = service.submit({"prompt": "one"})
        while service.job(first.id).status == "queued":
            service.wait(first.id, service.job(first.id).version, 1)
        service.submit({"prompt": "two"})
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        with client, pytest.raises(openai.RateLimitError) as caught:
            client.images.generate(prompt="three")
        assert int(caught.value.response.headers["retry-after"]) > 0
        gate.open()


def test_openai_key_is_name_and_password(tmp_path: Path) -> None:
    settings = Settings(logins=Logins({"anna": hashed("correct horse")}))
    with serving(stub_service(tmp_path), settings) as port:
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=url, api_key="anna:correct horse") as client:
            assert client.images.generate(prompt="a cat").data
        wrong = openai.OpenAI(base_url=url, api_key="anna:wrong horse")
        with wrong, pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        api = webuiapi.WebUIApi(port=port, username="anna", password="correct horse")
        assert "mini" in api.util_get_model_names()


def test_a1111_text_to_image(a1111: Any) -> None:
    result = a1111.txt2img(
        prompt="a cat", negative_prompt="a dog", seed=11, batch_size=2, n_iter=2, **SMALL
    )
    assert len(result.images) == 4
    assert result.info["all_seeds"] == [11, 12, 13, 14]
    assert result.info["seed"] == 11
    assert result.parameters["prompt"] == "a cat"
    assert "Negative prompt: a dog" in result.info["infotexts"][0]
    assert result.image.size == (64, 64)


def test_a1111_settings_of_one_call(a1111: Any) -> None:
    result = a1111.txt2img(
        prompt="a cat",
        seed=1,
        subseed=7,
        subseed_strength=0.5,
        tiling=True,
        scheduler="karras",
        override_settings={"sd_model_checkpoint": "mini", "CLIP_stop_at_last_layers": 2},
        enable_hr=True,
        hr_scale=2,
        hr_upscaler=webuiapi.HiResUpscaler.Latent,
        denoising_strength=0.6,
        **SMALL,
    )
    request = Recipe.model_validate_json(result.image.info["studio"]).request
    assert (request.clip_skip, request.seamless, request.schedule) == (2, True, "Karras")
    assert (request.variation_seed, request.variation_strength) == (7, 0.5)
    assert (request.hires_scale, request.hires_strength) == (2, 0.6)
    assert request.hires_upscaler == "latent"


def test_a1111_image_to_image_and_inpainting(a1111: Any) -> None:
    picture = Image.new("RGB", (64, 64), "green")
    mask = Image.new("L", (64, 64), 255)
    whole = a1111.img2img(images=[picture], prompt="a cat", denoising_strength=0.4, **SMALL)
    request = Recipe.model_validate_json(whole.image.info["studio"]).request
    assert (request.strength, request.fit, request.mask) == (0.4, "stretch", None)
    part = a1111.img2img(
        images=[picture],
        mask_image=mask,
        mask_blur=8,
        inpainting_fill=1,
        inpaint_full_res=True,
        inpaint_full_res_padding=16,
        resize_mode=1,
        prompt="a cat",
        **SMALL,
    )
    request = Recipe.model_validate_json(part.image.info["studio"]).request
    assert request.mask
    assert (request.mask_feather, request.mask_fill, request.fit) == (8, "original", "crop")
    assert (request.only_masked, request.only_masked_padding) == (True, 16)


def test_a1111_png_info_reads_what_was_drawn(a1111: Any) -> None:
    drawn = a1111.txt2img(prompt="a cat <b>", seed=3, **SMALL)
    info = a1111.png_info(drawn.image)
    assert info.info.startswith("a cat <b>\n")
    assert info.parameters["seed"] == 3


def test_a1111_enlarges_without_a_model(a1111: Any) -> None:
    picture = Image.new("RGB", (20, 30), "red")
    twice = a1111.extra_single_image(picture, upscaler_1="Lanczos", upscaling_resize=2)
    assert twice.image.size == (40, 60)
    with pytest.raises(RuntimeError, match="upscaler_1"):
        a1111.extra_single_image(picture, upscaler_1="R-ESRGAN 4x+", upscaling_resize=2)


def test_a1111_lists(a1111: Any) -> None:
    assert "mini" in a1111.util_get_model_names()
    assert "Euler a" in a1111.util_get_sampler_names()
    assert "Karras" in a1111.util_get_scheduler_names()
    assert "Lanczos" in [row["name"] for row in a1111.get_upscalers()]
    assert a1111.get_memory()["ram"]["total"] > 0
    assert a1111.get_scripts() == {"txt2img": [], "img2img": []}
    assert a1111.get_loras() == []
    assert a1111.get_sd_vae() == []
    assert a1111.refresh_checkpoints() == {}
    assert a1111.get_progress()["progress"] == 0
    a1111.util_wait_for_ready()


def test_a1111_options_choose_the_model(a1111: Any) -> None:
    a1111.util_set_model("mini")
    assert a1111.util_get_current_model() == "mini"
    assert a1111.set_options({"sd_model_checkpoint": "another"})["field"] == "sd_model_checkpoint"
    assert a1111.set_options({"samples_path": "/etc"})["field"] == "samples_path"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sampler_name": "Euler b"}, "sampler"),
        ({"steps": 0}, "steps"),
        ({"script_name": "x/y/z plot"}, "script_name"),
        ({"restore_faces": True}, "restore_faces"),
        ({"prompt": 5}, "prompt"),
    ],
)
def test_a1111_errors_name_the_field(a1111: Any, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        a1111.txt2img(**{"prompt": "a cat", **SMALL, **fields})
    status, text = caught.value.args
    assert status == 422
    assert f'"field":"{named}"' in text
    assert "Traceback" not in text


def test_a1111_progress_skip_and_interrupt(tmp_path: Path) -> None:
    gate = Gate(shut=True)
    with serving(stub_service(tmp_path, gate)) as port:
        api = webuiapi.WebUIApi(port=port)
        results: list[Any] = []
        fields = {**SMALL, "steps": 4, "prompt": "a cat", "batch_size": 3, "seed": 1}
        drawing = threading.Thread(target=lambda: results.append(api.txt2img(**fields)))
        drawing.start()
        assert gate.at_step.acquire(timeout=60)
        watching = webuiapi.WebUIApi(port=port)
        gate.let(2)
        assert gate.at_step.acquire(timeout=60)
        assert gate.at_step.acquire(timeout=60)
        state = watching.get_progress()
        assert 0 < state["progress"] < 1
        assert state["state"]["sampling_steps"] == 4
        assert state["state"]["job_count"] == 1
        watching.skip()
        gate.let(5)  # one to see the skip, four for the second picture
        for _ in range(5):
            assert gate.at_step.acquire(timeout=60)
        watching.interrupt()
        gate.open()
        drawing.join(60)
        assert results[0].info["all_seeds"] == [2]
