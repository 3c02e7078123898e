"""The loop of every training: it goes on to the bit, tells in order, and keeps a good checkpoint from a bad loss."""

import math
import os
import signal
import warnings

import pytest
import torch
import torch.nn.functional as F

from msm3d.errors import InputError, Msm3dError
from msm3d.training import ALONE, Descent, DivergedError, Group, Record, Trainer, ahead, processes, scene_at, turns

DATA = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
LABELS = (DATA[:, 0] > 0).long()


def a_head(steps=12, **options):
    """A linear layer that learns with noise drawn from the step's number, and its trainer."""
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 2)
    descent = Descent(head.parameters(), steps=steps, lr=0.1, warmup=0.2)

    def rows(step):
        return torch.randint(64, (16,), generator=torch.Generator().manual_seed(step))

    def learn(step, rows):
        descent.begin(step)
        loss = F.cross_entropy(head(DATA[rows]), LABELS[rows])
        loss.backward()
        descent.end()
        return {"loss": float(loss.detach())}

    state = {"head": head, "optimizer": descent}
    return head, Trainer(learn, state, {"lr": 0.1}, steps=steps, batch=rows, **options)


def test_a_broken_run_goes_on_to_the_bit(tmp_path):
    whole, broken, later = [], [], []
    head, trainer = a_head()
    trainer.run(lambda *told: whole.append(told))

    def stop(*told):
        broken.append(told)
        if told[0] == 7:
            raise KeyboardInterrupt

    path = tmp_path / "head.pt"
    with pytest.raises(KeyboardInterrupt):
        a_head(checkpoint=path, every=3)[1].run(stop)
    again, trainer = a_head(checkpoint=path, every=3)
    assert trainer.resume() == trainer.done == 6
    trainer.run(lambda *told: later.append(told))
    assert broken[:6] + later == whole
    assert torch.equal(again.weight, head.weight)
    done, trainer = a_head(checkpoint=path)
    trainer.run(lambda *told: pytest.fail("nothing is left"))
    assert torch.equal(done.weight, head.weight)
    other = a_head(checkpoint=path)[1]
    other.identity = {"lr": 0.2}
    with pytest.raises(InputError, match=r"is of another run, lr differs; give another name, or delete it\.$"):
        other.run()


def test_a_step_is_seen_before_it_is_saved_and_by_the_first_process_alone(tmp_path, monkeypatch):
    calls, waits, path = [], [], tmp_path / "head.pt"
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waits.append(trainer.done))
    hooks = dict(
        seen=lambda step, outcome: calls.append((step, path.exists())),
        after=lambda step, saved: calls.append((step, saved)),
    )
    a_head(4, checkpoint=path, every=3)[1].run(**hooks)
    assert calls == [(0, False), (0, False), (1, False), (1, False), (2, False), (2, True), (3, True), (3, True)]
    calls.clear()
    trainer = a_head(4, checkpoint=tmp_path / "other.pt", group=Group(1, 2))[1]
    trainer.run(**hooks)
    assert (calls, trainer.done, (tmp_path / "other.pt").exists()) == ([], 4, False)
    assert waits == [4]  # for the first one, which may still write


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(tmp_path, bad):
    trainer = a_head(checkpoint=tmp_path / "head.pt", every=1)[1]
    step = trainer.step
    trainer.step = lambda number, batch: step(number, batch) | ({"loss": bad} if number == 2 else {})
    with pytest.raises(DivergedError) as error:
        trainer.run()
    assert str(error.value) == f"the loss is {bad} at step 2; start again with a lower lr."
    assert torch.load(tmp_path / "head.pt", weights_only=True)["step"] == 2


def test_processes_share_the_scenes_of_one():
    alone = dict(turns(5, 4, "abcdefg", seed=3))
    shared = [dict(turns(5, 4, "abcdefg", 3, Group(rank, 2))) for rank in range(2)]
    assert [list(share) for share in shared] == [[20, 22], [21, 23]]
    assert alone == shared[0] | shared[1] == {turn: "abcdefg"[scene_at(turn, 7, 3)] for turn in range(20, 24)}
    assert ALONE.first
    assert not Group(1, 2).first


def test_weights_without_a_gradient_stay_and_frozen_ones_are_left_alone():
    used, unused, frozen = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    descent = Descent([used, unused, frozen], steps=2, lr=0.5, warmup=0.0)
    assert descent.begin(0) == 0.5
    (3 * used.sum()).backward()
    assert float(descent.end()) == pytest.approx(3 * 2**0.5)
    assert unused.tolist() == frozen.tolist() == [1, 1]
    assert used.max() < 1
    assert frozen.grad is None


