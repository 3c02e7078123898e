"""Class lists of the benchmarks. Inside msm3d a label is a place in such a list, and -1 is what nobody judges."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError

IGNORE = -1  # the label of points that are neither learned from nor counted


@dataclass(frozen=True)
class ClassList:
    """Names of the classes of a benchmark, in its own order.

    >>> SCANNET20.names[4], SCANNET20.raw[13], len(SCANNET20)
    ('chair', 16, 20)
    """

    name: str  # what `class_list` calls it
    names: tuple[str, ...]  # name of each label from 0
    raw: tuple[int, ...] = ()  # the id of each label in the data set's raw files, where those have ids
    stuff: tuple[str, ...] = ()  # names of the classes whose instances no benchmark of instance segmentation counts
    colors: tuple[tuple[int, int, int], ...] = ()  # red, green and blue of each label, where the benchmark has them

    @property
    def things(self) -> tuple[int, ...]:
        """The labels whose instances count: all but those of `stuff`.

        >>> SCANNET20.things[:3], len(SCANNET200.things), len(S3DIS.things)
        ((2, 3, 4), 198, 13)
        """
        return tuple(label for label, name in enumerate(self.names) if name not in self.stuff)

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.names)

    def from_raw(self, ids: np.ndarray) -> np.ndarray:
        """Return the labels of raw ids; an id that the benchmark does not judge becomes -1.

        >>> SCANNET20.from_raw(np.array([39, 0, 1])).tolist()
        [19, -1, 0]
        """
        table = np.full(max(int(ids.max(initial=0)), *self.raw) + 1, IGNORE, dtype=np.int64)
        table[list(self.raw)] = np.arange(len(self.raw))
        return np.where(ids < 0, IGNORE, table[np.maximum(ids, 0)])


SURFACES = ("wall", "floor")
"""What ScanNet's instances leave out, 18 of 20 and 198 of 200 classes being left
[ScanNet, BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py: CLASS_LABELS]."""


COLORS20 = (
    *((174, 199, 232), (152, 223, 138), (31, 119, 180), (255, 187, 120), (188, 189, 34), (140, 86, 75)),
    *((255, 152, 150), (214, 39, 40), (197, 176, 213), (148, 103, 189), (196, 156, 148), (23, 190, 207)),
    *((247, 182, 210), (219, 219, 141), (255, 127, 14), (158, 218, 229), (44, 160, 44), (112, 128, 144)),
    *((227, 119, 194), (82, 84, 163)),
)
"""What ScanNet's 20 classes are drawn in, in their order [the file of ScanNet below: SCANNET_COLOR_MAP_20]."""


def _scannet(name: str, text: str, colors: tuple[tuple[int, int, int], ...] = ()) -> ClassList:
    ids, names = zip(*(entry.split(maxsplit=1) for entry in text.replace("\n", " ").split(",")), strict=True)
    return ClassList(name, tuple(map(str.strip, names)), tuple(map(int, ids)), SURFACES, colors)


SCANNET20 = _scannet(
    "scannet20",
    """
1 wall, 2 floor, 3 cabinet, 4 bed, 5 chair, 6 sofa, 7 table, 8 door, 9 window, 10 bookshelf, 11 picture, 12 counter,
14 desk, 16 curtain, 24 refrigerator, 28 shower curtain, 33 toilet, 34 sink, 36 bathtub, 39 otherfurniture""",
    COLORS20,
)
"""ScanNet's 20 classes, raw ids as in NYU40 [ScanNet, BenchmarkScripts/ScanNet200/scannet200_constants.py]."""

