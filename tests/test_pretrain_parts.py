"""The parts of the objective, each against a plain computation or a law that a wrong one breaks."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
import torch

from msm3d import training
from msm3d.backbones import build
from msm3d.backbones.hunet.config import BackboneConfig
from msm3d.errors import FileError, InputError
from msm3d.ops import reference
from msm3d.pretrain import CollapseError, PretrainConfig, named
from msm3d.pretrain.monitor import PATIENCE, Monitor, effective_rank, spread
from msm3d.pretrain.networks import Student, Teacher
from msm3d.pretrain.objective import _middles, loss, prepare
from msm3d.pretrain.targets import Moments, assignments, disagreement, distance, placeless
from msm3d.pretrain.views import Counterparts, Masked, crop, mask, view_of
from msm3d.scan.augment import Augmentation
from msm3d.scan.cloud import PointCloud
from tests.conftest import make_scene

CPU = torch.device("cpu")
STILL = Augmentation(scale=0, jitter=0, brightness=0, tint=0, shade=0, noise=0)


@pytest.fixture
def cloud():
    return PointCloud.of(make_scene(0, 400))


@pytest.fixture
def tiny(config):
    """A run on the smallest network with attention, three levels and every term of the loss."""
    backbone = replace(config, conv_blocks=(1, 1, 1), attention_blocks=(0, 0, 1), voxel_size=0.1, layer_scale=1.0)
    return PretrainConfig(
        backbone=backbone, crop=0.7, visible=0.5, prototypes=8, target="centred", batch=1, steps=10, apart=0.5
    )


def view(cloud, seed=0, strength=STILL, levels=3):
    flat = (1,) * levels
    shape = BackboneConfig(
        channels=flat,
        decoder_channels=flat,
        conv_blocks=flat,
        attention_blocks=(0,) * levels,
        heads=flat,
        voxel_size=0.1,
    )
    return view_of(cloud, strength, shape, reference, torch.Generator().manual_seed(seed))


def networks(config, seed=0):
    torch.manual_seed(seed)
    student = Student(
        config.backbone,
        config.predictor,
        config.prototypes,
        config.classes if config.labels else 0,
        config.instances > 0,
    )
    return student, Teacher(student, config.backbone, config.prototypes), Moments(config.backbone.widths)


# --- configuration ---


def test_the_defaults_are_the_papers():
    config = named("scannet")
    assert (config.batch, config.lr, config.weight_decay, config.mask) == (12, 1.5e-3, 0.05, 0.4)
    assert (config.momentum, config.view, config.warmup * 1800) == ((0.996, 1.0), 240_000, 60)
    assert config.backbone.descriptor_channels == 928


def test_settings_change_by_name():
    config = named("rooms", ["mask=0.6", "ramp=0,0", "backbone.heads=0,0,4,4", "augmentation.lean=0.2", "view=none"])
    assert (config.mask, config.ramp, config.backbone.heads, config.view) == (0.6, (0.0, 0.0), (0, 0, 4, 4), None)
    assert config.augmentation.lean == 0.2
    assert named("rooms", ["cross_view=false"]).cross_view is False
    assert PretrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("room", None, r"^unknown configuration 'room'; choose one of rooms, scannet\.$"),
        ("rooms", "xyz=1", r"^unknown setting 'xyz'; settings: backbone, view, .*seed\.$"),
        (
            "rooms",
            "backbone.chanels=1",
            r"^unknown setting 'backbone\.chanels'; did you mean 'backbone\.channels'\? Settings: .*channels, .*\.$",
        ),
        ("rooms", "step=1", r"^unknown setting 'step'; did you mean 'steps'\? Settings: backbone, .*seed\.$"),
        ("rooms", "mask", r"^'mask' has no value; give NAME=VALUE, such as mask=0\.6\.$"),
        ("rooms", "view.mask=1", r"^unknown setting 'view\.mask'; settings: backbone, "),
        ("rooms", "mask=much", r"^'mask=much' cannot be read; give a value such as 0\.4\.$"),
        ("rooms", "mask=1", r"^mask is 1\.0; it must be within 0 to 1, below 1\.$"),
        ("rooms", "steps=0", r"^steps is 0; it must be at least 1\.$"),
        ("rooms", "ramp=0.5,0.2", r"^ramp is \(0\.5, 0\.2\); give \(start, end\) with start <= end\.$"),
        ("rooms", "target=raw", r"^target is 'raw'; it must be one of layernorm, centred\.$"),
        ("rooms", "backbone.heads=0,0,7,10", r"^channels\[2\] is 128 and heads\[2\] is 7; "),
    ],
)
def test_settings_that_are_none_say_what_is_needed(name, change, sentence):
    with pytest.raises(InputError, match=sentence):
        named(name, None if change is None else [change])


def test_the_mask_ramps_up():
    config = PretrainConfig(ramp=(0.2, 0.6), mask=0.4, steps=100)
    assert [round(config.hidden_share(step), 6) for step in (0, 20, 40, 60, 99)] == [0, 0, 0.2, 0.4, 0.4]
    assert PretrainConfig(mask=0.4).hidden_share(0) == 0.4
    assert replace(config, masking="none").hidden_share(99) == 0


# --- views ---


def test_two_views_without_any_change_have_each_other_as_counterparts(cloud):
    one = view(cloud)
    linked = Counterparts.of(one.points, one.ancestors, one)
    for level in range(3):
        features = torch.randn(len(one.hierarchy.grids[level]), 5)
        torch.testing.assert_close(linked.mean(level, features, len(features)), features)


def test_a_counterpart_is_the_mean_over_the_points_of_the_cell(cloud):
    one, two = view(cloud, 1, Augmentation()), view(cloud, 2, Augmentation())
    linked = Counterparts.of(one.points, one.ancestors, two)
    level = 1
    features = torch.randn(len(two.hierarchy.grids[level]), 4)
    found = linked.mean(level, features, len(one.hierarchy.grids[level]))
    for cell in range(0, len(found), 7):
        rows = []
        for voxel in range(len(one.features)):
            if one.ancestors[level][voxel] == cell:
                point = int((one.owner == voxel).nonzero()[0])
                rows.append(features[two.ancestors[level][two.owner[point]]])
        torch.testing.assert_close(found[cell], torch.stack(rows).mean(0))


def test_every_voxel_speaks_through_a_point_in_it(cloud):
    one = view(cloud, 3, Augmentation(lean=pi / 64))
    assert torch.equal(one.owner[one.points], torch.arange(len(one.features)))


# --- crops and masks ---


def test_a_crop_is_whole_coarsest_cells_around_its_middle(cloud):
    one = view(cloud)
    kept = crop(one, 17, 0.5, None, torch.Generator().manual_seed(0))
    cells = one.ancestors[-1]
    assert all(len(torch.unique(kept[cells == cell])) == 1 for cell in torch.unique(cells))
    assert 0.3 < kept.double().mean() <= 0.5
    assert kept[one.owner[17]]
    place = one.hierarchy.grids[-1].cells[:, 1:3].double()
    far = (place - place[cells[one.owner[17]]]).square().sum(1)
    assert far[cells[kept]].max() <= far[cells[~kept]].min()
    assert crop(one, 17, 0.5, 40, torch.Generator().manual_seed(0)).sum() <= 40


def test_bottom_up_masks_cover_the_same_places_at_every_level(cloud):
    one = view(cloud)
    whole = torch.ones(len(one.features), dtype=torch.bool)
    hidden = mask(one.hierarchy, 0.4, "bottom-up", torch.Generator().manual_seed(0))
    masked = Masked.of(one, whole, hidden)
    assert round(0.4 * len(one.hierarchy.grids[-1])) == int(masked.hidden(2).sum())
    for level in range(3):
        assert torch.equal(masked.hidden(level)[one.ancestors[level]], hidden)


def test_top_down_masks_leave_coarse_cells_half_visible(cloud):
    one = view(cloud)
    hidden = mask(one.hierarchy, 0.4, "top-down", torch.Generator().manual_seed(0))
    masked = Masked.of(one, torch.ones(len(one.features), dtype=torch.bool), hidden)
    assert int(hidden.sum()) == round(0.4 * len(hidden))
    assert masked.hidden(2).double().mean() < 0.1


@pytest.mark.parametrize(("ratio", "masking"), [(0.4, "none"), (0.0, "bottom-up")])
def test_nothing_is_hidden_where_nothing_is_asked(cloud, ratio, masking):
    assert not mask(view(cloud).hierarchy, ratio, masking, torch.Generator().manual_seed(0)).any()


def test_one_cell_stays_visible(cloud):
    hidden = mask(view(cloud, levels=6).hierarchy, 0.99, "bottom-up", torch.Generator().manual_seed(0))
    assert not hidden.all()


def test_the_crops_overlap_and_differ(cloud):
    for seed in range(5):
        one, two = _middles(cloud, 0.5, torch.Generator().manual_seed(seed))
        assert np.linalg.norm(cloud.coord[one, :2] - cloud.coord[two, :2]) <= 0.5


# --- the objective ---


def outcome(cloud, config, share=0.4, seed=0, **changes):
    student, teacher, moments = networks(config)
    student.train()
    sample = prepare(cloud, config, share, reference, torch.Generator().manual_seed(seed))
    for name, change in changes.items():
        change({"student": student, "teacher": teacher, "sample": sample}[name])
    noise = torch.Generator().manual_seed(1)
    return loss(sample, student, teacher, moments, config, reference, noise), student, teacher, sample


def test_the_student_learns_and_the_teacher_does_not(cloud, tiny):
    result, student, teacher, _ = outcome(cloud, tiny)
    result.loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters()), "all of it is used"
    assert all(p.grad is None for p in teacher.parameters())
    assert float(result.loss.detach()) == pytest.approx(np.mean(result.per_level), rel=1e-5)


def test_a_label_beyond_the_classes_is_refused(cloud, tiny):
    labelled = replace(cloud, segment=np.full(len(cloud), 20))
    with pytest.raises(InputError, match=r"a scan has the label 20, and classes is 20, .* give classes=21, or -1"):
        prepare(labelled, replace(tiny, labels=1.0), 0.4, reference, torch.Generator())


def test_what_is_hidden_is_not_seen(cloud, tiny):
    """Colours of hidden voxels change nothing that the student says, and those of visible ones do."""

    def repaint(sample, hidden):
        for view, masked in zip(sample.views, sample.masked, strict=True):
            view.features[masked.rows[0][masked.hidden(0) == hidden]] += 1.0

    said = {}
    for where in ("nowhere", "hidden", "visible"):
        student, _, _ = networks(tiny)
        sample = prepare(cloud, tiny, 0.4, reference, torch.Generator().manual_seed(0))
        if where != "nowhere":
            repaint(sample, where == "hidden")
        view, masked = sample.views[0], sample.masked[0]
        x = view.features[masked.rows[0][masked.seen[0]]]
        said[where] = student.eval().backbone(x, masked, reference, None)
    for level in range(3):
        assert torch.equal(said["nowhere"][level], said["hidden"][level])
        assert not torch.equal(said["nowhere"][level], said["visible"][level])


def test_tokens_matter_only_where_something_is_hidden(cloud, tiny):
    for share, used in ((0.4, True), (0.0, False)):
        result, student, _, _ = outcome(cloud, tiny, share)
        result.loss.backward()
        grads = [token.grad for token in student.backbone.tokens]
        assert all((g is not None and bool(g.any())) == used for g in grads)


def test_targets_come_from_the_other_view(cloud, tiny):
    """Painting the second view over, the first student's targets change; those from its own view do not."""

    def targets(cross_view, painted):
        config = replace(tiny, cross_view=cross_view, prototypes=0, visible=0.0)
        student, teacher, moments = networks(config)
        sample = prepare(cloud, config, 0.4, reference, torch.Generator().manual_seed(0))
        if painted:
            sample.views[1].features[:, :3] *= -1
        seen = {}
        mean = Counterparts.mean

        def spied(self, level, features, cells):
            if self is sample.counterparts[0]:
                seen[level] = mean(self, level, features, cells)
            return mean(self, level, features, cells)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Counterparts, "mean", spied)
            loss(sample, student.train(), teacher, moments, config, reference, torch.Generator().manual_seed(1))
        return seen[2]

    assert not torch.equal(targets(True, False), targets(True, True))
    assert torch.equal(targets(False, False), targets(False, True))


