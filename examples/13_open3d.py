"""From Open3D and back: `python examples/13_open3d.py [SCAN]`. Needs `pip install open3d`."""

import sys
from pathlib import Path

import numpy as np
import open3d as o3d

import msm3d
from msm3d.rooms import make
from msm3d.visualize import pca_colors

folder = Path("demo")
folder.mkdir(exist_ok=True)
if len(sys.argv) > 1:
    cloud = o3d.io.read_point_cloud(sys.argv[1])
else:
    room = make(900_001, kind="kitchen", points=60_000)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(room.coord))
    cloud.colors = o3d.utility.Vector3dVector(room.color / 255)  # Open3D's colours are 0 to 1
if not cloud.has_normals():
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(radius=0.1, max_nn=30))
    cloud.orient_normals_towards_camera_location(cloud.get_center())

features = msm3d.load().extract(cloud)  # an Open3D object, as it is: row i belongs to point i
print(f"{cloud}: features {features.shape}")

painted = o3d.geometry.PointCloud(cloud)
painted.colors = o3d.utility.Vector3dVector(pca_colors(features)[0] / 255)
path = folder / "open3d.ply"
o3d.io.write_point_cloud(str(path), painted)
print("written:", path, "(o3d.visualization.draw_geometries([painted]) shows it where there is a display)")

# Features as Open3D's own kind, for its registration and matching: (channels, points).
matched = o3d.pipelines.registration.Feature()
matched.data = np.ascontiguousarray(features.T, dtype=np.float64)
print(f"o3d.pipelines.registration.Feature: {matched.dimension()} x {matched.num()}")
