"""Messages PointCloud2 of ROS: bytes with described fields, to columns by name."""

from typing import Any

import numpy as np

from ..errors import FileError
from ..scan import columns

_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # [sensor_msgs/PointField]
_LARGEST = 1 << 28  # points of a message


def fields_of(message: Any) -> dict[str, np.ndarray]:
    """Return the arrays by field name of a message, in its order; those that are not finite stay."""
    order = ">" if message.is_bigendian else "<"
    count, step, row = int(message.width) * int(message.height), int(message.point_step), int(message.row_step)
    data = np.frombuffer(bytes(message.data), np.uint8)
    whole = 0 < step and 0 < count < _LARGEST and row >= step * int(message.width)
    if not whole or len(data) < row * (int(message.height) - 1) + step * int(message.width):
        raise FileError(f"has a message that declares {count} points but holds {len(data)} bytes; export it again.")
    names, kinds, offsets = [], [], []
    for field in message.fields:
        name, kind = str(field.name).lower(), _KINDS.get(int(field.datatype))
        if kind is None or int(field.count) not in (0, 1) or name in names:
            continue
        if int(field.offset) + np.dtype(kind).itemsize > step:
            raise FileError(f"has a message whose field {name!r} lies outside of its points; export it again.")
        names.append(name)
        kinds.append(order + kind)
        offsets.append(int(field.offset))
    record: Any = np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": step})
    lines = [data[start : start + step * int(message.width)] for start in range(0, row * int(message.height), row)]
    table = np.concatenate(lines).view(record) if len(lines) > 1 else lines[0].view(record)
    return columns.fields({name: table[name].astype(table[name].dtype.newbyteorder("=")) for name in names})
