"""The OPC UA services that the driver uses, as functions over a Link. All of them only read.

Guarantees: requests are built here (those of alarms in event_services.py); a bulk answer (Read of
values, HistoryRead, Publish, Republish) is handed over as raw bytes for our own decoders; all else
is decoded by asyncua and handed over in plain types. Every failure is a DeviceError; the caller
keeps to the server's limits.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncua.ua

from drivers.opcua.address import Deadband
from drivers.opcua.attributes import read_ranks, read_type_numbers
from drivers.opcua.client import Link
from drivers.opcua.publish import read_read_response

ua: Any = asyncua.ua

_NAMESPACE_ARRAY, _SERVER_STATE, _SERVICE_LEVEL, _CURRENT_TIME = 2255, 2259, 2267, 2258
_NO_YEAR = 1601  # DateTime 0 (OPC 10000-6, 5.2.2.5)
_LIMITS = (11714, 11705, 12165, 11712, 24104, 11710)
"""Nodes of the limits in the order of `Limits` (OPC 10000-5, 6.3.11 and 6.3.2; NodeIds.csv)."""

VALUE, DATA_TYPE, VALUE_RANK, ACCESS_LEVEL = 13, 14, 15, 18
"""Attributes (OPC 10000-6, A.1); ACCESS_LEVEL is the user's own."""

Identifier = int | str | uuid.UUID | bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A node as this session's server numbers it."""

    namespace: int
    identifier: Identifier


@dataclass(frozen=True, slots=True)
class Item:
    """What to watch or read: client handle, node, element, deadband."""

    handle: int
    place: Place
    index: str = ""
    deadband: Deadband | None = None


@dataclass(frozen=True, slots=True)
class ItemRates:
    """How a server samples items. sampling_ms 0: every change."""

    sampling_ms: float
    queue_size: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the server revised it."""

    id: int
    publishing_ms: float
    keep_alive_count: int
    lifetime_count: int


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What the server said to one monitored item: StatusCode; id and rates where that is good."""

    status: int
    item_id: int
    sampling_ms: float = 0.0
    queue_size: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server takes at once; 0 where it does not say."""

    items_per_call: int = 0
    nodes_per_read: int = 0
    history_per_call: int = 0
    paths_per_call: int = 0
    items_per_subscription: int = 0
    browse_per_call: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session must know of its server: namespace URIs by index, and its limits."""

    namespaces: tuple[str, ...]
    limits: Limits


async def surroundings(link: Link) -> Surroundings:
    """Read the namespace array and the server's limits."""
    with link.speaking("reading the server's namespaces"):
        namespaces, *limits = await read_numbers(link, _NAMESPACE_ARRAY, *_LIMITS)
    known = tuple(str(uri) for uri in namespaces) if isinstance(namespaces, list) else ()
    return Surroundings(known, Limits(*(int(n) if isinstance(n, int) else 0 for n in limits)))


async def server_health(link: Link) -> tuple[int, int | None, datetime | None]:
    """Read the server's state (0 is running), ServiceLevel and time; shows that it lives."""
    with link.speaking("asking for the server's state"):
        wanted = _SERVER_STATE, _SERVICE_LEVEL, _CURRENT_TIME
        state, level, time = await read_numbers(link, *wanted)
    return (
        int(state) if isinstance(state, int) else -1,
        int(level) if isinstance(level, int) else None,
        time if isinstance(time, datetime) and time.year > _NO_YEAR else None,
    )


async def read_numbers(link: Link, *numbers: int) -> list[Any]:
    """Read values of nodes of namespace 0; None where the server has none."""
    places = [Place(0, number) for number in numbers]
    return [value for value, _ in await read_attributes(link, places, VALUE)]


