"""`python -m msm3d` is `msm3d`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
