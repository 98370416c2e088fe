from __future__ import annotations

import pytest
import torch

from studio.errors import UnavailableError
from studio.pipelines.placement import Runtime


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, *, bf16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)


def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_cpu_computes_one_image_at_a_time_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    no_cuda(monkeypatch)
    runtime = Runtime()
    assert (runtime.device, runtime.precision, runtime.attention) == ("cpu", "fp32", "sdpa")
    assert (runtime.dtype, runtime.vae_dtype) == (torch.float32, torch.float32)
    assert runtime.batch_size == 1


@pytest.mark.parametrize(
    ("bf16", "precision", "vae"),
    [(True, "bf16", torch.bfloat16), (False, "fp16", torch.float32)],
)
def test_cuda_takes_half_precision_with_a_decoder_that_cannot_overflow(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, precision: str, vae: torch.dtype
) -> None:
    pretend_cuda(monkeypatch, bf16=bf16)
    runtime = Runtime()
    assert (runtime.device, runtime.precision) == ("cuda:0", precision)
    assert runtime.vae_dtype == vae
    assert runtime.batch_size > 1


def test_what_is_asked_for_by_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cuda(monkeypatch, bf16=True)
    assert Runtime("cuda:1", "float16").device == "cuda:1"
    assert Runtime("cuda", "fp32").precision == "fp32"
    assert Runtime("cpu").precision == "fp32"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", "cuda:x", "", "tpu"])
def test_a_missing_device_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    no_cuda(monkeypatch)
    with pytest.raises(UnavailableError, match="device") as caught:
        Runtime(device)
    assert "cpu" in caught.value.valid


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_the_cpu_is_refused(precision: str) -> None:
    with pytest.raises(UnavailableError, match="hundreds of times slower"):
        Runtime("cpu", precision)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UnavailableError, match="int3"):
        Runtime("cpu", "int3")
