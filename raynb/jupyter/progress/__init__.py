"""Progress bars of waits."""
