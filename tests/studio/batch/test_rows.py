"""A whole file: every row a checked request, or every problem with its place."""

import json
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from studio import Studio
from studio.batch.forms import Form
from studio.batch.identity import job_id, weights_sha256
from studio.batch.rows import BadRow, Problem, Row, Sheet, read
from studio.pipelines.request import Request


def rows(text: str | bytes, **options: object) -> tuple[Row, ...]:
    sheet = read(text.encode() if isinstance(text, str) else text, **options)  # type: ignore[arg-type]
    assert sheet.problems == ()
    return sheet.rows


def problems(text: str, **options: object) -> tuple[Problem, ...]:
    return read(text.encode(), **options).problems  # type: ignore[arg-type]


def prompts(found: tuple[Row, ...]) -> list[str]:
    return [row.request.prompt for row in found]


def seeds(found: tuple[Row, ...]) -> list[int | None]:
    return [row.request.seed for row in found]


# ---- forms


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    forms = {
        "a.txt": '--prompt "a cat" --steps 7 --seed 3',
        "a.csv": "prompt,steps,seed\na cat,7,3\n",
        "a.jsonl": '{"prompt": "a cat", "steps": 7, "seed": 3}\n',
    }
    found = []
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        (row,) = read(tmp_path / name).rows
        assert read(text.encode()).rows[0].request == row.request  # known by its content too
        found.append(row.request)
    assert found == [Request.of(prompt="a cat", steps=7, seed=3)] * 3


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"a cat\n")))
    assert prompts(read("-").rows) == ["a cat"]


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        sheet = read(path)
        assert str(path) in sheet.fatal[0].reason


def test_an_empty_file_is_a_problem() -> None:
    assert "no prompts" in problems("\n# nothing\n")[0].reason


def test_a_row_is_ready_to_run() -> None:
    (row,) = rows("a cat")
    assert row.request.steps is None
    assert row.resolved == Studio().resolve(row.request)


# ---- problems


def test_every_problem_of_the_file_is_told_with_its_place() -> None:
    text = """a cat
--prompt x --steps 0 --width 511 --sampler Eular --seed -2 --init_image nope.png
a (dog:nan)
{a|b
--prompt "half
--prompt y --strength 2 --init_image nope.png
"""
    found = {(p.line, p.column, p.field) for p in problems(text)}
    assert found == {
        (2, 20, "steps"),
        (2, 30, "width"),
        (2, 44, "sampler"),
        (2, 57, "seed"),
        (2, 73, "init_image"),
        (3, 8, "prompt"),
        (4, 1, "prompt"),
        (5, 10, ""),
        (6, 23, "strength"),
        (6, 38, "init_image"),
    }
    told = "\n".join(map(str, problems(text)))
    assert "nearest 504 and 512" in told
    assert "Euler" in told


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a", "cfg_scale": 7}', "guidance_scale"),
        ('{"prompt": "a", "stepps": 7}', "steps"),
        ('{"prompt": "a", "steps": "20"}', "not an integer"),
        ('{"prompt": "a", "steps": 2.5}', "not an integer"),
        ('{"prompt": 5}', "not a text"),
        ('{"steps": 5}', "missing"),
        ('{"prompt": "a", "steps": 1000000000}', "1 to 1000"),
        ('{"prompt": "a", "guidance_scale": 1e6}', "0 to 100"),
        ('{"prompt": "a", "guidance_scale": 1e999}', "finite"),
        ('{"prompt": "a", "seed": 18446744073709551616}', "out of range"),
        ('{"prompt": "a", "model": "no such"}', "mini"),
        ('{"prompt": "a", "schedule": "AYS", "sampler": "Euler", "width": 100}', "nearest"),
        ('{"prompt": "\\ud800"}', "surrogate"),
        ('{"prompt": "a\\u0000b"}', "NUL"),
        ('{"prompt": {"a": 1}}', "not a text"),
        (json.dumps({"prompt": "a" * 100_001}), "too long"),
        ('{"prompt": "half', "not JSON"),
    ],
)
def test_bad_values_are_refused_by_name(line: str, says: str) -> None:
    sheet = read(f'{{"prompt": "good"}}\n{line}'.encode())
    assert prompts(sheet.rows) == ["good"]
    assert [row.line for row in sheet.bad] == [2]
    assert says in str(sheet.problems[0])


def test_a_bad_row_keeps_what_it_said() -> None:
    sheet = read(b"--prompt a --steps 0 --init_image in/x.png\nb")
    (bad,) = sheet.bad
    assert bad.text == "--prompt a --steps 0 --init_image in/x.png"
    values = {name: value for name, value in bad.fields.items() if not name.startswith("#")}
    assert values == {"prompt": "a", "steps": 0, "init_image": str(Path("in/x.png").absolute())}
    assert bad.fields["#row"] == bad.text
    assert (bad.index, sheet.rows[0].index) == (1, 2)


