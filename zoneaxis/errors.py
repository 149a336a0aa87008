"""Every error that zoneaxis raises on purpose; each message says what was wrong and what to do."""


class ZoneAxisError(Exception):
    """Base of all errors below; the command line prints it and exits with code 2."""


class CrystalError(ZoneAxisError):
    """A crystal that cannot be read or used: a broken CIF, no symmetry, no sites."""


class SettingsError(ZoneAxisError):
    """A setting out of its range, or settings that contradict each other."""


class ScanError(ZoneAxisError):
    """A scan that cannot be read: missing, truncated, not four-dimensional, NaN or negative."""


class MapError(ZoneAxisError):
    """An orientation map that cannot be read, or does not fit the one it is compared with."""


class DatasetError(ZoneAxisError):
    """A data set folder that is missing, incomplete, or of another format."""


class CheckpointError(ZoneAxisError):
    """A checkpoint without config or safetensors weights, or of another format or crystal."""


class TrainingError(ZoneAxisError):
    """Training that came to nothing: the loss is no longer a number."""


class ClusterError(ZoneAxisError):
    """A Dask cluster that lost its scheduler or its workers."""


class OutputError(ZoneAxisError):
    """A file or folder that cannot be written."""


class HubError(ZoneAxisError):
    """The Hugging Face Hub refused something, cannot be reached, or holds what is in the way."""