SCANNET200 = _scannet(
    "scannet200",
    """
1 wall, 2 chair, 3 floor, 4 table, 5 door, 6 couch, 7 cabinet, 8 shelf, 9 desk, 10 office chair, 11 bed,
13 pillow, 14 sink, 15 picture, 16 window, 17 toilet, 18 bookshelf, 19 monitor, 21 curtain, 22 book, 23 armchair,
24 coffee table, 26 box, 27 refrigerator, 28 lamp, 29 kitchen cabinet, 31 towel, 32 clothes, 33 tv, 34 nightstand,
35 counter, 36 dresser, 38 stool, 39 cushion, 40 plant, 41 ceiling, 42 bathtub, 44 end table, 45 dining table,
46 keyboard, 47 bag, 48 backpack, 49 toilet paper, 50 printer, 51 tv stand, 52 whiteboard, 54 blanket,
55 shower curtain, 56 trash can, 57 closet, 58 stairs, 59 microwave, 62 stove, 63 shoe, 64 computer tower, 65 bottle,
66 bin, 67 ottoman, 68 bench, 69 board, 70 washing machine, 71 mirror, 72 copier, 73 basket, 74 sofa chair,
75 file cabinet, 76 fan, 77 laptop, 78 shower, 79 paper, 80 person, 82 paper towel dispenser, 84 oven, 86 blinds,
87 rack, 88 plate, 89 blackboard, 90 piano, 93 suitcase, 95 rail, 96 radiator, 97 recycling bin, 98 container,
99 wardrobe, 100 soap dispenser, 101 telephone, 102 bucket, 103 clock, 104 stand, 105 light, 106 laundry basket,
107 pipe, 110 clothes dryer, 112 guitar, 115 toilet paper holder, 116 seat, 118 speaker, 120 column, 121 bicycle,
122 ladder, 125 bathroom stall, 128 shower wall, 130 cup, 131 jacket, 132 storage bin, 134 coffee maker,
136 dishwasher, 138 paper towel roll, 139 machine, 140 mat, 141 windowsill, 145 bar, 148 toaster, 154 bulletin board,
155 ironing board, 156 fireplace, 157 soap dish, 159 kitchen counter, 161 doorframe, 163 toilet paper dispenser,
165 mini fridge, 166 fire extinguisher, 168 ball, 169 hat, 170 shower curtain rod, 177 water cooler, 180 paper cutter,
185 tray, 188 shower door, 191 pillar, 193 ledge, 195 toaster oven, 202 mouse, 208 toilet seat cover dispenser,
213 furniture, 214 cart, 221 storage container, 229 scale, 230 tissue box, 232 light switch, 233 crate,
242 power outlet, 250 decoration, 261 sign, 264 projector, 276 closet door, 283 vacuum cleaner, 286 candle,
300 plunger, 304 stuffed animal, 312 headphones, 323 dish rack, 325 broom, 331 guitar case, 342 range hood,
356 dustpan, 370 hair dryer, 392 water bottle, 395 handicap bar, 399 purse, 408 vent, 417 shower floor,
488 water pitcher, 540 mailbox, 562 bowl, 570 paper bag, 572 alarm clock, 581 music stand, 609 projector screen,
748 divider, 776 laundry detergent, 1156 bathroom counter, 1163 object, 1164 bathroom vanity, 1165 closet wall,
1166 laundry hamper, 1167 bathroom stall door, 1168 ceiling light, 1169 trash bin, 1170 dumbbell, 1171 stair rail,
1172 tube, 1173 bathroom cabinet, 1174 cd case, 1175 closet rod, 1176 coffee kettle, 1178 structure,
1179 shower head, 1180 keyboard piano, 1181 case of water bottles, 1182 coat rack, 1183 storage organizer,
1184 folded chair, 1185 fire alarm, 1186 power strip, 1187 calendar, 1188 poster, 1189 potted plant, 1190 luggage,
1191 mattress""",
)
"""ScanNet200, raw ids as in the column `id` of scannetv2-labels.combined.tsv [the same file of ScanNet]."""

S3DIS = ClassList(
    "s3dis", tuple("ceiling floor wall beam column window door table chair sofa bookcase board clutter".split())
)
"""The 13 classes of S3DIS; raw files name them and have no ids. Instances of all of them count [SoftGroup's
configuration for S3DIS: 13 instance classes]; some papers leave out ceiling, floor and wall."""


def class_list(name: str) -> ClassList:
    """Return the list of a name.

    >>> class_list("s3dis").names[:2]
    ('ceiling', 'floor')
    >>> class_list("scannet21")
    Traceback (most recent call last):
    msm3d.errors.InputError: unknown classes 'scannet21'; choose one of scannet20, scannet200, s3dis, rooms.
    """
    known = {classes.name: classes for classes in (SCANNET20, SCANNET200, S3DIS)}
    if name == "rooms":
        from ..rooms import CLASSES

        return ClassList("rooms", tuple(CLASSES), stuff=SURFACES)
    if name not in known:
        raise InputError(f"unknown classes {name!r}; choose one of {', '.join(known)}, rooms.")
    return known[name]
