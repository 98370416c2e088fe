"""Names, aliases and pairs of samplers and schedules; none of it loads torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from studio.errors import RequestError
from studio.schedulers.catalogue import resolve, samplers, schedules, table


def test_at_least_twenty_samplers_and_the_known_schedules() -> None:
    names = {row.name for row in samplers()}
    assert len(names) == len(samplers()) >= 20
    assert {"Euler", "Euler a", "DPM++ 2M", "DPM++ 3M SDE", "DDIM", "PLMS", "Restart"} <= names
    assert {"Automatic", "Karras", "Beta", "Align Your Steps", "KL Optimal"} <= {
        row.name for row in schedules()
    }


@pytest.mark.parametrize(
    ("sampler", "schedule", "pair"),
    [
        ("Euler", None, ("Euler", "Automatic")),
        ("euler_ancestral", None, ("Euler a", "Automatic")),
        ("k_euler_a", "sgm_uniform", ("Euler a", "SGM Uniform")),
        ("dpmpp_2m", "karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", None, ("DPM++ 2M", "Karras")),
        ("dpm++ 2m", "KARRAS", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M SDE Heun Exponential", None, ("DPM++ 2M SDE Heun", "Exponential")),
        ("dpmpp_2m_sde_gpu", None, ("DPM++ 2M SDE", "Automatic")),
        ("dpmpp_3m_sde_gpu_karras", "Karras", ("DPM++ 3M SDE", "Karras")),
        ("DPM++ 2S a Karras", None, ("DPM++ 2S a", "Karras")),
        ("dpm_2_ancestral", "normal", ("DPM2 a", "Uniform")),
        ("uni_pc", "ddim_uniform", ("UniPC", "DDIM Uniform")),
        ("EulerDiscreteScheduler", "AYS", ("Euler", "Align Your Steps")),
        ("ddim", "kl_optimal", ("DDIM", "KL Optimal")),
    ],
)
def test_names_of_a1111_comfyui_and_diffusers_resolve(
    sampler: str, schedule: str | None, pair: tuple[str, str]
) -> None:
    assert resolve(sampler, schedule) == pair


def test_every_name_alias_and_allowed_pair_resolves_to_its_row() -> None:
    for row in samplers():
        for name in (row.name, *row.aliases, row.name.upper()):
            assert resolve(name) == (row.name, "Automatic")
        for schedule in row.spacings:
            assert resolve(row.name, schedule) == (row.name, schedule)
            assert resolve(f"{row.name} {schedule}") == (row.name, schedule)


def test_no_two_rows_share_a_name() -> None:
    for rows in (samplers(), schedules()):
        taken = [
            name.lower().replace("_", " ") for row in rows for name in (row.name, *row.aliases)
        ]
        assert len(taken) == len(set(taken))


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(RequestError, match="Euler a") as refusal:
        resolve("eular a")
    assert refusal.value.field == "sampler"
    with pytest.raises(RequestError, match="Karras") as refusal:
        resolve("Euler", "karas")
    assert refusal.value.field == "schedule"
    with pytest.raises(RequestError, match=r"DPM\+\+ 2M.*Restart"):
        resolve("zzz")


def test_a_schedule_named_twice_must_be_the_same() -> None:
    assert resolve("DPM++ 2M Karras", "karras") == ("DPM++ 2M", "Karras")
    with pytest.raises(RequestError, match="already names the schedule Karras"):
        resolve("DPM++ 2M Karras", "Beta")


@pytest.mark.parametrize("sampler", ["LCM", "TCD", "PLMS"])
def test_pairs_that_cannot_work_name_those_that_do(sampler: str) -> None:
    with pytest.raises(RequestError, match=r"cannot work.*Valid.*Automatic") as refusal:
        resolve(sampler, "Karras")
    assert refusal.value.field == "schedule"


def test_multistep_sdes_refuse_spacings_that_make_their_noise_grow() -> None:
    with pytest.raises(RequestError, match=r"DPM\+\+ 3M SDE cannot work.*Valid.*Karras"):
        resolve("DPM++ 3M SDE", "Uniform")


def test_the_table_has_a_row_for_each_sampler() -> None:
    rows = table()
    assert [row["sampler"] for row in rows] == [row.name for row in samplers()]
    assert all(set(row) == set(rows[0]) and row["description"] for row in rows)


def test_names_load_neither_torch_nor_diffusers() -> None:
    code = (
        "import sys; from studio.schedulers.catalogue import resolve, table; table();"
        "resolve('dpmpp_2m', 'karras'); assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
