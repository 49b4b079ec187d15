"""The live views: the feed, the view model, the widget and the panel."""
