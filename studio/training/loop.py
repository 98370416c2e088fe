"""The one training loop: accelerate, EMA, checkpoints, resume, progress with ETA.

Every random draw of step ``n`` comes from ``(seed, process, n)``, so that a resumed run draws the
same batches and the same noise as one that was never stopped, whichever process draws them.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator, PartialState  # type: ignore[import-untyped]
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from studio.errors import StudioError
from studio.training.muon import Muon, is_inner_matrix
from studio.training.recipe import LoopRecipe
from studio.training.workers import made_ahead

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]


class Part(Protocol):
    """A part of the model that can be trained."""

    @property
    def objective(self) -> nn.Module:
        """``objective(**batch)`` gives named losses (scalars); ``loss`` is minimised."""

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """``size`` examples, drawn with ``rng`` only. With ``loop.workers`` other processes draw
        them, which cannot use the device."""

    def save(self, folder: Path) -> None:
        """Write the weights as they are now (the loop has put the averaged ones in place)."""

    def sheet(self, path: Path) -> None:
        """Draw a sheet of samples with the weights as they are now."""


def learning_rate(recipe: LoopRecipe, step: int, left: int) -> float:
    """Linear warm-up, then constant, then linear decay to zero over the last ``decay_steps``.

    Args:
        left: how many steps there are to come, this one counted.
    """
    up = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    down = min(1.0, left / max(1, recipe.decay_steps))
    return recipe.learning_rate * up * down


def optimizers(objective: nn.Module, recipe: LoopRecipe) -> list[torch.optim.Optimizer]:
    """AdamW for all trainable weights of ``objective``, or Muon for its matrices and AdamW for
    the rest."""
    trainable = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    matrices = [p for n, p in trainable if recipe.muon and is_inner_matrix(n, p)]
    taken = set(matrices)
    adamw = torch.optim.AdamW(
        [p for _, p in trainable if p not in taken],
        lr=recipe.learning_rate,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    if not matrices:
        return [adamw]
    bf16 = recipe.precision == "bf16" or matrices[0].is_cuda
    muon = Muon(matrices, recipe.learning_rate, weight_decay=recipe.weight_decay, bf16=bf16)
    return [adamw, muon]


def processes(recipe: LoopRecipe) -> PartialState:
    """The processes that train together. ``fit`` asks for them; a part that has long work to do
    before asks first, so that a refusal does not come after it.

    Raises:
        StudioError: several are to go by the clock.
    """
    # Said, or accelerate keeps processes on CPUs apart.
    state = PartialState(cpu=not torch.cuda.is_available())
    if recipe.minutes and state.num_processes > 1:
        raise StudioError(
            "loop.minutes is for one process: the clocks of several differ.", valid="loop.steps"
        )
    return state


def fit(part: Part, recipe: LoopRecipe, out: Path, *, resume: bool) -> None:
    """Train ``part`` for ``recipe.steps`` steps.

    Writes to ``out``: ``checkpoint/`` (everything needed to resume), ``weights/`` (averaged
    weights), ``sheet.png`` and ``log.jsonl`` (losses, learning rate, examples a second).

    Raises:
        StudioError: see :func:`processes`.
    """
    on_cpu = processes(recipe).device.type == "cpu"
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=on_cpu)
    part.objective.to(accelerator.device)
    trainable = [p for p in part.objective.parameters() if p.requires_grad]
    ema = EMAModel(trainable, decay=recipe.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    ema.to(accelerator.device)
    prepared = accelerator.prepare(part.objective, *optimizers(part.objective, recipe))
    objective, changing = prepared[0], prepared[1:]
    accelerator.register_for_checkpointing(ema)
    first = _resume(accelerator, out) if resume else 0
    if accelerator.is_main_process and not resume:
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
        (out / "log.jsonl").unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)

    process = accelerator.process_index

    def batch_of(step: int) -> Batch:
        rng = _rng(recipe, process, step)
        rng.integers(2**63)  # the seed of what the device draws
        return part.batch(rng, recipe.batch_size)

    watch, budget = _Watch(recipe, out, first, accelerator.num_processes), _Budget(recipe)
    saved = time.monotonic()
    objective.train()
    batches = made_ahead(batch_of, range(first, recipe.steps), recipe.workers)
    for step, batch in enumerate(batches, first):
        left = budget.left(step)
        rate = learning_rate(recipe, step, left)
        torch.manual_seed(int(_rng(recipe, process, step).integers(2**63)))
        batch = {name: value.to(accelerator.device) for name, value in batch.items()}
        for optimizer in changing:
            for group in optimizer.param_groups:
                group["lr"] = rate
        with accelerator.autocast():
            losses: Losses = objective(**batch)
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(trainable, recipe.clip_norm)
        for optimizer in changing:
            optimizer.step()
            optimizer.zero_grad()
        ema.step(trainable)
        last = left <= 1
        if accelerator.is_main_process:
            watch.saw(step, losses, rate, left)
            # By the clock of one process alone: the others wait for it in their next step.
            if last or time.monotonic() - saved > 60 * recipe.checkpoint_minutes:
                _checkpoint(accelerator, part, ema, trainable, out, step + 1)
                saved = time.monotonic()
        if last:
            break
    accelerator.wait_for_everyone()


def _checkpoint(
    accelerator: Accelerator,
    part: Part,
    ema: EMAModel,
    trainable: list[nn.Parameter],
    out: Path,
    step: int,
) -> None:
    """Save everything; a crash in between leaves the checkpoint before."""
    fresh, kept = out / "checkpoint.new", out / "checkpoint"
    shutil.rmtree(fresh, ignore_errors=True)
    accelerator.save_state(str(fresh))
    (fresh / "step.json").write_text(json.dumps({"step": step}), encoding="utf-8")
    shutil.rmtree(kept, ignore_errors=True)
    fresh.rename(kept)
    ema.store(trainable)
    ema.copy_to(trainable)
    part.objective.eval()
    part.save(out / "weights")
    with torch.inference_mode():
        part.sheet(out / "sheet.png")
    part.objective.train()
    ema.restore(trainable)


def _resume(accelerator: Accelerator, out: Path) -> int:
    """Load the newest whole checkpoint; the number of steps done (0 where there is none)."""
    for folder in (out / "checkpoint", out / "checkpoint.new"):
        if (folder / "step.json").is_file():
            accelerator.load_state(str(folder))
            return int(json.loads((folder / "step.json").read_text(encoding="utf-8"))["step"])
    return 0


def _rng(recipe: LoopRecipe, process: int, step: int) -> np.random.Generator:
    return np.random.default_rng((recipe.seed, process, step))


class _Budget:
    """How many steps are left, by their number or by the clock, whichever ends first."""

    def __init__(self, recipe: LoopRecipe) -> None:
        self.recipe = recipe
        self.last = self.began = time.monotonic()
        self.pace = 0.0

    def left(self, step: int) -> int:
        """How many, this one counted; at least one."""
        by_number = self.recipe.steps - step
        if self.recipe.minutes is None:
            return by_number
        now = time.monotonic()
        # Of the latest steps: the first ones wait for kernels to be compiled.
        self.pace += 0.05 * (now - self.last - self.pace)
        self.last = now
        seconds = 60 * self.recipe.minutes - (now - self.began)
        return max(1, min(by_number, int(seconds / max(self.pace, 1e-6))))


class _Watch:
    """Means of the losses since the last line, printed and logged every few seconds."""

    def __init__(self, recipe: LoopRecipe, out: Path, first: int, processes: int) -> None:
        self.recipe = recipe
        self.log = out / "log.jsonl"
        self.processes = processes
        self.since = first
        self.clock = time.monotonic()
        self.sums: dict[str, Tensor] = {}

    def saw(self, step: int, losses: Losses, lr: float, left: int) -> None:
        for name, value in losses.items():  # stays on the device: reading it would wait for it
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        seconds = time.monotonic() - self.clock
        if seconds < self.recipe.log_seconds and left > 1:
            return
        count = step + 1 - self.since
        means = {name: float(value) / count for name, value in self.sums.items()}
        rate = count * self.recipe.batch_size * self.processes / seconds
        row = {"step": step + 1, "rate": round(rate, 1), "lr": lr}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **means}) + "\n")
        shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        eta = time.strftime("%H:%M:%S", time.gmtime((left - 1) * seconds / count))
        print(f"step {step + 1}/{step + left}  {shown}  {rate:.1f}/s  ETA {eta}", flush=True)
        self.since, self.clock, self.sums = step + 1, time.monotonic(), {}