def test_broken_bytes_make_their_own_row_bad_only() -> None:
    sheet = read(b"a cat\na d\xf6g\n# comm\xf6nt\na bird\0\na fish")
    assert prompts(sheet.rows) == ["a cat", "a fish"]
    assert [row.line for row in sheet.bad] == [2, 4]
    assert [problem.line for problem in sheet.fatal] == [3]


def test_an_unknown_csv_column_is_an_error() -> None:
    sheet = read(b"prompt,stepz\na,3\nb,4\nc,\n", form="csv")
    assert len(sheet.bad) == 3
    (problem,) = sheet.problems  # told once
    assert (problem.line, problem.column, problem.field) == (1, 8, "stepz")
    assert "'steps'" in problem.valid


def test_what_a_file_holds_does_not_steer_the_terminal() -> None:
    assert str(problems('{"prompt": "a", "\\u001b[2J": 1}')[0]).isprintable()


def test_braces_without_end_are_a_problem() -> None:
    for count in (5_000, 1_000_000):
        assert problems("{" * count + "}" * count)[0].field == "prompt"


def test_pictures_are_named_from_the_files_folder_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    Image.new("RGB", (128, 128), "red").save(tmp_path / "red.png")
    (tmp_path / "no.png").write_text("<svg/>")
    file = tmp_path / "lists" / "a.jsonl"
    lines = [{"prompt": "a", "init_image": name} for name in ("../red.png", "../no.png", "x.png")]
    file.write_text("\n".join(map(json.dumps, lines)))
    sheet = read(file)
    (row,) = sheet.rows
    assert row.request.init_image == str(tmp_path / "red.png")
    assert str(row.resolved.init_image).startswith("sha256:")
    assert [(p.line, p.field) for p in sheet.problems] == [(2, "init_image"), (3, "init_image")]


def test_an_unknown_model_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(f"--prompt a --model {tmp_path}")
    assert (found.line, found.column, found.field) == (1, 20, "model")


def test_checking_loads_no_torch() -> None:
    code = "import sys; from studio.batch.rows import read; from studio.batch.identity import *;"
    code += "assert read(b'a cat').rows; weights_sha256('mini'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- seeds and choices


def test_open_seeds_are_the_same_on_every_run_and_go_by_content() -> None:
    before = rows("a cat\na dog")
    after = rows("a bird\na dog\n# more\na cat")
    assert seeds(after)[::-1][:2] == seeds(before)
    assert len(set(seeds(after))) == 3
    assert seeds(rows("a cat", choices_seed=1)) != seeds(before)[:1]


def test_equal_rows_are_one_picture() -> None:
    one, two = rows("a cat\na cat")
    assert one.resolved == two.resolved


def test_equal_rows_with_choices_draw_their_own() -> None:
    found = rows("a {red|green|blue|black} cat\n" * 12)
    assert len(set(prompts(found))) > 1
    assert len(set(seeds(found))) == 12
    assert prompts(found) == prompts(rows("a {red|green|blue|black} cat\n" * 12))
    assert {row.template for row in found} == {"a {red|green|blue|black} cat"}


def test_each_picture_of_a_count_draws_its_own() -> None:
    found = rows("--prompt a {red|green|blue} cat --n_iter 9 --seed 5")
    assert seeds(found) == list(range(5, 14))
    assert len(set(prompts(found))) == 3
    (plain,) = rows("--prompt a cat --n_iter 9 --seed 5")
    assert plain.request.count == 9


def test_seeds_iterate_over_lines_and_their_pictures() -> None:
    text = "a\n--prompt b --n_iter 3\nc\n--prompt d --seed 7\ne"
    assert seeds(rows(text, iterate_seed=True, base={"seed": 100})) == [100, 101, 104, 7, 106]
    first, second = seeds(rows("a\nb", iterate_seed=True))
    assert second == (first or 0) + 1


def test_the_same_seed_for_all_lines() -> None:
    assert seeds(rows("a\nb\n--prompt c --seed 7", same_seed=True, base={"seed": 3})) == [3, 3, 7]
    assert len(set(seeds(rows("a\nb\nc", same_seed=True)))) == 1
    assert problems("a", same_seed=True, iterate_seed=True)[0].field == "seed"


def test_minus_one_is_an_open_seed() -> None:
    (row,) = rows("--prompt a --seed -1")
    assert row.request.seed is not None


def test_variations_are_the_same_on_every_run() -> None:
    text = "--prompt a --subseed_strength 0.3"
    assert rows(text)[0].resolved == rows(text)[0].resolved


def test_fields_of_the_command_hold_where_a_row_is_silent() -> None:
    found = rows("a\n--prompt b --steps 5", base={"steps": 9, "negative_prompt": "no"})
    assert [row.request.steps for row in found] == [9, 5]
    assert found[0].request.negative_prompt == "no"
    assert [(p.line, p.field) for p in problems("a", base={"steps": 0})] == [(0, "steps")]


def test_wildcards_come_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "animal.txt").write_text("cat\ndog\n")
    found = rows("a __animal__\n" * 20, wildcards=tmp_path)
    assert set(prompts(found)) == {"a cat", "a dog"}
    (problem,) = problems("big __animals__", wildcards=tmp_path)
    assert (problem.line, problem.column, problem.field) == (1, 5, "prompt")


