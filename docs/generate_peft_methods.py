"""Writes docs/reference/peft-methods.md by running every method: `python -m docs.generate_peft_methods`.

It takes about a quarter of an hour. `make test` checks that the page has the installed version, and every
method and argument of it; `make test-exhaustive` runs them all.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import peft
import torch

from docs.peft_trials import STEPS, Outcome, outcome_of
from docs.peft_variants import DEFAULTS, Variant, arguments_of, methods, variants
from trainables.adapters.families.passthrough import method_fault
from trainables.adapters.peft_arguments import PRACTICAL
from trainables.backbones import EMBEDDED
from trainables.specs.workload import Task

FILE = Path(__file__).parent / "reference" / "peft-methods.md"
EXACT = 1e-4
"""The largest change of an output that counts as none, where outputs are of the order of 10."""

INTRODUCTION = """\
<!-- Written by `python -m docs.generate_peft_methods`, which runs every method; do not edit. -->

# PEFT methods

Every method of PEFT {version}, through `adapter: peft`, on the two embedded backbones: a ViT of width 96
(segmentation) and a YOLOS of width 128 (detection), with `targets: [query, mlp]` and `blocks: [1, 2]`. Each
variant was trained for {steps} steps, saved, restored and trained on, exported as an adapter and merged,
and what was exported was loaded again and its outputs compared. [Adapters](../explanation/adapters.md#peft)
says how a method is chosen.

- **works**: it trains, resumes to the bit, and the exported adapter is loaded again with the same outputs.
- **parameters**: weights of the adapter that train.
- **start**: the model's outputs before training are those of the backbone.
- **merges**: into the weights, with `export --merge`; otherwise it is exported as an adapter.
  [ONNX](onnx.md#peft-methods) has either.
- **bf16**: it trains with `precision: bf16`.

"""

Outcomes = Mapping[tuple[str, Task], Outcome]


def page(found: Outcomes) -> str:
    """The whole page. found: outcomes by the variant's name and the task."""
    return "\n".join([_head(), *_methods(found), "", "## Arguments", "", *_arguments(found)]) + "\n"


def _head() -> str:
    return INTRODUCTION.format(version=peft.__version__, steps=STEPS)


def _methods(found: Outcomes) -> Iterator[str]:
    yield "| method | ViT | YOLOS | parameters ViT / YOLOS | start | merges | bf16 | remarks |"
    yield "|---|---|---|---|---|---|---|---|"
    for method in methods():
        if (why := method_fault(method)) is not None:
            yield f"| `{method}` | refused | refused | | | | | {_cell(why)} |"
            continue
        vit, yolos = (found[method, task] for task in (Task.SEGMENTATION, Task.DETECTION))
        remarks = [
            f"`{name}: {value}`, as PEFT's default does not fit the widths"
            for name, value in _instead(method)
        ]
        remarks += [f"bf16: {why}" for why in (vit.bf16,) if why]
        cells = [
            f"`{method}`",
            _works(vit),
            _works(yolos),
            f"{vit.parameters:,} / {yolos.parameters:,}",
            _both(vit, yolos, _starts),
            _both(vit, yolos, lambda outcome: outcome.merge is None),
            _both(vit, yolos, lambda outcome: outcome.bf16 is None),
            _cell("; ".join(remarks)),
        ]
        yield f"| {' | '.join(cells)} |"


def _instead(method: str) -> Iterator[tuple[str, object]]:
    yield from DEFAULTS.get(method, {}).items()


def _arguments(found: Outcomes) -> Iterator[str]:
    yield "Each argument at another value than its default, on both backbones; *with* names other arguments"
    yield "that the value needs. Where it says *works* and no more, the argument changed the outputs."
    by_method: dict[str, list[Variant]] = {}
    for variant in variants():
        by_method.setdefault(variant.method, []).append(variant)
    for method, tried in by_method.items():
        yield f"\n### {method}\n"
        names = arguments_of(method)
        if not names:
            yield "It has no arguments."
            continue
        yield "| argument | value | outcome |"
        yield "|---|---|---|"
        for name in names:
            own = [v for v in tried if v.argument is not None and v.argument.split(".")[0] == name]
            if not own:
                yield f"| `{name}` | | it has one value only |"
            for variant in own:
                outcomes = [found[variant.name, task] for task in (Task.SEGMENTATION, Task.DETECTION)]
                yield f"| `{variant.argument}` | `{_value(variant)}` | {_cell(_outcome(variant, outcomes))} |"


def _value(variant: Variant) -> str:
    return json.dumps(variant.value).replace("|", "\\|")


def _outcome(variant: Variant, outcomes: list[Outcome]) -> str:
    """What came of it; where the backbones differ, both."""
    said = [_said(variant, outcome) for outcome in outcomes]
    others = {k: v for k, v in variant.arguments.items() if not str(variant.argument).startswith(k)}
    others = {k: v for k, v in others.items() if DEFAULTS.get(variant.method, {}).get(k) != v}
    needs = "".join(f"; with `{name}: {value}`" for name, value in others.items())
    text = said[0] if said[0] == said[1] else f"ViT: {said[0]}; YOLOS: {said[1]}"
    return text + ("" if text.startswith("refused") else needs)


def _said(variant: Variant, outcome: Outcome) -> str:
    if outcome.refused is not None:
        return f"refused: {outcome.refused.removeprefix('peft.arguments.')}"
    said = [_works(outcome)]
    if str(variant.argument).split(".")[0] in PRACTICAL:
        said.append("decides what is stored or shown, never results")
    elif outcome.change == 0:
        said.append("no effect")
    said += [] if _starts(outcome) else ["does not start as the backbone"]
    said += ["cannot be merged"] if outcome.merge else []
    said += [f"bf16: {outcome.bf16}"] if outcome.bf16 else []
    return "; ".join(said)


def _works(outcome: Outcome) -> str:
    if outcome.works:
        return "works"
    if outcome.refused is not None:
        return f"refused: {_cell(outcome.refused)}"
    faults = {
        "no weight moves": not outcome.moved,
        "does not repeat": not outcome.repeats,
        "does not resume to the bit": not outcome.resumes,
        f"cannot be exported: {outcome.exports}": outcome.exports is not None,
    }
    return ", ".join(name for name, is_so in faults.items() if is_so)


def _starts(outcome: Outcome) -> bool:
    return outcome.at_start <= EXACT and not math.isnan(outcome.at_start)


def _both(vit: Outcome, yolos: Outcome, holds: Callable[[Outcome], bool]) -> str:
    one, other = (("yes" if holds(o) else "no") if o.refused is None else "" for o in (vit, yolos))
    return one if one == other else f"{one} / {other}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def measure() -> Outcomes:
    """Run everything, with a line for each on standard error."""
    torch.set_num_threads(1)
    found: dict[tuple[str, Task], Outcome] = {}
    for variant in variants():
        for task in EMBEDDED:
            found[variant.name, task] = outcome_of(task, variant)
        print(variant.name, file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ADAPTERTUNE_CACHE"] = cache
        FILE.write_text(page(measure()), encoding="utf-8")
