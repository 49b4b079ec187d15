"""Every decision of the runtime, and no I/O: events in, commands out.

`Machine.handle(event) -> commands`. Time rides on events. Nothing here imports sockets, threads,
asyncio, clocks or randomness.
"""
