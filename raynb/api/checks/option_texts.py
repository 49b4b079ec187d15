"""What each option of `remote` and argument of `init` does: for help, and for the reference of the site."""

from __future__ import annotations

#: Option → a sentence. A test compares the names with the table in `options.py`.
OPTION_TEXTS = {
    "num_cpus": "CPU slots that it takes while it runs. Tasks: 1. Actors: 1 to be placed, 0 while they run.",
    "num_gpus": "GPUs, or a share of one; ``CUDA_VISIBLE_DEVICES`` shows it the right ones.",
    "memory": "Bytes; a task that grows beyond is stopped with ``OutOfMemoryError``.",
    "resources": "Custom resources: name to amount.",
    "accelerator_type": "A kind of accelerator that it needs.",
    "label_selector": "Labels of the nodes to run on (a cluster's).",
    "fallback_strategy": "What to try if no node has the labels (a cluster's).",
    "name": "Tasks: the name in views. Actors: the name for ``get_actor``.",
    "runtime_env": "``env_vars``, ``working_dir``, ``py_modules``, ``worker_process_setup_hook``.",
    "scheduling_strategy": "``'DEFAULT'``, ``'SPREAD'``, or a strategy of ``raynb.util.scheduling_strategies``.",
    "placement_group": "The placement group to run in.",
    "placement_group_bundle_index": "The bundle of that group; -1: any.",
    "placement_group_capture_child_tasks": "Whether what it submits runs in the group too.",
    "object_store_memory": "Accepted for Ray's sake.",
    "enable_task_events": "Whether views show it.",
    "num_returns": 'How many objects it returns: a number, ``"dynamic"``, or ``"streaming"``.',
    "max_calls": "The worker ends after so many calls of the function; 0: never.",
    "max_retries": "How often it runs again after its worker died (default 3; -1: for ever).",
    "retry_exceptions": "Run again after exceptions too: ``True``, or a list of classes.",
    "timeout": "Seconds that it may run (raynb's own; not in Ray).",
    "concurrency_groups": "Groups of methods with a concurrency of their own: name to number.",
    "lifetime": '``"detached"``: it outlives its handles.',
    "max_concurrency": "Calls that run at once: threads, or coroutines of async actors.",
    "max_restarts": "How often the actor is started again after its process died (-1: for ever).",
    "max_task_retries": "How often a call runs again after the process died.",
    "max_pending_calls": "Calls that may wait; more raise ``PendingCallsLimitExceeded``. -1: any number.",
    "namespace": "Namespace of the name.",
    "get_if_exists": "Return the actor of that name if there is one.",
    "allow_out_of_order_execution": "Let ready calls overtake those that wait for arguments.",
    "enable_tensor_transport": "Accepted for Ray's sake.",
    "concurrency_group": "The group that a method runs in.",
    "tensor_transport": "Accepted for Ray's sake.",
}

#: Argument of `init` → a sentence. A test compares the names with those of `init`.
INIT_TEXTS = {
    "address": 'Of a Ray cluster: ``"auto"``, ``"host:port"`` or ``"ray://host:10001"``; None: this machine.',
    "cluster": (
        '``"local"``: a throw-away Ray cluster of ``nodes`` (default 3) nodes on this machine, to try code '
        "on; it ends with the runtime. ``num_cpus`` is each node's then (default 2)."
    ),
    "nodes": "How many nodes that cluster has.",
    "local_mode": (
        "True: no workers; everything runs at once and in order in this process, for debugging "
        "(``breakpoint()`` in a task, ``%debug`` after its error)."
    ),
    "num_cpus": "CPU slots; default: the cores that this process may use.",
    "num_gpus": "GPU slots; default 0.",
    "resources": "Other resources, name → quantity.",
    "memory": "Bytes that tasks and actors may ask for with ``memory=``; default: what the machine has.",
    "object_store_memory": "Limit of the object store in bytes; default 30 % of what other runtimes leave.",
    "share": '``"fair"``: your runtimes here that say so use each other\'s idle CPU slots; default ``"off"``.',
    "spill_directory": "The same as ``object_spilling_directory``.",
    "namespace": "Of named actors.",
    "log_to_driver": "False: what tasks print is not shown.",
    "runtime_env": "``env_vars``, ``working_dir``, ``py_modules`` of every worker.",
    "inline_limit": "Bytes; larger values go through the object store, smaller ones travel in messages.",
    "max_workers": "Processes at most, those of actors among them.",
    "prefetch_seconds": "Seconds of estimated work that a worker is sent ahead.",
    "connect_timeout": "Seconds for a Ray cluster to start its first worker.",
    "ship_package": "False: raynb is not sent to nodes of a Ray cluster that lack it.",
    "worker_start_timeout": "Seconds for the first worker to be ready.",
    "worker_start_attempts": (
        "Deaths, within a minute, of the process that starts the workers, that the runtime survives."
    ),
    "retry_pause": "Seconds before a task that raised is tried again; the first retry is at once.",
    "cancel_grace": "Seconds from the interrupt of a cancelled task to the kill of its worker.",
    "shutdown_timeout": "Seconds for busy workers to end.",
    "actor_death_window": "Seconds in which an actor's deaths are counted.",
    "actor_death_limit": "Deaths in its constructor within that window until an actor is given up.",
    "memory_usage_threshold": "Share of the machine's memory (0 to 1) above which tasks are stopped.",
    "memory_monitor_interval": "Seconds between two looks at the memory.",
    "hang_warning": "Seconds without an answer after which a worker is warned of.",
    "finished_tasks_kept": "Tasks that the views remember after their end.",
    "validate": "True: the engine checks its own state after each event, for debugging raynb.",
    "object_spilling_directory": (
        "Where objects go when the store is full; default: the temporary directory, or /var/tmp where that is "
        "memory."
    ),
}
