"""The bare kernels of each backend: no argument is checked here that an operation has checked."""
