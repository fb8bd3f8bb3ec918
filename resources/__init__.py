"""What the assets are handed: the lake, the warehouse, the machine, a place to report progress."""

from resources.compute import ComputeResource
from resources.lake import LakeResource
from resources.reporter import LogReporter, Reporter
from resources.warehouse import WarehouseResource

__all__ = ["ComputeResource", "LakeResource", "LogReporter", "Reporter", "WarehouseResource"]