def test_parameters_may_have_shares_of_the_rate():
    whole, half, bias, frozen = (torch.nn.Parameter(torch.ones(n)) for n in ((2, 2), (2, 2), 2, 2))
    frozen.requires_grad_(False)
    shares = [1.0, 0.5, 0.5, 1.0]
    descent = Descent([whole, half, bias, frozen], steps=2, lr=0.1, warmup=0.0, weight_decay=0.0, shares=shares)
    assert descent.begin(0) == 0.1
    (whole.sum() + half.sum() + bias.sum()).backward()
    descent.end()
    moved = [float((1 - parameter.detach()).max()) for parameter in (whole, half, bias, frozen)]
    assert moved == pytest.approx([0.1, 0.05, 0.05, 0.0], rel=1e-5)
    again = Descent([whole, half, bias, frozen], steps=2, lr=0.1, shares=shares)
    again.load_state_dict(descent.state_dict())
    again.begin(1)
    assert [group["lr"] for group in again.optimizer.param_groups] == [0.05, 0.05, 0.025, 0.025]
    with pytest.raises(ValueError, match="zip"):
        Descent([whole], steps=1, shares=[1.0, 0.5])


def test_a_line_is_due_early_then_now_and_then_and_at_the_end(tmp_path):
    with Record(tmp_path, 0, 25, every=20) as record:
        due = [step for step in range(25) if record.step(step, 0.5)]
    assert due == [9, 19, 24]
    with Record(tmp_path, 0, 25, every=4) as record:
        assert [step for step in range(9) if record.step(step, 0.5)] == [3, 7]


def test_one_process_trains_where_it_was_told(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for name, expected in (("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")):
        assert Group.join(torch.device(name), 3) == (ALONE, torch.device(expected))


# --- batches made ready by processes ---


def numbered(step):
    warnings.warn("so it is", UserWarning, stacklevel=2)
    return {"step": step, "rows": torch.full((3,), step), "none": torch.zeros(0, 4), "process": os.getpid()}


def test_processes_make_the_batches_of_a_thread_in_order_and_warn_once():
    with pytest.warns(UserWarning, match="so it is") as heard:
        made = list(ahead(numbered, 3, 9, workers=2))
    assert len(heard) == 1
    assert [step for step, _ in made] == [3, 4, 5, 6, 7, 8]
    assert all(torch.equal(batch["rows"], torch.full((3,), step)) and batch["step"] == step for step, batch in made)
    assert made[0][1]["none"].shape == (0, 4)
    assert os.getpid() not in {batch["process"] for _, batch in made}
    assert len({batch["process"] for _, batch in made}) == 2


def refused(step):
    if step == 4:
        raise InputError(f"scan {step} is none.")
    return step


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_in_a_process_fails_as_in_a_thread(workers):
    made = ahead(refused, 3, 9, workers)
    assert next(made) == (3, 3)
    with pytest.raises(InputError, match=r"^scan 4 is none\.$"):
        next(made)


def killed(step):
    if step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return step


def test_a_process_that_the_system_ends_is_said_so():
    with pytest.raises(Msm3dError, match="has ended, likely for lack of memory; lower workers"):
        list(ahead(killed, 3, 9, workers=2))


def test_processes_share_gpus_where_there_are_fewer(monkeypatch):
    started = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, **_: started.append(backend))
    monkeypatch.setattr(processes, "rendezvous", lambda _: [(None, 3, 4)])
    monkeypatch.setattr(processes, "fresh", lambda store, rank, size: store)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr("atexit.register", lambda _: None)
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    for gpus, index in ((1, 0), (2, 1), (4, 3)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        group, device = Group.join(torch.device("cuda"), 8)
        assert (group, device) == (Group(3, 4), torch.device("cuda", index))
    assert started == ["gloo", "gloo", "nccl"]


def test_what_is_on_the_device_already_is_not_made_anew():
    from msm3d._util.devices import moved
    from msm3d.ops import reference
    from msm3d.sparse.hierarchy import Hierarchy

    hierarchy = Hierarchy.of(torch.tensor([0, 1, 9]), 2, reference)
    given = [hierarchy, (hierarchy.grids[0].cells, "name")]
    assert moved(given, torch.device("cpu")) is given
    there = moved(given, torch.device("meta"))
    assert there[0] is not hierarchy
    assert {grid.keys.device.type for grid in there[0].grids} == {"meta"}
    assert (there[1][0].device.type, there[1][1]) == ("meta", "name")
