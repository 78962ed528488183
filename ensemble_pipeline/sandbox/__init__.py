"""A server on loopback that speaks the venues' and providers' real wire formats, playing a ``World``.

Belongs here: worlds, wire formats as the far side speaks them. Does not: anything the pipeline itself relies on.
"""