def test_levels_can_be_left_without_a_loss(cloud, tiny):
    result, student, _, _ = outcome(cloud, replace(tiny, levels="finest"))
    result.loss.backward()
    assert len(result.per_level) == 1
    assert student.predictor[0][0].weight.grad is not None
    assert student.predictor[1][0].weight.grad is None


def test_a_level_where_nothing_is_hidden_has_no_loss_of_its_own(cloud, tiny):
    """Masks drawn at the finest level hide hardly any coarse cell whole; without a mask every voxel counts."""
    config = replace(tiny, masking="top-down", mask=0.3, visible=0.0)
    assert outcome(cloud, config, share=0.3)[0].per_level[2] == 0
    assert min(outcome(cloud, config, share=0.0)[0].per_level) > 0


def test_a_perfect_student_has_no_loss(cloud, tiny):
    """Without changes, masks and dropout the features are the teacher's; an identity for a head leaves nothing."""
    backbone = replace(tiny.backbone, drop_path=0.0, attention_dropout=0.0, curves=("xyz-z",))
    config = replace(
        tiny,
        backbone=backbone,
        augmentation=STILL,
        crop=1.0,
        prototypes=0,
        visible=0.0,
        target="layernorm",
        cross_view=False,
    )

    class Same(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.layer_norm(x, x.shape[1:])

    def identity(student):
        student.predictor = torch.nn.ModuleList([Same()] * 3)

    result, *_ = outcome(cloud, config, share=0.0, student=identity)
    assert abs(float(result.loss.detach())) < 1e-5


def test_labels_teach_a_classifier_and_scenes_without_any_do_not(cloud, tiny):
    config = replace(tiny, labels=0.5, classes=3)
    for segment in (None, np.full(len(cloud), -1), np.repeat([0, 1, 2], 400)):
        result, student, _, _ = outcome(replace(cloud, segment=segment), config)
        result.loss.backward()
        known = segment is not None and segment.max() >= 0
        assert (result.labelled > 0) == known
        assert float(result.loss.detach()) == pytest.approx(np.mean(result.per_level) + 0.5 * result.labelled, rel=1e-5)
        grads = [direction.grad for direction in student.classifiers]
        assert all((grad is not None and bool(grad.any())) == known for grad in grads)


def test_objects_are_told_apart_where_a_scene_has_any(cloud, tiny):
    """Alone it would be 0: with one object there is nothing to tell."""
    config, found = replace(tiny, instances=0.5), []
    for instance in (None, np.zeros(len(cloud), int), np.repeat([7, 3, -1], 400)):
        result, student, _, _ = outcome(replace(cloud, instance=instance), config)
        result.loss.backward()
        found.append(result.objects)
        assert float(result.loss.detach()) == pytest.approx(np.mean(result.per_level) + 0.5 * result.objects, rel=1e-5)
        grads = [weight.grad for weight in student.objects.parameters()]
        assert any(grad is not None and bool(grad.any()) for grad in grads) == (result.objects > 0)
    assert found[0] == 0
    assert abs(found[1]) < 1e-5
    assert found[2] > 0.05


def test_labels_count_as_they_are_mixed_in_a_cell(cloud, tiny):
    """With features that point where the classes do, the loss is that of the best guess; with others it is larger."""
    config = replace(tiny, labels=1.0, classes=3)
    segment, losses = np.repeat([0, 1, 2], 400), []
    for seed in (0, 1):
        mixed = replace(cloud, segment=np.random.default_rng(seed).permutation(segment) if seed else segment)
        student, teacher, moments = networks(config)
        optimizer = torch.optim.Adam(student.parameters(), 1e-2)
        for step in range(12):
            sample = prepare(mixed, config, 0.0, reference, torch.Generator().manual_seed(step))
            result = loss(sample, student.train(), teacher, moments, config, reference, torch.Generator())
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
        losses.append(result.labelled)
    assert losses[0] < 0.8 * losses[1], losses


def test_targets_without_place_do_not_say_it():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 30, (2000, 3), generator=generator)
    noise = torch.randn(2000, 4, generator=generator)
    place = cells.float()
    features = torch.stack([place[:, 2] ** 2, place[:, 0] * place[:, 1], place.sum(1), place[:, 2] ** 3 / 30], 1)
    features = (features - features.mean(0)) / features.std(0) * 3
    left = placeless(features + noise, cells)
    assert left.var() < 1.1
    for axis in range(3):
        assert abs(np.corrcoef(place[:, axis], left[:, 0])[0, 1]) < 0.05
    assert np.corrcoef(noise[:, 0], left[:, 0])[0, 1] > 0.98


