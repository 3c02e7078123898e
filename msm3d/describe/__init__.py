"""What stands around the network in `Model.extract`: what was asked, scenes, regions, sinks and the answer."""

from .._util.lazy import lazily

__getattr__ = lazily(__name__)
