"""Features of pictures, such as those of an image network, brought to the points of a scan."""

from .lifted import Lifted as Lifted
from .lifted import lift as lift
from .networks import ImageNetwork as ImageNetwork
from .networks import network as network
from .seeing import Rules as Rules
from .view import View as View
from .view import views as views
