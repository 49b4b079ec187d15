"""Submits calls of functions, actor classes and methods (`.remote`), apart from the objects that users hold.

A user's object (`RemoteFunction`, `ActorClass`, `ActorMethod`) has a `remote` that is bound to one of the classes
here, not to itself: it shows the signature and docstring of what it calls, and no cycle keeps the object alive.
"""