def test_the_loss_can_take_targets_without_place(cloud, tiny):
    values = [float(outcome(cloud, replace(tiny, placeless=p))[0].loss.detach()) for p in (False, True)]
    assert values[0] != values[1]


def test_bf16_is_near_fp32(cloud, tiny):
    losses = [float(outcome(cloud, replace(tiny, precision=p))[0].loss.detach()) for p in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_the_teacher_follows(tiny):
    student, teacher, _ = networks(tiny)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    before = teacher.unet.bottleneck.scale.clone()
    teacher.follow(student, 0.75)
    torch.testing.assert_close(teacher.unet.bottleneck.scale, before + 0.25)


# --- targets ---


def test_running_moments_standardize(rng):
    moments = Moments((3,))
    features = torch.randn(500, 3, generator=rng) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 3.0, -2.0])
    assert torch.equal(moments.standardized(0, features), features), "the first step has nothing to go by"
    for _ in range(3):
        moments.update(Moments.of([features]))
    done = moments.standardized(0, features)
    torch.testing.assert_close(done.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(done.std(0), torch.ones(3), atol=2e-2, rtol=0)


def test_assignments_fill_clusters_evenly(rng):
    scores = torch.randn(300, 6, generator=rng) * 0.1 + torch.tensor([0.5, 0, 0, 0, 0, 0])
    q = assignments(scores, 0.05, rounds=20)
    torch.testing.assert_close(q.sum(1), torch.ones(300))
    torch.testing.assert_close(q.sum(0), torch.full((6,), 50.0), rtol=0.02, atol=0)
    greedy = (scores / 0.05).softmax(1)
    assert greedy.sum(0)[0] > 2 * greedy.sum(0)[1], "without the rounds they would not be"


def test_the_losses_are_least_where_they_should_be(rng):
    x = torch.randn(20, 5, generator=rng)
    assert float(distance(x, 3 * x)) == pytest.approx(0, abs=1e-6)
    assert float(distance(x, -x)) == pytest.approx(2, abs=1e-6)
    q = torch.eye(4)
    assert float(disagreement(10 * q, q, 0.1)) < 1e-6 < float(disagreement(-10 * q, q, 0.1))


# --- monitors ---


def test_ranks_count_directions(rng):
    basis = torch.randn(3, 40, generator=rng)
    flat = torch.randn(500, 3, generator=rng) @ basis
    assert 2 < effective_rank(flat + 7.0) < 3.01
    assert effective_rank(torch.randn(2000, 40, generator=rng)) > 35
    assert spread(torch.ones(10, 4) + 1e-6) < 1e-3 < 0.5 < spread(torch.randn(500, 16, generator=rng))


def test_a_dead_run_stops_with_a_sentence(rng):
    monitor, dead, alive = Monitor(), torch.ones(50, 8), torch.randn(50, 8, generator=rng)
    for step in range(PATIENCE - 1):
        monitor.look(step, [alive, dead])
    monitor.look(PATIENCE, [alive, alive])  # it recovers
    for step in range(PATIENCE - 1):
        monitor.look(step, [alive, dead])
    sentence = r"^the features of level 1 have collapsed at step 9: effective rank .*; start again with a lower lr, "
    with pytest.raises(CollapseError, match=sentence):
        monitor.look(9, [alive, dead])


@pytest.mark.parametrize("number", [1, 3_000_000])
def test_a_checkpoint_on_a_full_disk_is_one_sentence_and_the_old_one_stays(full_disk, number):
    path = full_disk / "checkpoint.pt"
    training.save(path, {}, 1, {"a": torch.ones(1)})
    before = path.read_bytes()
    if number == 1:
        (full_disk / "filler").write_bytes(bytes(3 * 2**20 - 4096 * 5))
    with pytest.raises(FileError) as caught:
        training.save(path, {}, 2, {"a": torch.ones(number), "b": [torch.ones(500) for _ in range(20)]})
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device); make room, or give another folder."
    )
    assert path.read_bytes() == before
    assert [file.name for file in full_disk.iterdir() if file.name != "filler"] == ["checkpoint.pt"]


def test_checkpoints_name_the_network_as_they_always_did(tiny):
    student, teacher, _ = networks(tiny)
    network = {f"unet.{name}" for name in build(tiny.backbone).state_dict()}
    assert network < set(teacher.state_dict())
    tokens = {f"backbone.tokens.{level}" for level in range(3)}
    names = {name for name in student.state_dict() if name.startswith("backbone.")}
    assert names == tokens | {f"backbone.{name}" for name in network}
    assert [tuple(token.shape) for token in student.backbone.tokens] == [(16,), (24,), (32,)]
