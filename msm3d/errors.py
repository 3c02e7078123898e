"""What msm3d raises: one sentence naming what was given, what is needed and what to type next."""


class Msm3dError(Exception):
    """Any failure that msm3d foresees; the command line prints it as one line and exits with 2."""


class InputError(Msm3dError, ValueError):
    """The points, an argument or a configuration cannot be used as given."""


class FileError(InputError):
    """A file is missing, truncated, of an unknown kind or not what its header says."""


class WeightsError(Msm3dError, RuntimeError):
    """Weights cannot be found, downloaded, verified or fitted to the network."""


class BackendError(Msm3dError, RuntimeError):
    """No backend, or not the one that was named, can run on the device."""


class DependencyError(Msm3dError, ImportError):
    """An optional package is needed; the message holds the `pip install` line."""


class Msm3dWarning(UserWarning):
    """Something was assumed about the input; the message says what to pass instead."""


def require(name: str, value: object, good: bool, needed: str) -> None:
    """Raise InputError, with the value and what it must be, unless `good`."""
    if not good:
        raise InputError(f"{name} is {value!r}; it must be {needed}.")
