"""The vocabulary passed between the parts: ids, specs, refs, the engine's interface, snapshot rows."""
