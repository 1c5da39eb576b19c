"""The three comparisons of the GPU benchmark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.on_gpu import parity
from benchmarks.on_gpu.comparison import PACKED, Options, Report, Section, measure
from benchmarks.on_gpu.models import (
    SMALL_VIT,
    SMALL_YOLOS,
    VIT,
    YOLOS,
    Sizes,
    random_batches,
    save_vit,
    save_yolos,
    scaled,
)
from benchmarks.on_gpu.ours import Alone, Pack, ResidentEngine, over_tokens, packable, trial
from benchmarks.on_gpu.peers import Compile, PlainHead, PlainSegmenter, PlainTrial, plain_detector
from benchmarks.on_gpu.processes import Processes
from benchmarks.on_gpu.rows import Clock, Row, Step
from trainables.packing.forwards import Compiled, Forward, Graphs, Plain

SAME = 0.02
"""The largest difference of the first losses of two of our rows in bf16, relative to 1 + the loss."""
COMPARED = 3
"""The number of those losses."""
COMPILE_S = 40.0
"""A guess of how long a model compiles."""


class _Ours:
    """Makes our rows: trials 0 to K - 1 each time, whose first losses must be equal in all rows."""

    def __init__(self, engine: ResidentEngine, adapter: str) -> None:
        self._engine, self._adapter = engine, adapter
        self._first: Tensor | None = None

    def pack(self, trials: int, forward: Forward) -> Callable[[], Step]:
        """A pack of `trials` trials."""

        def make() -> Step:
            states = [self._trial(number) for number in range(trials)]
            return self._checked(trials, Pack(self._engine, states, forward).step)

        return make

    def alone(self) -> Step:
        """Trial 0 alone."""
        return self._checked(1, Alone(self._engine, self._trial(0)).step)

    def _trial(self, number: int) -> Any:
        return trial(self._engine, number, adapter=self._adapter, bf16=True)

    def _checked(self, trials: int, step: Step) -> Step:
        """Take the first steps, and compare their losses with those of the row that had most trials first."""
        self._engine.losses = {number: [] for number in range(trials)}
        step(COMPARED)
        losses = torch.stack([torch.stack(own) for own in self._engine.losses.values()]).double().cpu()
        self._engine.losses = {}
        if self._first is None or len(self._first) < trials:
            self._first = losses
        other = self._first[:trials]
        largest = float(((losses - other).abs() / (1 + other.abs())).nan_to_num(torch.inf).max())
        if largest > SAME:
            raise RuntimeError(
                f"its losses differ by {largest:.1e} from those of our other rows, so it is not timed"
            )
        return step


def _peer(
    build: Callable[[], nn.Module], sizes: Sizes, options: Options, compiled: Compile | None = None
) -> Callable[[], Step]:
    def make() -> Step:
        alone = PlainTrial(build(), sizes, options.device, compiled=compiled)

        def step(times: int) -> int:
            for _ in range(times):
                alone.step()
            return times

        return step

    return make


def _compiled(options: Options, mode: str | None = None) -> Compile:
    return lambda model: torch.compile(model, dynamic=False, backend=options.backend, mode=mode)


def _shared(folder: Path, sizes: Sizes, options: Options, open_: ExitStack) -> Callable[[], Step]:
    def make() -> Step:
        processes = Processes(options.processes, folder, sizes, options.device)
        open_.callback(processes.close)
        processes.wait()
        return processes.step

    return make


EAGER, COMPILED, REDUCED = (
    "eager, one by one (transformers + peft)",
    "compiled, one by one",
    "compiled with CUDA graphs (`reduce-overhead`), one by one",
)


def _against_peers(
    folder: Path, sizes: Sizes, options: Options, build: Callable[[], nn.Module], open_: ExitStack
) -> list[Row]:
    """The rows, in the order in which they are set up."""
    ours = _Ours(ResidentEngine(folder, sizes, options.device), "lora")
    compiled, most = Compiled(options.backend), max(sizes.packs)
    wait_s = 1.0 if options.small else COMPILE_S

    def packed(trials: int, how: str, forward: Forward, needs_s: float = 8.0) -> Row:
        made = ours.pack(trials, forward)
        return Row(f"{PACKED}, K = {trials}{how}", made, trials, needs_s, compiles="compiled" in how)

    def graphs(trials: int) -> list[Row]:
        return [packed(trials, ", CUDA graphs", Graphs())] if options.cuda else []

    share = f"eager, processes that share the device: {options.processes}"
    rows = [Row(EAGER, _peer(build, sizes, options), peer=True)]
    if options.processes:
        shared = _shared(folder, sizes, options, open_)
        rows.append(Row(share, shared, options.processes, 30.0, peer=True, elsewhere=True))
    rows += [packed(most, "", Plain()), *graphs(most), Row("ours, one by one", ours.alone)]
    rows += [row for k in sizes.packs if k != most for row in (packed(k, "", Plain()), *graphs(k))]
    if not options.compiled:
        return rows
    rows += [
        Row(COMPILED, _peer(build, sizes, options, _compiled(options)), 1, wait_s, True, compiles=True),
        packed(most, ", compiled", compiled, wait_s),
    ]
    if options.cuda:
        reduced = _peer(build, sizes, options, _compiled(options, "reduce-overhead"))
        rows.append(packed(most, ", compiled, CUDA graphs", Graphs(of=compiled), 20.0))
        rows.append(Row(REDUCED, reduced, 1, wait_s, True, compiles=True))
    return rows


def segmentation(folder: Path, options: Options, report: Report) -> None:
    """ViT with LoRA and the segmentation head, packed and by its alternatives."""
    sizes = SMALL_VIT if options.small else VIT
    save_vit(folder, sizes)
    _lora(
        _title("LoRA rank 8 on query and value", "ViT-B/16", sizes, options),
        folder,
        sizes,
        options,
        lambda: PlainSegmenter(folder, sizes),
        [(8.0, "eager one by one"), (3.0, "compiled one by one"), (3.0, "processes that share the device")],
        report,
    )


def detection(folder: Path, options: Options, report: Report) -> None:
    """YOLOS with LoRA, packed and by its alternatives."""
    sizes = SMALL_YOLOS if options.small else YOLOS
    save_yolos(folder, sizes)
    _lora(
        _title("LoRA rank 8 on query and value", "YOLOS-Small", sizes, options),
        folder,
        sizes,
        options,
        lambda: plain_detector(folder),
        [(2.0, "eager one by one"), (1.0, "compiled one by one"), (1.0, "processes that share the device")],
        report,
    )


def _title(what: str, model: str, sizes: Sizes, options: Options) -> str:
    height, width = sizes.image
    name = f"tiny {model.split('-')[0]}" if options.small else model
    return f"{name} at {height}×{width}, {what}, {sizes.trials} trials of batch {sizes.batch}, bf16"


def _lora(
    title: str,
    folder: Path,
    sizes: Sizes,
    options: Options,
    build: Callable[[], nn.Module],
    wanted: list[tuple[float, str]],
    report: Report,
) -> None:
    clock = Clock(options.device, options.limit_s, 0.05 if options.small else 0.4)
    clock.say(title)
    with ExitStack() as open_:
        rows = _against_peers(folder, sizes, options, build, open_)
        of = {
            "eager one by one": [EAGER],
            "compiled one by one": [COMPILED, REDUCED],
            "processes that share the device": [row.name for row in rows if "processes" in row.name],
        }
        targets = [(f"packed against {text}", ratio, of[text]) for ratio, text in wanted]
        section = Section(title, rows, EAGER, targets)
        _refuse(rows, _parity(section, clock, folder, sizes, options))
        measure(section, clock, options, report)


def _parity(section: Section, clock: Clock, folder: Path, sizes: Sizes, options: Options) -> dict[str, str]:
    """Why rows whose names hold a text are not timed."""
    if not packable(ResidentEngine(folder, sizes, options.device)):
        section.parity.append("packed rows: not available, this task has no `lane_losses(model, …)` yet")
        return {"": section.parity[-1]}
    refused = {}
    ways: list[tuple[str, Forward]] = [("", Plain())]
    if options.cuda:
        ways.append((", CUDA graphs", Graphs()))
    elif options.compiled:
        ways.append((", compiled", Compiled(options.backend)))
    for how, forward in ways:
        try:
            found = parity.check(folder, sizes, options.device, forward)
            text, holds = f"packed{how}: {found}", found.holds
        except Exception as error:
            text, holds = f"packed{how}: parity could not be checked: {type(error).__name__}: {error}", False
        clock.say(text)
        section.parity.append(text)
        if not holds:
            refused[how] = text
    return refused


def _refuse(rows: list[Row], refused: dict[str, str]) -> None:
    """Refuse packs whose names end with one of these texts; each says why."""
    for row in rows:
        for how, why in refused.items():
            if row.name.startswith(PACKED) and row.name.endswith(how):
                row.why = f"not timed: {why.splitlines()[0][:200]}"


CACHED_EAGER = "eager, the backbone in every step"


def head_only(folder: Path, options: Options, report: Report) -> None:
    """Heads alone, from features of the frozen backbone that are computed once."""
    sizes = SMALL_VIT if options.small else VIT
    save_vit(folder, sizes)
    device = options.device
    backbone = PlainSegmenter(folder, sizes, lora=False).vit.to(device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        tokens = backbone(scaled(random_batches(sizes, 0, device)[0].images)).last_hidden_state[:, 1:].float()
    engine = ResidentEngine(folder, sizes, device)
    over_tokens(engine, tokens)
    ours, from_cache = _Ours(engine, "none"), "eager, one by one, from cached features"

    rows = [
        Row(
            CACHED_EAGER, _peer(lambda: PlainSegmenter(folder, sizes, lora=False), sizes, options), peer=True
        ),
        Row(from_cache, _peer(lambda: PlainHead(folder, sizes, tokens), sizes, options), peer=True),
        Row("ours, one by one, from cached features", ours.alone),
    ]
    for trials in sorted(sizes.packs, reverse=True):
        ways: list[tuple[str, Forward]] = [("", Plain())]
        if options.cuda:
            ways.append((", CUDA graphs", Graphs()))
        rows += [
            Row(f"{PACKED}, K = {trials}{how}, from cached features", ours.pack(trials, forward), trials)
            for how, forward in ways
        ]
    title = _title("head alone", "ViT-B/16", sizes, options)
    targets = [
        ("packed heads against the backbone in every step", 5.0, [CACHED_EAGER]),
        ("packed heads against the same features, one by one", 1.0, [from_cache]),
    ]
    section = Section(title, rows, CACHED_EAGER, targets)
    clock = Clock(device, options.limit_s, 0.05 if options.small else 0.2)
    clock.say(title)
    measure(section, clock, options, report)


SECTIONS: dict[str, Callable[[Path, Options, Report], None]] = {
    "segmentation": segmentation,
    "detection": detection,
    "head_only": head_only,
}
