"""``ray.util.state.exception``: the errors of the state API."""


class RayStateApiException(Exception):
    """The state API could not answer."""

    def __init__(self, err_msg: str, *args: object) -> None:
        super().__init__(f"Failed to get resources: {err_msg}", *args)


class DataSourceUnavailable(Exception):
    """A source of rows could not be reached (on a cluster)."""


class ServerUnavailable(RayStateApiException):
    """The state server could not be reached (on a cluster)."""


__all__ = ["DataSourceUnavailable", "RayStateApiException", "ServerUnavailable"]
