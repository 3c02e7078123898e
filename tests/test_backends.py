"""Which backend runs where, and what is said where one cannot."""

import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import msm3d
from msm3d.cli.check import report
from msm3d.errors import BackendError, Msm3dWarning
from msm3d.ops import BACKENDS, backend, library, native, reference, spconv, triton
from msm3d.ops.kernels import native as native_kernels
from msm3d.ops.kernels import spconv as spconv_kernels
from msm3d.ops.kernels import triton as triton_kernels
from msm3d.ops.operations import OPERATIONS

CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there is a GPU, on which nothing can run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Test Card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    for module in (triton_kernels, spconv_kernels):
        module._why_not_on.cache_clear()
    yield monkeypatch
    for module in (triton_kernels, spconv_kernels):
        module._why_not_on.cache_clear()


def test_every_backends_kernels_take_the_arguments_of_the_references():
    for name, ops in BACKENDS.items():
        assert ops.NAME == name
        assert callable(ops.kernels.why_not)
        own = [operation for operation in OPERATIONS if hasattr(ops.kernels, operation)]
        assert own if name == "spconv" else len(own) >= 5
        for operation in own:
            taken, given = (list(signature(getattr(k.kernels, operation)).parameters) for k in (ops, reference))
            assert taken[: len(given)] == given
            assert set(taken[len(given) :]) <= {"isa", "precision"}


def test_on_a_cpu_nothing_changes():
    for name in ("triton", "spconv"):
        with pytest.raises(
            BackendError, match=rf"no backend can run on cpu: {name}: the {name} backend runs on NVIDIA"
        ):
            backend("cpu", name)
    assert backend("cpu").NAME in ("native", "reference")


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for module in (triton, spconv):
        assert str(module.why_not(CUDA)).startswith("there is no CUDA device, or torch")


def test_what_is_not_installed_is_named_with_its_cure(gpu):
    gpu.setattr(triton_kernels, "find_spec", lambda name: None)
    assert "triton is not installed; pip install triton" in str(triton.why_not(CUDA))

    def missing():
        raise ImportError("No module named 'spconv'")

    gpu.setattr(spconv_kernels, "_spconv", missing)
    assert "spconv cannot be imported: No module named 'spconv'; pip install 'msm3d[cu126]'" in str(
        spconv.why_not(CUDA)
    )
    assert backend(CUDA) is reference


def test_old_and_other_gpus_are_named(gpu):
    gpu.setattr(triton_kernels, "find_spec", lambda name: name)
    gpu.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "Test Card is older than compute capability 8.0" in str(triton.why_not(CUDA))
    gpu.setattr(torch.version, "cuda", None)
    assert "built for another maker's" in str(triton.why_not(CUDA))


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ("attention", "the triton backend computes attention wrongly on Test Card"),
        (OSError("no C compiler\nat all"), "the triton backend cannot run on Test Card: OSError: no C compiler"),
    ],
)
def test_a_gpu_that_fails_the_check_is_not_used_with_one_warning_and_a_named_backend_raises(gpu, outcome, sentence):
    from msm3d.ops.kernels.triton import agreement

    def disagreement(ops, device):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    gpu.setattr(triton_kernels, "find_spec", lambda name: name)
    gpu.setattr(agreement, "disagreement", disagreement)
    with pytest.warns(Msm3dWarning, match=sentence) as caught:
        assert backend(CUDA) is reference
    assert len(caught) == 1
    with pytest.raises(BackendError, match=sentence) as error:  # and no second warning
        backend(CUDA, "triton")
    assert "\n" not in str(error.value)


def test_a_gpu_that_passes_is_used(gpu):
    from msm3d.ops.kernels.triton import agreement

    gpu.setattr(triton_kernels, "find_spec", lambda name: name)
    gpu.setattr(agreement, "disagreement", lambda ops, device: None)
    assert backend(CUDA) is triton
    assert backend(CUDA, "triton") is triton


def test_an_spconv_that_fails_says_so(gpu):
    gpu.setattr(spconv_kernels, "_spconv", lambda: SimpleNamespace())
    with pytest.warns(Msm3dWarning, match="spconv cannot run on Test Card: .* Use the triton or the reference backend"):
        assert "spconv cannot run on Test Card" in str(spconv.why_not(CUDA))


# --- the C++ library ------------------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A place where another library is found, and a function that puts it there."""
    place = tmp_path / f"_native{library.SUFFIX}"
    report()  # imports what it needs while the package can be found
    for cached in (library.load, native_kernels._unusable):
        cached.cache_clear()
    own = next(path for path in (Path(p) / place.name for p in msm3d.__path__) if path.exists()).read_bytes()
    monkeypatch.setattr(msm3d, "__path__", [str(tmp_path)])
    yield place, own
    for cached in (library.load, native_kernels._unusable):
        cached.cache_clear()


def compiled(source, place):
    if shutil.which("cc") is None or sys.platform != "linux":
        pytest.skip("needs a C compiler")
    place.with_suffix(".c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", place, place.with_suffix(".c")], check=True)