async def read_attributes(
    link: Link, places: Sequence[Place], attribute: int
) -> list[tuple[Any, int]]:
    """Read one attribute of nodes, decoded by asyncua: (value or None, StatusCode) each."""
    with link.speaking("reading"):
        request = _read_request([Item(0, place) for place in places], attribute)
        response = await link.call(request, ua.ReadResponse)
        if len(response.Results) != len(places):
            raise ValueError(f"{len(response.Results)} results for {len(places)} nodes")
        return [
            (
                result.Value.Value if result.Value else None,
                int(result.StatusCode.value if result.StatusCode else 0),
            )
            for result in response.Results
        ]


async def read_values(link: Link, items: Sequence[Item]) -> bytes:
    """Read values; returns the raw body of the response."""
    with link.speaking("reading values"):
        return bytes(await link.ask(_read_request(items, VALUE)))


async def read_raw(link: Link, places: Sequence[Place], attribute: int) -> bytes:
    """Read one attribute of nodes; returns the raw body of the response."""
    with link.speaking("reading"):
        items = [Item(0, place) for place in places]
        return bytes(await link.ask(_read_request(items, attribute)))


async def read_types(
    link: Link, items: Sequence[Item]
) -> tuple[list[tuple[int, int | None] | None], list[int | None]]:
    """Read DataType (namespace index, number) and ValueRank of nodes; None where not told."""
    with link.speaking("reading types"):
        types = bytes(await link.ask(_read_request(items, DATA_TYPE, indexed=False)))
        ranks = bytes(await link.ask(_read_request(items, VALUE_RANK, indexed=False)))
    with link.understanding("reading types"):
        return (
            read_type_numbers(read_read_response(types), len(items)),
            read_ranks(read_read_response(ranks), len(items)),
        )


def _read_request(items: Sequence[Item], attribute: int, *, indexed: bool = True) -> object:
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.NodesToRead = [
        ua.ReadValueId(
            NodeId=_node_id(item.place),
            AttributeId=attribute,
            IndexRange=(item.index or None) if indexed else None,
        )
        for item in items
    ]
    return request


