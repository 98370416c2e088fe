"""The one training loop: accelerate, EMA, checkpoints, resume, progress with ETA.

Every random draw of step ``n`` comes from ``(seed, process, n)``, so that a resumed run draws the
same batches and the same noise as one that was never stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from studio.training.muon import Muon, is_inner_matrix
from studio.training.recipe import LoopRecipe

Batch = dict[str, Tensor]
Losses = dict[str, Tensor]


class Part(Protocol):
    """A part of the model that can be trained."""

    @property
    def objective(self) -> nn.Module:
        """``objective(**batch)`` gives named losses (scalars); ``loss`` is minimised."""

    def batch(self, rng: np.random.Generator, size: int) -> Batch:
        """``size`` examples, drawn with ``rng`` only."""

    def save(self, folder: Path) -> None:
        """Write the weights as they are now (the loop has put the averaged ones in place)."""

    def sheet(self, path: Path) -> None:
        """Draw a sheet of samples with the weights as they are now."""


def learning_rate(recipe: LoopRecipe, step: int) -> float:
    """Linear warm-up, then constant, then linear decay to zero over the last ``decay_steps``."""
    up = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    down = min(1.0, (recipe.steps - step) / max(1, recipe.decay_steps))
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
    return [adamw, Muon(matrices, recipe.learning_rate, weight_decay=recipe.weight_decay)]


def fit(part: Part, recipe: LoopRecipe, out: Path, *, resume: bool) -> None:
    """Train ``part`` for ``recipe.steps`` steps.

    Writes to ``out``: ``checkpoint/`` (everything needed to resume), ``weights/`` (averaged
    weights), ``sheet.png`` and ``log.jsonl`` (losses, learning rate, examples a second).
    """
    on_cpu = not torch.cuda.is_available()  # said, or accelerate keeps processes on CPUs apart
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

    watch = _Watch(recipe, out, first, accelerator.num_processes)
    saved = time.monotonic()
    objective.train()
    for step in range(first, recipe.steps):
        rng = np.random.default_rng((recipe.seed, accelerator.process_index, step))
        torch.manual_seed(int(rng.integers(2**63)))
        batch = part.batch(rng, recipe.batch_size)
        batch = {name: value.to(accelerator.device) for name, value in batch.items()}
        for optimizer in changing:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step)
        with accelerator.autocast():
            losses: Losses = objective(**batch)
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(trainable, recipe.clip_norm)
        for optimizer in changing:
            optimizer.step()
            optimizer.zero_grad()
        ema.step(trainable)
        if accelerator.is_main_process:
            watch.saw(step, losses)
            last = step + 1 == recipe.steps
            # By the clock of one process alone: the others wait for it in their next step.
            if last or time.monotonic() - saved > 60 * recipe.checkpoint_minutes:
                _checkpoint(accelerator, part, ema, trainable, out, step + 1)
                saved = time.monotonic()
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


class _Watch:
    """Means of the losses since the last line, printed and logged every few seconds."""

    def __init__(self, recipe: LoopRecipe, out: Path, first: int, processes: int) -> None:
        self.recipe = recipe
        self.log = out / "log.jsonl"
        self.processes = processes
        self.since = first
        self.clock = time.monotonic()
        self.sums: dict[str, float] = {}

    def saw(self, step: int, losses: Losses) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        seconds = time.monotonic() - self.clock
        if seconds < self.recipe.log_seconds and step + 1 < self.recipe.steps:
            return
        count = step + 1 - self.since
        means = {name: value / count for name, value in self.sums.items()}
        rate = count * self.recipe.batch_size * self.processes / seconds
        eta = (self.recipe.steps - step - 1) * seconds / count
        row = {"step": step + 1, "rate": round(rate, 1), "lr": learning_rate(self.recipe, step)}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **means}) + "\n")
        shown = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        left = time.strftime("%H:%M:%S", time.gmtime(eta))
        print(f"step {step + 1}/{self.recipe.steps}  {shown}  {rate:.1f}/s  ETA {left}", flush=True)
        self.since, self.clock, self.sums = step + 1, time.monotonic(), {}
