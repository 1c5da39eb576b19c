"""The three comparisons of the GPU benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.on_gpu import parity
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
from benchmarks.on_gpu.rows import Clock, Row, Step, table
from trainables.packing.forwards import Compiled, Forward, Graphs, Plain

SAME = 0.02
"""The largest difference of the first losses of two of our rows in bf16, relative to 1 + the loss."""
COMPARED = 3
"""The number of those losses."""
COMPILE_S = 90.0
"""A guess of how long a model compiles."""


@dataclass(frozen=True)
class Options:
    """How the benchmark runs.

    turns: how often each row is timed.  limit_s: of one section.  processes: that share the device.
    """

    device: torch.device
    small: bool = False
    turns: int = 5
    limit_s: float = 240.0
    processes: int = 4

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of NVIDIA."""
        return self.device.type == "cuda"

    @property
    def backend(self) -> str:
        """What `torch.compile` uses: for small models on a CPU, nothing that takes long."""
        return "aot_eager" if self.small else "inductor"


@dataclass
class Section:
    """A comparison: its rows, and what it says of them.

    targets: (text, ratio wanted, the rows that it is to).
    """

    name: str
    rows: list[Row]
    eager: str
    targets: list[tuple[str, float, list[str]]]
    parity: list[str] = field(default_factory=list)

    def median(self, name: str) -> float | None:
        """A row's time."""
        return next((row.median for row in self.rows if row.name == name), None)

    @property
    def best(self) -> Row | None:
        """The fastest of our packs."""
        timed = [row for row in self.rows if not row.peer and row.median is not None]
        return min(timed, key=lambda row: row.median or 0.0, default=None)

    def verdicts(self) -> Iterator[str]:
        """Each target with what was reached."""
        best = self.best
        for text, wanted, names in self.targets:
            others = [ms for name in names if (ms := self.median(name)) is not None]
            if best is None or best.median is None or not others:
                yield f"{text}: wanted {wanted:.1f}×, not measured"
            else:
                ratio = min(others) / best.median
                verdict = "reached" if ratio >= wanted else "MISSED"
                yield f"{text}: wanted {wanted:.1f}×, found {ratio:.2f}×, {verdict} (ours: {best.name})"

    def as_json(self) -> dict[str, Any]:
        """All of it, for the file of results."""
        reference = self.median(self.eager)
        rows = [row.as_json(reference) for row in self.rows]
        return {"parity": self.parity, "rows": rows, "targets": list(self.verdicts())}

    def __str__(self) -> str:
        return "\n".join(
            [f"\n### {self.name}", *self.parity, table(self.rows, self.median(self.eager)), *self.verdicts()]
        )


Report = Callable[[Section], None]
"""Keeps what a section has found so far."""


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
) -> tuple[list[Row], list[Row]]:
    """Rows that are set up first, in order of what they tell, and those that wait."""
    ours = _Ours(ResidentEngine(folder, sizes, options.device), "lora")
    compiled, most = Compiled(options.backend), max(sizes.packs)
    wait_s = 1.0 if options.small else COMPILE_S

    def packed(trials: int, how: str, forward: Forward, needs_s: float = 8.0) -> Row:
        return Row(f"packed, K = {trials}{how}", ours.pack(trials, forward), trials, needs_s)

    def graphs(trials: int) -> list[Row]:
        return [packed(trials, ", CUDA graphs", Graphs())] if options.cuda else []

    share = f"eager, processes that share the device: {options.processes}"
    rows = [Row(EAGER, _peer(build, sizes, options), peer=True)]
    if options.processes:
        rows.append(Row(share, _shared(folder, sizes, options, open_), options.processes, 30.0, peer=True))
    rows += [
        packed(most, "", Plain()),
        *graphs(most),
        Row("ours, one by one", ours.alone),
        Row(COMPILED, _peer(build, sizes, options, _compiled(options)), 1, wait_s, peer=True),
        packed(most, ", compiled", compiled, wait_s),
    ]
    later = [row for k in sizes.packs if k != most for row in (packed(k, "", Plain()), *graphs(k))]
    if options.cuda:
        reduced = _peer(build, sizes, options, _compiled(options, "reduce-overhead"))
        later.append(Row(REDUCED, reduced, 1, wait_s, peer=True))
        later.append(packed(most, ", compiled, CUDA graphs", Graphs(of=compiled), 20.0))
    return rows, later


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
        rows, later = _against_peers(folder, sizes, options, build, open_)
        every = rows + later
        of = {
            "eager one by one": [EAGER],
            "compiled one by one": [COMPILED, REDUCED],
            "processes that share the device": [row.name for row in rows if "processes" in row.name],
        }
        targets = [(f"packed against {text}", ratio, of[text]) for ratio, text in wanted]
        section = Section(title, every, EAGER, targets)
        _refuse(every, "packed", _parity(section, clock, folder, sizes, options))
        _measure(section, clock, options, report)


def _parity(section: Section, clock: Clock, folder: Path, sizes: Sizes, options: Options) -> dict[str, str]:
    """Why rows whose names hold a text are not timed."""
    if not packable(ResidentEngine(folder, sizes, options.device)):
        section.parity.append("packed rows: not available, this task has no `lane_losses(model, …)` yet")
        return {"": section.parity[-1]}
    refused = {}
    ways: list[tuple[str, Forward]] = [("", Plain())]
    if options.cuda:
        ways.append((", CUDA graphs", Graphs()))
    elif options.small:
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


def _refuse(rows: list[Row], prefix: str, refused: dict[str, str]) -> None:
    for row in rows:
        for how, why in refused.items():
            if row.name.startswith(prefix) and row.name.endswith(how):
                row.why = f"not timed: {why.splitlines()[0][:200]}"


def _measure(section: Section, clock: Clock, options: Options, report: Report) -> None:
    """Set the rows up, time them in turns, and report after each."""
    turns_s = options.turns * len(section.rows) * (0.1 if options.small else 0.6)
    for row in section.rows:
        if row.why is None:
            clock.set_up(row, turns_s)
            report(section)
    for number in range(options.turns):
        if clock.left_s < turns_s / options.turns and number:
            clock.say(f"{number} turns instead of {options.turns}: no time left")
            break
        # Every other turn backwards, so that what a row leaves behind does not always meet the same one.
        for row in section.rows if number % 2 == 0 else section.rows[::-1]:
            clock.turn(row)
        report(section)
        clock.say(f"turn {number + 1} of {options.turns}")
    print(section, flush=True)


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
            Row(f"packed, K = {trials}{how}, from cached features", ours.pack(trials, forward), trials)
            for how, forward in ways
        ]
    title = _title("head alone", "ViT-B/16", sizes, options)
    targets = [
        ("packed heads against the backbone in every step", 5.0, [CACHED_EAGER]),
        ("packed heads against the same features, one by one", 1.0, [from_cache]),
    ]
    section = Section(title, rows, CACHED_EAGER, targets)
    clock = Clock(device, options.limit_s, 0.05 if options.small else 0.4)
    clock.say(title)
    _measure(section, clock, options, report)


SECTIONS: dict[str, Callable[[Path, Options, Report], None]] = {
    "segmentation": segmentation,
    "detection": detection,
    "head_only": head_only,
}
