"""Parametric families of furniture: each function draws one piece from the generator and the room's palette."""
