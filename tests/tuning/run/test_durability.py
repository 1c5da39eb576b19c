"""`durability: disk` through a sweep: each line of its record, and the jobs of its trials."""

from __future__ import annotations

import errno
import os
from collections import Counter
from pathlib import Path

import pytest
from marks import slow
from recorded import LORA, Told, write
from scripted import Scripted, Sweeps
from scripted_pack import FakeTune

from trainables.errors import StorageError
from trainables.specs.job import TrialJob
from trainables.specs.pack import PackJob
from tuning.ledger.ledger import LEDGER, Ledger, read_history
from tuning.ledger.records import ResumedRecord
from tuning.run.composition import Composition
from tuning.run.proposed_jobs import Configure, ConfigurePacks
from tuning.run.resume import resume_experiment
from tuning.search.proposal import Proposal


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of this process was synchronised, by its name."""
    found: Counter[str] = Counter()
    sync = os.fsync

    def count(descriptor: int) -> None:
        sync(descriptor)
        found[Path(os.readlink(f"/proc/self/fd/{descriptor}")).name] += 1

    monkeypatch.setattr(os, "fsync", count)
    return found


@pytest.mark.usefixtures("ray_once")
@pytest.mark.parametrize("durability", [slow("os"), "disk"])
def test_each_line_of_the_record_is_on_the_disk_also_of_a_resumed_sweep(
    sweep: Sweeps, synced: Counter[str], durability: str
) -> None:
    folder = sweep(search={"trials": 1}, trial={"epochs": 2}, durability=durability).folder
    resume_experiment(folder, trials=2, trainable=Scripted, prepare=lambda _: sweep.prepared)
    lines = len((folder / LEDGER).read_bytes().splitlines())
    assert len(read_history(folder).trials) == 2
    assert synced[LEDGER] == (lines if durability == "disk" else 0)
    assert synced[folder.name] == (durability == "disk")  # the name of the record


def test_a_line_that_the_disk_did_not_take_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "digits", (Told(LORA, (0.4,)),))
    before = (folder / LEDGER).read_bytes()

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(folder) as ledger:
        ledger.durable = True
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(StorageError, match="Input/output error"):
            ledger.append(ResumedRecord())
    assert (folder / LEDGER).read_bytes() == before


@pytest.mark.parametrize("asked", ["os", "disk", None])
def test_the_jobs_of_trials_and_packs_say_so(tmp_path: Path, asked: str | None) -> None:
    tune = FakeTune(tmp_path / "sweep", **({} if asked is None else {"durability": asked}))
    of = Composition(tune.experiment, tune.folder, tune.recorder)
    proposal = tune.study.propose()
    assert isinstance(proposal, Proposal)
    tune.recorder.record(proposal.started())
    alone: TrialJob = Configure(of, tmp_path)(proposal)["job"]
    packs = ConfigurePacks(of, tmp_path, 2)
    pack: PackJob = packs.pack(0, tmp_path / "orders")["job"]
    member = pack.job_of(packs.trial(proposal, None))
    assert [job.durable for job in (alone, pack, member)] == [asked == "disk"] * 3
