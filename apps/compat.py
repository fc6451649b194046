"""The names GSOS takes from its framework: os-ken where it is installed, else Ryu.

The two are the same code base under different package names. This is the only file that knows.
"""

from __future__ import annotations

try:
    from os_ken import cfg
    from os_ken.base.app_manager import AppManager
    from os_ken.base.app_manager import OSKenApp as App
    from os_ken.controller import controller, ofp_event
    from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
    from os_ken.lib import hub
    from os_ken.ofproto import nicira_ext, ofproto_v1_3, ofproto_v1_3_parser

    RUNTIME = "os-ken"
except ModuleNotFoundError as error:
    if error.name != "os_ken":
        raise
    from ryu import cfg
    from ryu.base.app_manager import AppManager
    from ryu.base.app_manager import RyuApp as App
    from ryu.controller import controller, ofp_event
    from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
    from ryu.lib import hub
    from ryu.ofproto import nicira_ext, ofproto_v1_3, ofproto_v1_3_parser

    RUNTIME = "ryu"

__all__ = [
    "DEAD_DISPATCHER",
    "MAIN_DISPATCHER",
    "RUNTIME",
    "App",
    "AppManager",
    "cfg",
    "controller",
    "hub",
    "nicira_ext",
    "ofp_event",
    "ofproto_v1_3",
    "ofproto_v1_3_parser",
    "set_ev_cls",
]