# ---- products


def test_products() -> None:
    found = rows("a\nb", each=["seed=1..2", "sampler=Euler a, DPM++ 2M"])
    assert [(row.request.prompt, *(text for _, text in row.axes)) for row in found] == [
        (prompt, seed, sampler)
        for prompt in "ab"
        for seed in "12"
        for sampler in ("Euler a", "DPM++ 2M")
    ]
    assert [row.index for row in found] == list(range(1, 9))
    assert found[0].axes == (("seed", "1"), ("sampler", "Euler a"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("guidance_scale=1..2..0.5", [1.0, 1.5, 2.0]),
        ("steps=30..10..-10", [30, 20, 10]),
        ("steps=3..1", [3, 2, 1]),
        ("seamless=true,false", [True, False]),
        ('prompt="a, b",c', ["a, b", "c"]),
    ],
)
def test_lists_and_ranges(text: str, expected: list[object]) -> None:
    field = text.partition("=")[0]
    assert [getattr(row.request, field) for row in rows("x", each=[text])] == expected


@pytest.mark.parametrize(
    "text",
    ["stepz=1", "steps", "steps=", "steps=1..x", "steps=0", "steps=1..5..-1", "seed=0..99999999",
     'prompt="a', "cfg_scale=7"],
)  # fmt: skip
def test_a_bad_list_is_a_problem_of_the_option(text: str) -> None:
    (problem,) = problems("a\nb", each=[text])
    assert problem.line == 0
    assert problem.valid


def test_products_share_noise_and_choices() -> None:
    found = rows("a {red|green|blue|black} cat", each=["steps=1..4"])
    assert len(set(prompts(found))) == 1
    assert len(set(seeds(found))) == 1


def test_a_list_hides_no_problem_of_the_file() -> None:
    assert [(p.line, p.field) for p in problems("--prompt a --steps 0", each=["steps=1,2"])] == [
        (1, "steps")
    ]


def test_only_the_impossible_points_of_a_product_are_bad() -> None:
    sheet = read(b"a", each=["sampler=Euler,DPM++ 2S a", "schedule=Automatic,AYS"])
    assert len(sheet.rows) + len(sheet.bad) == 4
    assert all({"prompt", "sampler", "schedule"} < bad.fields.keys() for bad in sheet.bad)


# ---- running again


def test_a_row_written_out_and_read_again_is_the_same_job() -> None:
    text = "a {red|blue} cat\n--prompt \\{x\\} --n_iter 2 --subseed_strength 0.2\n"
    for row in rows(text, each=["steps=3,4"]):
        (again,) = rows(json.dumps(row.fields()), form="jsonl")
        assert again.resolved == row.resolved


@pytest.mark.parametrize(
    "line", ["--prompt a --stepz 3", '--prompt "a', "--prompt a --n_iter x", "--prompt a --steps 0"]
)
def test_a_bad_row_written_out_is_bad_again(line: str) -> None:
    (bad,) = read(line.encode()).bad
    assert read(json.dumps(dict(bad.fields)).encode(), form="jsonl").rows == ()


def test_the_id_of_a_job_is_its_content() -> None:
    one, other = rows("a cat\na dog")
    weights = weights_sha256("mini")
    assert job_id(one.resolved, weights) == job_id(rows("# x\na cat")[0].resolved, weights)
    assert len({job_id(r, w) for r in (one.resolved, other.resolved) for w in (weights, "x")}) == 4


def test_the_fingerprint_goes_by_the_files(tmp_path: Path) -> None:
    card = Studio().card
    copy = tmp_path / "mini"
    shutil.copytree(card.path, copy)
    assert weights_sha256(str(copy)) == weights_sha256("mini")
    config = copy / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    weights_sha256.cache_clear()
    assert weights_sha256(str(copy)) != weights_sha256("mini")


# ---- anything at all


def _sound(sheet: Sheet) -> None:
    assert sheet.rows or sheet.problems
    for bad in sheet.bad:
        assert isinstance(bad, BadRow)
        assert bad.problems
        json.dumps(dict(bad.fields), allow_nan=False)
    for problem in sheet.problems:
        assert problem.reason
        assert "\n" not in str(problem)


_PIECES = st.sampled_from(
    ["a cat", "--prompt ", "--steps ", "20", "\n", '"', "'", "{", "}", "|", "__x__", "\0", "\xff",
     "prompt,seed\n", ",", '{"prompt": "a"', '"seed": -1}', "(x:nan)", "\\", "--seed -1", "[", ":"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.lists(_PIECES, max_size=12).map("".join).map(str.encode))
def test_no_bytes_crash_it(data: bytes) -> None:
    for form in get_args(Form):
        _sound(read(data, form=form))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet='stepsd=.,1920-"x ', max_size=14), max_size=3))
def test_no_lists_crash_it(each: list[str]) -> None:
    _sound(read(b"a", each=each))
