"""The services Publisher and Subscriber: each method from its request to the broker and back.

Messages and signatures are those of `google.pubsub.v1` as google-cloud-pubsub ships them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from sandbox.pubsub import rules
from sandbox.pubsub.broker import Broker
from sandbox.pubsub.consumer import Consumer
from sandbox.pubsub.outage import Outage
from sandbox.pubsub.refusals import InvalidArgument, Refusal
from sandbox.pubsub.subscription import Delivery, Subscription

# How long a pull without messages stays open; the service's documentation says "a bounded time".
PULL_WAIT_SECONDS = 20.0
# How long a stream waits before it looks again; it is woken by whatever concerns it.
STREAM_WAIT_SECONDS = 60.0

_PublishResponse = types.PublishResponse.pb()
_ListTopicsResponse = types.ListTopicsResponse.pb()
_ListSubscriptionsResponse = types.ListSubscriptionsResponse.pb()
_PullResponse = types.PullResponse.pb()
_StreamingPullResponse = types.StreamingPullResponse.pb()

Unary = Callable[[Any, grpc.ServicerContext], Any]


class Services:
    """Answers calls from a broker, unless an outage refuses them."""

    def __init__(self, broker: Broker, outage: Outage, executor: Executor) -> None:
        """The executor runs the reading half of each streaming pull."""
        self._broker = broker
        self._outage = outage
        self._executor = executor

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What a gRPC server needs to route calls here."""
        return [
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", self._publisher()),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", self._subscriber()),
        ]

    def _publisher(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "CreateTopic": self._unary(types.Topic, self._create_topic),
            "GetTopic": self._unary(types.GetTopicRequest, self._get_topic),
            "ListTopics": self._unary(types.ListTopicsRequest, self._list_topics),
            "DeleteTopic": self._unary(types.DeleteTopicRequest, self._delete_topic),
            "Publish": self._unary(types.PublishRequest, self._publish),
        }

    def _subscriber(self) -> dict[str, grpc.RpcMethodHandler]:
        unary = self._unary
        return {
            "CreateSubscription": unary(types.Subscription, self._create_subscription),
            "GetSubscription": unary(types.GetSubscriptionRequest, self._get_subscription),
            "ListSubscriptions": unary(types.ListSubscriptionsRequest, self._list_subscriptions),
            "DeleteSubscription": unary(types.DeleteSubscriptionRequest, self._delete_subscription),
            "ModifyAckDeadline": unary(types.ModifyAckDeadlineRequest, self._modify_ack_deadline),
            "Acknowledge": unary(types.AcknowledgeRequest, self._acknowledge),
            "Pull": unary(types.PullRequest, self._pull),
            "StreamingPull": grpc.stream_stream_rpc_method_handler(
                self._answer_stream,
                request_deserializer=types.StreamingPullRequest.pb().FromString,
                response_serializer=_StreamingPullResponse.SerializeToString,
            ),
        }

    def _unary(self, request_type: Any, method: Unary) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            partial(self._answer, method),
            request_deserializer=request_type.pb().FromString,
            response_serializer=_serialize,
        )

    def _answer(self, method: Unary, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            self._outage.check()
            return method(request, context)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))

    def _answer_stream(
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        try:
            self._outage.check()
            yield from self._streaming_pull(requests, context)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))

    def _create_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        return self._broker.create_topic(request)

    def _get_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        return self._broker.topic(request.topic)

    def _list_topics(self, request: Any, _: grpc.ServicerContext) -> Any:
        return _ListTopicsResponse(topics=self._broker.topics(request.project))

    def _delete_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    def _publish(self, request: Any, _: grpc.ServicerContext) -> Any:
        return _PublishResponse(message_ids=self._broker.publish(request))

    def _create_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        return self._broker.create_subscription(request)

    def _get_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        return self._broker.subscription(request.subscription).settings

    def _list_subscriptions(self, request: Any, _: grpc.ServicerContext) -> Any:
        subscriptions = self._broker.subscriptions(request.project)
        return _ListSubscriptionsResponse(subscriptions=subscriptions)

    def _delete_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        self._broker.delete_subscription(request.subscription)
        return Empty()

    def _modify_ack_deadline(self, request: Any, _: grpc.ServicerContext) -> Any:
        rules.check_extension_seconds(request.ack_deadline_seconds)
        subscription = self._broker.subscription(request.subscription)
        subscription.extend(request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    def _acknowledge(self, request: Any, _: grpc.ServicerContext) -> Any:
        self._broker.subscription(request.subscription).acknowledge(request.ack_ids)
        return Empty()

    def _pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.max_messages < 1:
            raise InvalidArgument(f"max_messages is 1 or more; found {request.max_messages}")
        subscription = self._broker.subscription(request.subscription)
        lease_seconds = subscription.settings.ack_deadline_seconds
        consumer = Consumer(lease_seconds, max_messages=request.max_messages)
        wait_seconds = 0.0 if request.return_immediately else PULL_WAIT_SECONDS
        with self._attended(subscription, consumer, context):
            return _filled(_PullResponse(), subscription.receive(consumer, wait_seconds))

    def _streaming_pull(
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        first = next(requests, None)
        if first is None:
            return
        subscription = self._broker.subscription(first.subscription)
        consumer = _consumer(first)
        with self._attended(subscription, consumer, context):
            self._executor.submit(_read_requests, requests, subscription, consumer)
            yield from _responses(subscription, consumer)

    @contextmanager
    def _attended(
        self, subscription: Subscription, consumer: Consumer, context: grpc.ServicerContext
    ) -> Iterator[None]:
        """Let the consumer be closed by its client's leaving, the server's stop or an outage."""
        close = partial(subscription.close, consumer)
        if not context.add_callback(close):
            close()  # it has left already
        with self._outage.watch(close):
            yield


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()


def _consumer(first: Any) -> Consumer:
    rules.check_lease_seconds(first.stream_ack_deadline_seconds)
    return Consumer(
        first.stream_ack_deadline_seconds,
        max_messages=max(0, first.max_outstanding_messages),
        max_bytes=max(0, first.max_outstanding_bytes),
    )


def _filled(response: Any, deliveries: Sequence[Delivery]) -> Any:
    for delivery in deliveries:
        response.received_messages.add(
            ack_id=delivery.ack_id,
            message=delivery.message,
            delivery_attempt=delivery.attempt,
        )
    return response


def _responses(subscription: Subscription, consumer: Consumer) -> Iterator[Any]:
    """What a stream's client gets until its consumer is closed."""
    while True:
        # Asked even when closed: it raises what the consumer was closed with.
        deliveries = subscription.receive(consumer, STREAM_WAIT_SECONDS)
        if deliveries:
            yield _filled(_StreamingPullResponse(), deliveries)
        elif consumer.closed:
            return


def _read_requests(requests: Iterator[Any], subscription: Subscription, consumer: Consumer) -> None:
    """Apply what a stream's client sends until it has no more to send or has left."""
    refusal: Refusal | None = None
    try:
        with suppress(grpc.RpcError):  # how gRPC says that the call is over
            for request in requests:
                _apply(request, subscription, consumer)
    except Refusal as error:
        refusal = error
    finally:
        subscription.close(consumer, refusal)


def _apply(request: Any, subscription: Subscription, consumer: Consumer) -> None:
    """Apply one request after the first; an empty one only keeps the connection alive."""
    if request.subscription:
        raise InvalidArgument("only the first request of a stream names the subscription")
    if request.stream_ack_deadline_seconds:
        rules.check_lease_seconds(request.stream_ack_deadline_seconds)
        subscription.set_lease_seconds(consumer, request.stream_ack_deadline_seconds)
    if request.ack_ids:
        subscription.acknowledge(request.ack_ids)
    if request.modify_deadline_ack_ids or request.modify_deadline_seconds:
        _extend(request.modify_deadline_ack_ids, request.modify_deadline_seconds, subscription)


def _extend(ack_ids: Sequence[str], seconds: Sequence[int], subscription: Subscription) -> None:
    rules.check_extensions(ack_ids, seconds)
    for ack_id, each in zip(ack_ids, seconds, strict=True):
        subscription.extend([ack_id], each)
