"""Running one task, for workers, the inline engine and the cluster's runner alike.

Method lookup, return values, failures and the environment of a task are decided here once; the
three callers differ only in where they keep values and how they send them.
"""
