"""What torch lets a caller do to tensors and models: everything works with the right numbers or is one sentence."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.testing import assert_close

import msm3d
from msm3d.errors import BackendError, InputError
from msm3d.ops import native, reference
from tests.conftest import make_scene
from tests.test_native import random_table

pytestmark = pytest.mark.skipif(
    native.why_not(torch.device("cpu")) is not None, reason=str(native.why_not(torch.device("cpu")))
)


RNG = torch.Generator().manual_seed(1)
TABLE = random_table(RNG, 40, 40, 4)
CORNERS = torch.randint(-1, 40, (30, 8), generator=RNG, dtype=torch.int32)
SHARES = torch.rand(30, 8, generator=RNG)


def sized(ops, x, weight):
    """Each operation of a network on rows `x` and a weight, of which what follows a product is cut, too."""
    row = weight[0, 0]
    return {
        "conv": lambda: ops.conv(x, weight, TABLE, row, activation="gelu", norm=("layernorm", row, row), residual=x),
        "conv alone": lambda: ops.conv(x, weight, TABLE),
        "linear": lambda: ops.linear(x, weight[0], row, pre_norm=("rmsnorm", row, None), activation="geglu"),
        "normalize": lambda: ops.normalize(x, ("rmsnorm", row, None)),
        "attend": lambda: ops.attend(x.view(40, 3, 2, 4), (0, 25, 40), 6),
        "blend": lambda: ops.blend([x, x], [CORNERS, CORNERS], [SHARES, SHARES]),
    }


OPERATIONS = list(sized(reference, torch.zeros(40, 24), torch.zeros(4, 24, 24)))


def loss(ops, name, x, weight):
    return sized(ops, x, weight)[name]().square().sum()


@pytest.fixture
def leaves(rng):
    return torch.randn(40, 24, generator=rng), torch.randn(4, 24, 24, generator=rng) / 5


# --- tensors that are not what they seem ----------------------------------------------------------------------------

LAZY = {
    "a negation": torch._neg_view,
    "the imaginary part of a conjugate": lambda t: torch.complex(torch.zeros_like(t), t).conj().imag,
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("lazy", LAZY.values(), ids=LAZY)
def test_what_torch_has_put_off_is_done_first(leaves, name, lazy):
    x, weight = map(lazy, leaves)
    assert x.is_neg()
    ours = sized(native, x, weight)[name]()
    assert_close(ours, sized(reference, x.resolve_neg(), weight.resolve_neg())[name](), rtol=1e-4, atol=1e-4)


def test_lazy_columns_and_scales_are_read_right(rng):
    keys, column = torch.randint(0, 9, (50,), generator=rng), torch._neg_view(torch.rand(50, generator=rng))
    for a, b in zip(native.group(keys, [column]), reference.group(keys, [column]), strict=True):
        assert torch.equal(a, b)


def test_a_model_with_a_lazy_parameter_extracts_as_with_a_plain_one(config, scene):
    plain = msm3d.Model(config, backend="native").eval().requires_grad_(False)
    lazy = copy.deepcopy(plain)
    for parameter in lazy.parameters():
        parameter.data = torch._neg_view(-parameter.data)
    assert np.array_equal(lazy.extract(scene), plain.extract(scene))


def test_zero_tensors_are_zeros(leaves):
    x, weight = leaves
    zero = torch._efficientzerotensor(24)
    assert torch.equal(native.linear(x, weight[0], zero), native.linear(x, weight[0]))
    assert not native.linear(x, torch._efficientzerotensor((24, 24))).any()
    assert not native.conv(x, torch._efficientzerotensor((4, 24, 24)), TABLE).any()


def fake(*shape):
    with FakeTensorMode():
        return torch.ones(shape)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x, w: native.linear(fake(40, 24), w), "x has no values in memory"),
        (lambda x, w: native.linear(x, fake(24, 24)), "weight has no values in memory"),
        (lambda x, w: native.linear(x, w, fake(24)), "parameter has no values in memory"),
        (lambda x, w: native.linear(x.to_sparse(), w), "x has no values in memory: it is sparse"),
        (lambda x, w: native.linear(x, w.to("meta")), "weight has no values in memory: it is sparse, on meta"),
        (lambda x, w: native.linear(x, w.half()), r"weight is torch.float16; .*: call .float\(\) or .bfloat16\(\)\."),
    ],
)
def test_tensors_without_values_are_refused(leaves, call, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        call(leaves[0], leaves[1][0])
    assert "\n" not in str(caught.value)


# --- derivatives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ops", [native, reference], ids=lambda ops: ops.NAME)
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_by_torch_func_are_those_of_backward(leaves, ops, name):
    mine = [leaf.clone().requires_grad_() for leaf in leaves]
    expected = torch.autograd.grad(loss(reference, name, *mine), mine, materialize_grads=True)
    found = torch.func.grad(partial(loss, ops, name), argnums=(0, 1))(*leaves)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_second_derivative_is_the_references_alone(leaves, name):
    x, weight = (leaf[..., :].clone().requires_grad_() for leaf in leaves)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    for ops in (reference, native):
        # the square of x has a second derivative, too: what is missing from the sum would be wrong in silence
        (grad,) = torch.autograd.grad(sized(ops, x, weight)[name]().sum() + x.square().sum(), x, create_graph=True)
        if ops is reference:
            (second,) = torch.autograd.grad((grad * way).sum(), x)
            step = 1e-2
            shifted = []
            for sign in (1, -1):
                moved = (x + sign * step * way).detach().double().requires_grad_()
                value = sized(ops, moved, weight.detach().double())[name]().sum() + moved.square().sum()
                shifted.append(torch.autograd.grad(value, moved)[0])
            slope = (shifted[0] - shifted[1]) / (2 * step)
            assert_close(second.double(), slope, rtol=2e-2, atol=2e-2 * float(slope.abs().max()))
        else:
            with pytest.raises(BackendError, match=r"first derivatives alone; .* use backend='reference'"):
                torch.autograd.grad((grad * way).sum(), x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what it uses itself
@pytest.mark.parametrize("name", OPERATIONS)
def test_other_transforms_of_the_operations_are_one_sentence(leaves, name):
    run = partial(loss, native, name)
    with pytest.raises(BackendError, match=r"cannot run under torch.vmap; call the model once"):
        torch.func.vmap(run)(*(torch.stack([leaf, leaf]) for leaf in leaves))
    with pytest.raises(BackendError, match=r"no forward-mode derivatives; use torch.func.grad or vjp"):
        torch.func.jvp(run, leaves, leaves)
    with forward_ad.dual_level(), pytest.raises(BackendError, match="no forward-mode derivatives"):
        run(*(forward_ad.make_dual(leaf, leaf) for leaf in leaves))
    with pytest.raises(BackendError, match="first derivatives alone"):
        torch.func.grad(lambda *leaves: torch.func.grad(run)(*leaves).square().sum())(*leaves)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what it uses itself
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_model_under_torch_func_is_one_sentence(config, scene, backend):
    model = msm3d.Model(config, backend=backend).eval()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def run(parameters):
        return torch.func.functional_call(model, parameters, (scene,)).square().mean()

    for transformed in (
        lambda: torch.func.grad(run)(parameters),
        lambda: torch.func.jvp(run, (parameters,), (parameters,)),
        lambda: torch.func.vmap(model)(torch.rand(2, 50, 9)),
    ):
        with pytest.raises(InputError, match=r"^the model cannot run under torch.func .*; use model\(points\) and"):
            transformed()


# --- what torch records, compiles and is told ------------------------------------------------------------------------


@pytest.fixture
def usual(config):
    torch.manual_seed(0)
    return msm3d.Model(config, backend="native").eval().requires_grad_(False)


@pytest.mark.filterwarnings("ignore")  # torch's own, about what it does not look into
@pytest.mark.parametrize("compiler", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_is_the_model(usual, compiler):
    points = torch.rand(300, 9, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(usual, backend=compiler)
    assert torch.equal(compiled(points), usual(points))
    assert torch.equal(compiled.extract(points), usual.extract(points))
    assert torch.equal(torch.compile(usual.extract, backend=compiler)(points), usual.extract(points))
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
def test_an_operation_in_compiled_code_has_its_gradients(leaves):
    x, weight = leaves[0].requires_grad_(), leaves[1][0].requires_grad_()
    compiled = torch.compile(lambda x, weight: (native.linear(x * 2, weight) + 1).square().sum(), backend="aot_eager")
    ours = torch.autograd.grad(compiled(x, weight), (x, weight))
    theirs = torch.autograd.grad((x * 2 @ weight.T + 1).square().sum(), (x, weight))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-2)
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
def test_what_records_the_operations_is_refused(usual):
    points = torch.rand(300, 9)
    for record in (torch.export.export, torch.jit.trace):
        with pytest.raises(InputError, match=r"^the model cannot be exported or traced: .* save_pretrained\.$"):
            record(usual, (points,))
    with pytest.raises(InputError, match=r"^points has no values in memory"):
        usual.extract(fake(300, 9))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_torch_is_told_changes_nothing(usual, scene, backend):
    usual.backend = backend
    expected, tensors = usual.extract(scene), {key: torch.from_numpy(value) for key, value in scene.items()}

    def same():
        assert np.array_equal(usual.extract(scene), expected)
        assert np.array_equal(usual(tensors).numpy(), expected)
        assert np.array_equal(usual.levels(tensors)[0].features.numpy(), usual.extract(scene, at="voxels", levels=0)[0])

    with torch.inference_mode():
        same()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same()
    with torch.device("meta"):
        same()
    try:
        torch.set_default_device("meta")
        same()
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float64)
        same()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_gradients_hang_on_no_default(usual, scene):
    def gradients():
        usual.requires_grad_().zero_grad()
        usual(scene).square().mean().backward()
        return [parameter.grad for parameter in usual.parameters()]

    expected = gradients()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        found = gradients()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-8)


# --- copies, threads and processes ----------------------------------------------------------------------------------


def test_copies_and_pickles_extract_the_same(usual, scene):
    expected = usual.extract(scene)
    for again in (copy.deepcopy(usual), pickle.loads(pickle.dumps(usual))):
        assert np.array_equal(again.extract(scene), expected)


def test_precisions_of_torch_are_said_and_taken_or_refused(usual, scene):
    expected = usual.extract(scene)
    double, half = copy.deepcopy(usual).double(), copy.deepcopy(usual).half()
    assert repr(double).endswith("backend native, float64)")
    assert repr(half).endswith("backend native, float16)")
    assert_close(double.extract(scene), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"^weight is torch.float16; it must be torch.float32 or torch.bfloat16: call"):
        half.extract(scene)


def test_two_threads_extract_with_one_model(usual):
    scenes = [make_scene(seed, 500) for seed in range(2)]
    expected, found = [usual.extract(scene) for scene in scenes], {}

    def work(i):
        found[i] = [usual.extract(scenes[i]) for _ in range(3)]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(2):
        assert all(np.array_equal(rows, expected[i]) for rows in found[i])


FORK = """
import os, signal, sys
import numpy as np, torch, msm3d
torch.set_num_threads(2)
torch.manual_seed(0)
config = msm3d.BackboneConfig(channels=(16, 16), decoder_channels=(16, 16), conv_blocks=(1, 1),
                              attention_blocks=(0, 1), heads=(0, 2))
