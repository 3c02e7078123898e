"""What every training shares: the loop, rates over time, the order of scenes, checkpoints that resume, the log.

`Trainer` is the place to begin; pre-training and training with labels are a step and a state each on top of it.
"""

from .ahead import ahead as ahead
from .descent import Descent as Descent
from .descent import optimizer as optimizer
from .descent import schedule as schedule
from .processes import ALONE as ALONE
from .processes import Group as Group
from .processes import scene_at as scene_at
from .processes import turns as turns
from .readout import without_readout as without_readout
from .record import Record as Record
from .trainer import CHECKPOINT as CHECKPOINT
from .trainer import DivergedError as DivergedError
from .trainer import Trainer as Trainer
from .trainer import check_folder as check_folder
from .trainer import resume as resume
from .trainer import save as save
