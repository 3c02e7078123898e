"""See features: colours by principal components, similarity to a point, pictures without a display, a page to send."""

from .camera import Camera as Camera
from .camera import View as View
from .camera import automatic_view as automatic_view
from .colors import ColorBasis as ColorBasis
from .colors import label_colors as label_colors
from .colors import pca_colors as pca_colors
from .colors import similarity as similarity
from .colors import similarity_colors as similarity_colors
from .colors import threshold as threshold
from .extras import Extras as Extras
from .height import Height as Height
from .kinds import Kinds as Kinds
from .page import write_page as write_page
from .picture import colored_ply as colored_ply
from .picture import render as render
from .picture import save_picture as save_picture
from .recording import save_recording as save_recording
