"""The user's data in memory: a point cloud, what is checked of it, its normals, and changes of it for training."""
