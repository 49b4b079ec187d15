"""Looking inside tasks in Ray's workers: questions go through the hub, answers come back as reports do."""
