"""The OPC UA services for alarms and conditions, as functions over a Link. They only read.

Guarantees: as services.py; the one method that is called is ConditionRefresh (guard.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncua.ua

from drivers.opcua import services
from drivers.opcua.alarms import EVENT_HANDLE, FIELDS, OLD_FIELDS
from drivers.opcua.client import Link
from drivers.opcua.faults import EVENT_FILTER_REFUSED

ua: Any = asyncua.ua

_SERVER, _BASE_EVENT_TYPE = 2253, 2041
_TYPE_OF_FIELD = {
    "ConditionName": 2782, "Retain": 2782, "BranchId": 2782, "EnabledState": 2782,
    "AckedState": 2881, "ActiveState": 2915, "ShelvingState": 2915, "SuppressedState": 2915,
    "OutOfServiceState": 2915, "LatchedState": 2915,
}  # fmt: skip
"""ConditionType, AcknowledgeableConditionType, AlarmConditionType, where a field is declared."""

_CONDITION_TYPE = 2782
_EVENT_QUEUE = 10_000


async def watch_events(link: Link, subscription: int) -> services.ItemResult:
    """Watch the events of the Server object: alarms and conditions (alarms.FIELDS).

    A server of an older standard may refuse fields it does not know: then only alarms.OLD_FIELDS.
    """
    result = await _watch_events(link, subscription, FIELDS)
    if result.status & 0xFFFF_0000 in EVENT_FILTER_REFUSED:
        result = await _watch_events(link, subscription, OLD_FIELDS)
    return result


async def _watch_events(
    link: Link, subscription: int, fields: Sequence[tuple[str, tuple[str, ...]]]
) -> services.ItemResult:
    filter_ = ua.EventFilter()
    for _, path in fields:
        operand = ua.SimpleAttributeOperand()
        if not path:
            operand.TypeDefinitionId = ua.NodeId(_CONDITION_TYPE)
            operand.AttributeId = ua.AttributeIds.NodeId
            filter_.SelectClauses.append(operand)
            continue
        # BaseEventType's own fields, else those of AcknowledgeableConditionType's subtypes
        operand.TypeDefinitionId = ua.NodeId(_TYPE_OF_FIELD.get(path[0], _BASE_EVENT_TYPE))
        operand.BrowsePath = [ua.QualifiedName(name, 0) for name in path]
        operand.AttributeId = ua.AttributeIds.Value
        filter_.SelectClauses.append(operand)
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = ua.NodeId(_SERVER)
    item.ItemToMonitor.AttributeId = ua.AttributeIds.EventNotifier
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = EVENT_HANDLE
    item.RequestedParameters.SamplingInterval = 0.0
    item.RequestedParameters.QueueSize = _EVENT_QUEUE
    item.RequestedParameters.DiscardOldest = True
    item.RequestedParameters.Filter = filter_
    return (await services.create_as_written(link, subscription, [item]))[0]


async def refresh_conditions(link: Link, subscription: int) -> None:
    """Call ConditionRefresh: standing alarms are sent once more (OPC 10000-9, 5.5.7)."""
    call = ua.CallMethodRequest()
    call.ObjectId, call.MethodId = ua.NodeId(2782), ua.NodeId(3875)
    call.InputArguments = [ua.Variant(subscription, ua.VariantType.UInt32)]
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [call]
    with link.speaking("asking for the standing alarms"):
        response = await link.call(request, ua.CallResponse, link.slow_seconds)
        response.Results[0].StatusCode.check()


__all__ = ["refresh_conditions", "watch_events"]
