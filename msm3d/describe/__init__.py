"""What stands around the network in `Model.extract`: what was asked, scenes, regions, sinks and the answer."""
