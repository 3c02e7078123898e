"""Features of pictures, such as those of an image network, brought to the points of a scan."""

from .lifted import Lifted as Lifted
from .lifted import lift as lift
from .seeing import Rules as Rules
from .views import View as View
from .views import views as views