needs_native = pytest.mark.skipif(
    native.why_not(torch.device("cpu")) is not None, reason=str(native.why_not(torch.device("cpu")))
)


def refused(sentence):
    again = f".*; build it again: {library.BUILD}"
    with pytest.warns(Msm3dWarning, match=f"^the native backend is not used: .*{sentence}"):
        assert backend("cpu").NAME == "reference"
    with pytest.raises(BackendError, match=f"no backend can run on cpu: native: .*{sentence}{again}"):
        backend("cpu", "native")
    assert sentence in report()


@needs_native
def test_a_library_of_another_version_is_not_used(built):
    compiled("long msm3d_abi(long i) { return i ? 3 : 0; }", built[0])
    refused("is of another version of msm3d")


@needs_native
@pytest.mark.parametrize("name", ["STRUCTURES", "ACTIVATIONS", "NORMS", "DTYPES", "ISAS", "PAIR_ROWS", "BITS"])
def test_a_library_with_other_structures_codes_or_constants_is_not_used(built, monkeypatch, name):
    built[0].write_bytes(built[1])
    assert backend("cpu").NAME == "native"
    library.load.cache_clear()
    value = getattr(library, name)
    monkeypatch.setattr(library, name, value + 1 if isinstance(value, int) else value[::-1])
    with pytest.raises(BackendError, match="is of another version of msm3d"):
        library.load()


@needs_native
def test_a_foreign_library_is_not_used(built):
    compiled("int msm3d_has(long i) { return 1; }", built[0])
    refused("is not this version's library")


@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the loader looks for itself")
@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.999])
def test_a_library_that_is_cut_short_is_not_used(built, share):
    built[0].write_bytes(built[1][: int(share * len(built[1]))])
    refused("is cut short")


@needs_native
def test_what_is_no_library_is_not_used(built):
    built[0].write_text("no library\n" * 100)
    refused("cannot be loaded")


# An OpenMP runtime of LLVM's, whose threads come one after the other.
RUNTIME = """
static int number, size = 1;
int omp_get_thread_num() { return number; }
int omp_get_num_threads() { return size; }
int __kmpc_global_thread_num(void *place) { return 0; }
void __kmpc_push_num_threads(void *place, int thread, int threads) { size = threads; }
void __kmpc_barrier(void *place, int thread) {}
void __kmpc_fork_call(void *place, int count, void (*work)(int *, int *, void *), void *all) {
    for (number = 0; number < size; number++) { int own = number; work(&own, &own, all); }
    number = 0, size = 1;
}
"""


@needs_native
@pytest.mark.parametrize(("source", "threads"), [(RUNTIME, 3), ("int omp_get_thread_num() { return 0; }", 1)])
def test_the_threads_are_those_of_the_runtime_that_torch_brought_or_there_is_one(tmp_path, source, threads):
    place = tmp_path / "torch.libs/libomp-0123abcd.so"
    place.parent.mkdir()
    compiled(source, place)
    code = (
        "import ctypes, sys; ctypes.CDLL(sys.argv[1]); library = ctypes.CDLL(sys.argv[2]);"
        "library.msm3d_runtime.restype, library.msm3d_multiply_add.restype = ctypes.c_char_p, ctypes.c_double;"
        "one, three = (library.msm3d_multiply_add(*map(ctypes.c_int64, (0, threads, 100))) for threads in (1, 3));"
        "print(library.msm3d_runtime().decode(), three / one)"
    )
    command = [sys.executable, "-c", code, str(place), library.load()._name]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.split() == ([str(place), "3.0"] if threads == 3 else ["1.0"])


@needs_native
def test_of_several_runtimes_torch_s_own_is_taken_whatever_the_folder_around_it_is_called(tmp_path):
    """scikit-learn brings another, and here is loaded first."""
    own = Path(torch.__file__).parent / "lib/libgomp.so.1"
    if not own.exists():
        pytest.skip("this torch has no runtime of this name")
    other = tmp_path / "torch/env/scikit_learn.libs/libgomp-0123abcd.so"
    other.parent.mkdir(parents=True)
    compiled(RUNTIME, other)
    code = (
        "import ctypes, sys; ctypes.CDLL(sys.argv[1]);"
        "import torch; from msm3d.ops import library; print(library.runtime())"
    )
    said = subprocess.run([sys.executable, "-c", code, str(other)], capture_output=True, text=True, check=True).stdout
    assert Path(said.strip()).resolve() == own.resolve()


@needs_native
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("AVX2", "MSM3D_ISA: unknown instruction set 'AVX2'; choose one of portable, neon, avx2, "),
        ("amx,avx2", "MSM3D_ISA: unknown instruction set 'amx,avx2'; choose one of portable, "),
    ],
)
def test_a_wrong_instruction_set_is_said_before_any_work(monkeypatch, name, sentence):
    monkeypatch.setenv("MSM3D_ISA", name)
    with pytest.raises(BackendError, match=f"^{sentence}"):
        backend("cpu")
    assert sentence in report()
    monkeypatch.setenv("MSM3D_ISA", "")
    assert backend("cpu").NAME == "native"
