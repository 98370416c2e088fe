"""Tags in prompts, and the files that requests name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from studio.errors import ModelError, PromptError, RequestError
from studio.pipelines import adapter_files, prompt_tags
from studio.pipelines.adapter_files import Asked, find
from studio.pipelines.batching import Shared, shared_key
from studio.pipelines.prompt_grammar import Run, parse
from studio.pipelines.prompt_tags import Use
from studio.pipelines.request import Request
from tests.adapted import own_files
from tests.tiny import tiny_requests
from tests.tiny_families import write


def test_tags_and_fields_ask_for_files() -> None:
    request = Request.of(
        prompt="<lora:ink:0.5> a cat, <lyco:Old Map> embedding:mist.v2, (embedding:fog:1.2)",
        negative_prompt="embedding:bad-hands, embedding:fog",
        lora=["loras/a.safetensors:-0.25", "C:\\b.safetensors", "c"],
        embedding="files/fog.safetensors; other",
        vae="soft",
    )
    asked = Asked.by(request)
    assert asked.loras == (
        Use("loras/a.safetensors", -0.25),
        Use("C:\\b.safetensors"),
        Use("c"),
        Use("ink", 0.5),
        Use("Old Map"),
    )
    assert asked.embeddings == ("files/fog.safetensors", "other", "mist.v2", "bad-hands")
    assert asked.vae == "soft"
    assert Request.from_json(request.to_json()) == request


def test_tags_are_no_text_and_keep_columns() -> None:
    ((run,),) = parse("a <lora:ink(2):0.5> cat").at(0, 1)
    assert run == Run(f"a {' ' * 17} cat")
    with pytest.raises(PromptError, match="column 21"):
        parse("<lora:ink:1> (a cat:999)")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": "a <lora:../../secret:1>"}, "'../../secret' is no name of a LoRA at column 3"),
        ({"prompt": "<lora:..:1>"}, "no name"),
        ({"prompt": "<lora::1>"}, "no name"),
        ({"prompt": "<lora:a:x>"}, "the weight 'x' cannot be used"),
        ({"prompt": "<lora:a:nan>"}, "the weight 'nan' cannot be used"),
        ({"prompt": "<lora:a:11>"}, "the weight '11' cannot be used"),
        ({"prompt": "<lora:a:1:0.5>"}, "one weight"),
        ({"prompt": "a", "negative_prompt": "<lora:a:1>"}, "goes into the prompt"),
        ({"prompt": "a", "lora": ["a:inf"]}, "the weight 'inf' cannot be used"),
        ({"prompt": "a", "lora": [":1"]}, "no name"),
        ({"prompt": "a", "lora": ["a\0"]}, "NUL"),
        ({"prompt": "a", "embedding": [""]}, "empty"),
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Request.of(**fields)


def test_names_are_looked_up_among_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_files(tmp_path, monkeypatch) / "loras" / "styles"
    folder.mkdir(parents=True)
    tensors = {"a": torch.zeros(1)}
    path = write(tensors, folder / "ink.safetensors")
    (folder / "old.pt").write_bytes(b"\x80\x04")
    assert find("lora", "ink") == path
    assert find("lora", str(path)) == path
    with pytest.raises(ModelError, match=r"no LoRA 'inc' .* Valid: ink\."):
        find("lora", "inc")
    with pytest.raises(ModelError, match=r"old\.pt is a pickle"):
        find("lora", "old")
    with pytest.raises(ModelError, match=r"lora = 'nowhere/ink.*there is no such file"):
        find("lora", "nowhere/ink.safetensors")
    write(tensors, folder.parent / "ink.safetensors")
    with pytest.raises(ModelError, match=r"2 times: ink\.safetensors, styles/ink\.saf"):
        find("lora", "ink")
    with pytest.raises(ModelError, match="none is there yet; put files into"):
        find("embedding", "ink")


def test_a_broken_file_is_refused_before_weights_load(tmp_path: Path) -> None:
    path = tmp_path / "ink.safetensors"
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(ModelError, match="Git LFS pointer"):
        Asked.by(Request.of(prompt="a", lora=[str(path)])).check()


def test_pictures_with_other_loras_are_drawn_apart() -> None:
    a, b = (tiny_requests(prompt=f"a cat <lora:{name}:1>")[0] for name in "ab")
    again = tiny_requests(prompt="a dog <lora:a:1>")[0]
    assert shared_key(a) == shared_key(again)
    assert shared_key(a) != shared_key(b)
    Shared.of([a, again])
    with pytest.raises(RequestError, match="other files"):
        Shared.of([a, b])


def test_tags_can_be_taken_out() -> None:
    prompt = "a <lora:x:1>cat <lora:y:1><lora:z:1:2>"
    assert prompt_tags.sifted(prompt, lambda name: name != "x") == ("a cat <lora:y:1>", ("x", "z"))


def test_hashes_are_those_of_the_whole_file_and_of_its_tensors(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(4.0)}
    plain = adapter_files.applied("lora", write(tensors, tmp_path / "a.safetensors"), 0.5)
    noted = adapter_files.applied("lora", write(tensors, tmp_path / "b.safetensors", tag="x"), 0.5)
    assert plain.sha256 != noted.sha256
    raw = tensors["a"].numpy().tobytes()
    assert plain.tensors_sha256 == noted.tensors_sha256 == hashlib.sha256(raw).hexdigest()