async def create_subscription(link: Link, publish_ms: int, keep_alive_count: int) -> Subscription:
    """Create a subscription; its lifetime without publish requests is a minute."""
    request = ua.CreateSubscriptionRequest()
    parameters = request.Parameters
    parameters.RequestedPublishingInterval = float(publish_ms)
    parameters.RequestedMaxKeepAliveCount = keep_alive_count
    parameters.RequestedLifetimeCount = max(3 * keep_alive_count, 60_000 // publish_ms)
    parameters.MaxNotificationsPerPublish = 10_000
    parameters.PublishingEnabled = True
    with link.speaking("creating the subscription"):
        response = await link.call(request, ua.CreateSubscriptionResponse)
        result = response.Parameters
        return Subscription(
            int(result.SubscriptionId),
            float(result.RevisedPublishingInterval),
            int(result.RevisedMaxKeepAliveCount),
            int(result.RevisedLifetimeCount),
        )


async def transfer(link: Link, ids: Sequence[int]) -> list[int]:
    """Take over subscriptions of an earlier session; a StatusCode each.

    Without initial values: what was published is republished, what is unchanged is read.
    """
    request = ua.TransferSubscriptionsRequest()
    request.Parameters.SubscriptionIds = list(ids)
    request.Parameters.SendInitialValues = False
    with link.speaking("taking over the subscription"):
        response = await link.call(request, ua.TransferSubscriptionsResponse)
        results = response.Parameters.Results
        if len(results) != len(ids):
            raise ValueError(f"{len(results)} results for {len(ids)} subscriptions")
        return [int(result.StatusCode.value) for result in results]


async def create_items(
    link: Link, subscription: int, items: Sequence[Item], rates: ItemRates
) -> list[ItemResult]:
    """Create monitored items."""
    return await create_as_written(link, subscription, [_item(item, rates) for item in items])


async def create_as_written(link: Link, subscription: int, wanted: list[Any]) -> list[ItemResult]:
    """Create monitored items of asyncua's own requests."""
    request = ua.CreateMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.ItemsToCreate = wanted
    with link.speaking("creating monitored items"):
        response = await link.call(request, ua.CreateMonitoredItemsResponse, link.slow_seconds)
        results = [
            ItemResult(
                int(result.StatusCode.value),
                int(result.MonitoredItemId),
                float(result.RevisedSamplingInterval),
                int(result.RevisedQueueSize),
            )
            for result in response.Results
        ]
        if len(results) != len(wanted):
            raise ValueError(f"{len(results)} results for {len(wanted)} items")
        return results


async def delete_items(link: Link, subscription: int, item_ids: Sequence[int]) -> None:
    """Stop watching items; their nodes are untouched."""
    request = ua.DeleteMonitoredItemsRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.MonitoredItemIds = list(item_ids)
    with link.speaking("removing monitored items"):
        await link.call(request, ua.DeleteMonitoredItemsResponse)


def _item(wanted: Item, rates: ItemRates) -> object:
    item = ua.MonitoredItemCreateRequest()
    item.ItemToMonitor.NodeId = _node_id(wanted.place)
    item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
    item.ItemToMonitor.IndexRange = wanted.index or None
    item.MonitoringMode = ua.MonitoringMode.Reporting
    item.RequestedParameters.ClientHandle = wanted.handle
    item.RequestedParameters.SamplingInterval = float(rates.sampling_ms)
    item.RequestedParameters.QueueSize = rates.queue_size
    item.RequestedParameters.DiscardOldest = True
    if wanted.deadband is not None:
        kinds = ua.DeadbandType
        filter_ = ua.DataChangeFilter()
        filter_.Trigger = ua.DataChangeTrigger.StatusValue
        filter_.DeadbandType = int(kinds.Percent if wanted.deadband.percent else kinds.Absolute)
        filter_.DeadbandValue = wanted.deadband.value
        item.RequestedParameters.Filter = filter_
    return item


async def publish(link: Link, acknowledged: Sequence[tuple[int, int]]) -> bytes:
    """Send one PublishRequest with (subscription, sequence) to acknowledge; the raw response."""
    request = ua.PublishRequest()
    request.Parameters.SubscriptionAcknowledgements = [
        ua.SubscriptionAcknowledgement(subscription, sequence)
        for subscription, sequence in acknowledged
    ]
    with link.speaking("waiting for values"):
        return bytes(await link.ask(request, 0))


async def republish(link: Link, subscription: int, sequence: int) -> bytes:
    """Ask again for a notification that went missing; returns the raw response body."""
    request = ua.RepublishRequest()
    request.Parameters.SubscriptionId = subscription
    request.Parameters.RetransmitSequenceNumber = sequence
    with link.speaking("asking again for a notification"):
        return bytes(await link.ask(request))


async def history(
    link: Link,
    wanted: Sequence[tuple[Item, bytes]],
    span_ns: tuple[int, int],
    *,
    most: int,
    release: bool = False,
) -> bytes:
    """Read raw history of (item, continuation point) between two source times; the raw response.

    most: values per node and answer.  release: only let the server forget continuation points.
    """
    details = ua.ReadRawModifiedDetails()
    details.IsReadModified = False
    details.StartTime, details.EndTime = (_moment(time_ns) for time_ns in span_ns)
    details.NumValuesPerNode = most
    details.ReturnBounds = False
    request = ua.HistoryReadRequest()
    request.Parameters.HistoryReadDetails = details
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.ReleaseContinuationPoints = release
    for item, continuation in wanted:
        value_id = ua.HistoryReadValueId()
        value_id.NodeId = _node_id(item.place)
        value_id.IndexRange = item.index or None
        value_id.ContinuationPoint = continuation or None
        request.Parameters.NodesToRead.append(value_id)
    with link.speaking("reading history"):
        return bytes(await link.ask(request, link.slow_seconds))


def _moment(time_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)


async def translate(
    link: Link, paths: Sequence[Sequence[tuple[int, str]]]
) -> list[tuple[int, Place | None]]:
    """Follow browse paths of (namespace index, name) from the Root folder: (status, node) each."""
    with link.speaking("following browse paths"):
        request = ua.TranslateBrowsePathsToNodeIdsRequest()
        request.Parameters.BrowsePaths = [_browse_path(path) for path in paths]
        response = await link.call(request, ua.TranslateBrowsePathsToNodeIdsResponse)
        if len(response.Results) != len(paths):
            raise ValueError(f"{len(response.Results)} results for {len(paths)} paths")
        return [
            (
                int(result.StatusCode.value),
                place_of(result.Targets[0].TargetId) if result.Targets else None,
            )
            for result in response.Results
        ]


def _browse_path(path: Sequence[tuple[int, str]]) -> object:
    wanted = ua.BrowsePath()
    wanted.StartingNode = ua.NodeId(ua.ObjectIds.RootFolder)
    for namespace, name in path:
        element = ua.RelativePathElement()
        element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        element.IsInverse = False
        element.IncludeSubtypes = True
        element.TargetName = ua.QualifiedName(name, namespace)
        wanted.RelativePath.Elements.append(element)
    return wanted


async def browse(link: Link, places: Sequence[Place], most: int) -> list[list[Any]]:
    """Follow hierarchical references of nodes forward, all pages; asyncua's descriptions.

    most: references per node and answer.
    """
    request = ua.BrowseRequest()
    request.Parameters.View.Timestamp = datetime(1601, 1, 1, tzinfo=UTC)
    request.Parameters.RequestedMaxReferencesPerNode = most
    for place in places:
        wanted = ua.BrowseDescription()
        wanted.NodeId = _node_id(place)
        wanted.BrowseDirection = ua.BrowseDirection.Forward
        wanted.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        wanted.IncludeSubtypes = True
        wanted.NodeClassMask = 3  # objects and variables
        wanted.ResultMask = ua.BrowseResultMask.All
        request.Parameters.NodesToBrowse.append(wanted)
    with link.speaking("browsing"):
        response = await link.call(request, ua.BrowseResponse)
        found = []
        for result in response.Results:
            references = list(result.References or [])
            continuation = result.ContinuationPoint
            while continuation:
                following = ua.BrowseNextRequest()
                following.Parameters.ContinuationPoints = [continuation]
                page = (await link.call(following, ua.BrowseNextResponse)).Parameters.Results[0]
                references += page.References or []
                continuation = page.ContinuationPoint
            found.append(references)
        if len(found) != len(places):
            raise ValueError(f"{len(found)} results for {len(places)} nodes")
        return found


def place_text(place: Place, namespaces: Sequence[str]) -> str:
    """Write a node as a point table does, by namespace URI where the server names one."""
    identifier = place.identifier
    if isinstance(identifier, int):
        word = f"i={identifier}"
    elif isinstance(identifier, uuid.UUID):
        word = f"g={identifier}"
    elif isinstance(identifier, bytes):
        word = f"b={base64.b64encode(identifier).decode()}"
    else:
        word = f"s={identifier}"
    if not place.namespace:
        return word
    if place.namespace < len(namespaces):
        return f"nsu={namespaces[place.namespace]};{word}"
    return f"ns={place.namespace};{word}"


def place_of(found: object) -> Place:
    """Give a NodeId of asyncua's as a plain one."""
    node_id: Any = found
    return Place(int(node_id.NamespaceIndex), node_id.Identifier)


def _node_id(place: Place) -> object:
    return ua.NodeId(place.identifier, place.namespace)


__all__ = [
    "Identifier", "Item", "ItemRates", "ItemResult", "Limits", "Place", "Subscription",
    "Surroundings", "browse", "create_as_written", "create_items", "create_subscription",
    "delete_items", "history", "place_of", "place_text", "publish", "read_attributes",
    "read_numbers", "read_raw", "read_values", "republish", "server_health", "surroundings",
    "transfer", "translate",
]  # fmt: skip
