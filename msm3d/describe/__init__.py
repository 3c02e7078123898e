"""What stands around the network in `Model.extract`.

request   what was asked, checked: scans, reading, destination
scenes    scans to scenes to voxels, together as many as fit
regions   the voxels of one pass: all of them, or a tile with its halo; and the rows read from its levels
sinks     where rows go: memory, a given array, the host's memory from a GPU
answer    which sink, and the rows of scenes put together to what is returned
"""
