"""The northbound methods: from JSON parameters, checked, to calls of the core."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apps.core import Core
from testbed.errors import InputError, Problem
from testbed.model.ranks import Flow

MAX_DEMAND_BYTES = 2**53  # whole numbers up to here are exact as floats, which weights are made of
Port = Annotated[int, Field(ge=0, le=65_535)]
Timeout = Annotated[float, Field(gt=0, le=3600)]
Address = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Nothing(_Params):
    pass


class _FlowParam(_Params):
    src_ip: Address
    dst_ip: Address
    proto: Literal[6, 17]
    src_port: Port
    dst_port: Port
    demand_bytes: int = Field(0, ge=0, le=MAX_DEMAND_BYTES)

    def flow(self) -> Flow:
        return Flow(self.src_ip, self.dst_ip, self.proto, self.src_port, self.dst_port, self.demand_bytes)


class _Announce(_Params):
    job: str = Field(min_length=1, max_length=200)
    flows: list[_FlowParam]
    timeout_s: Timeout = 5.0


class _Withdraw(_Params):
    job: str = Field(min_length=1, max_length=200)
    timeout_s: Timeout = 5.0


class _Authorised(_Params):
    job: str = Field(min_length=1, max_length=200)


class _WaitReady(_Params):
    timeout_s: Timeout = 30.0


class _Events(_Params):
    since: float = Field(-math.inf, description="monotonic seconds")


class Methods:
    """Answers northbound requests."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._methods: dict[str, tuple[type[_Params], Callable[[Any], Any]]] = {
            "status": (_Nothing, lambda _params: core.status()),
            "wait_ready": (_WaitReady, lambda params: core.wait_ready(params.timeout_s)),
            "announce": (_Announce, self._announce),
            "withdraw": (_Withdraw, self._withdraw),
            "placement": (_Nothing, lambda _params: core.ask(lambda policy: policy.placement())),
            "authorised": (_Authorised, lambda params: core.ask(lambda policy: policy.authorised(params.job))),
            "paths": (_Nothing, lambda _params: core.ask(lambda policy: policy.paths())),
            "counters": (_Nothing, lambda _params: core.ask(lambda policy: policy.utilization())),
            "events": (_Events, lambda params: core.events(params.since)),
        }

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """Return the result of a method. Raises InputError for a request that cannot be served."""
        if method not in self._methods:
            expected = f"one of {', '.join(self._methods)}"
            raise InputError(Problem("unknown method", "northbound request", method[:80], expected))
        model, function = self._methods[method]
        try:
            checked = model.model_validate(params)
        except ValidationError as error:
            problems = [
                Problem(
                    "wrong parameter",
                    f"{method}: {'.'.join(map(str, item['loc']))}",
                    repr(item["input"])[:80],
                    item["msg"],
                )
                for item in error.errors(include_url=False)[:20]
            ]
            raise InputError(problems) from None
        return function(checked)

    def _announce(self, params: _Announce) -> list[dict[str, Any]]:
        return self._core.announce(params.job, [flow.flow() for flow in params.flows], params.timeout_s)

    def _withdraw(self, params: _Withdraw) -> dict[str, Any]:
        self._core.withdraw(params.job, params.timeout_s)
        return {"job": params.job}