model = msm3d.Model(config, backend=sys.argv[1]).eval().requires_grad_(False)
points = np.random.default_rng(0).random((4000, 9)) * [4, 4, 4, 1, 1, 1, 1, 1, 1]
expected = model.extract(points)
child = os.fork()
if not child:
    signal.alarm(120)
    os._exit(0 if np.array_equal(model.extract(points), expected) and torch.get_num_threads() == 1 else 3)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(code, torch.get_num_threads(), np.array_equal(model.extract(points), expected))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_forked_child_of_a_process_that_has_extracted_gives_the_same_bits(backend):
    root = os.path.dirname(os.path.dirname(msm3d.__file__))
    done = subprocess.run([sys.executable, "-c", FORK, backend], capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.stderr) == ("0 2 True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_is_forked_before_any_work_keeps_its_threads():
    code = (
        "import os, torch, msm3d; torch.set_num_threads(2); child = os.fork();"
        "os._exit(torch.get_num_threads()) if not child else print(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    root = os.path.dirname(os.path.dirname(msm3d.__file__))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "2\n", done.stderr


@pytest.mark.slow
def test_spawned_processes_give_the_same_bits(usual, scene):
    expected = usual.extract(scene)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.map(usual.extract, [scene])[0], expected)


class Scans(torch.utils.data.Dataset):
    """Descriptors that are computed where a loader reads."""

    def __init__(self, model, scenes):
        self.model, self.scenes = model, scenes

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, i):
        return self.model.extract(self.scenes[i])


def test_workers_of_a_loader_give_the_same_bits(usual):
    scenes = [make_scene(seed, 200) for seed in range(3)]
    loader = torch.utils.data.DataLoader(Scans(usual, scenes), batch_size=None, num_workers=2)
    for found, scene in zip(loader, scenes, strict=True):
        assert np.array_equal(found, usual.extract(scene))
