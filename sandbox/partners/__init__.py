"""Strict local stand-ins of the HTTP partners, which can fail on demand.

They are written from what the partners publish and share no code with the sinks, so that they can
disagree with them.
"""

from sandbox.partners.faults import Fault
from sandbox.partners.journal import Counts
from sandbox.partners.mparticle import MParticleSite
from sandbox.partners.postback import PostbackSite
from sandbox.partners.rudderstack import RudderStackSite
from sandbox.partners.segment import SegmentSite
from sandbox.partners.server import PartnerSandbox
from sandbox.partners.site import Received
from sandbox.partners.treasure_data import TreasureDataSite

__all__ = [
    "Counts",
    "Fault",
    "MParticleSite",
    "PartnerSandbox",
    "PostbackSite",
    "Received",
    "RudderStackSite",
    "SegmentSite",
    "TreasureDataSite",
]
