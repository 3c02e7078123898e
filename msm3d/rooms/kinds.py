"""Each kind of room with its recipe and size."""

from . import homes, workplaces

RECIPES = {
    "bedroom": (homes.bedroom, (2.8, 4.8), (2.8, 4.5)),
    "living room": (homes.living, (3.6, 6.5), (3.4, 5.2)),
    "kitchen": (homes.kitchen_room, (2.6, 5.0), (2.3, 4.2)),
    "bathroom": (homes.bathroom, (2.0, 3.6), (1.8, 2.8)),
    "office": (workplaces.office, (2.8, 6.5), (2.8, 5.0)),
    "meeting room": (workplaces.meeting, (3.8, 7.5), (3.4, 5.2)),
    "corridor": (workplaces.corridor, (3.8, 8.5), (1.3, 2.3)),
}
"""Kind of room: its recipe and the least and largest extent of both sides, metres."""
