"""Which handler serves which request code.

A handler is a method that names its commands; a registry collects the methods of the objects it is given:

    class RouteHandlers:
        @serves(RequestCode.GET_ROUTEINFO_BY_TOPIC)
        def route(self, peer: Peer, frame: Frame, header: GetRouteInfoRequestHeader) -> Reply: ...

    class SendHandler:
        @serves_runs(SCANNED_SEND)
        def send(self, peer: Peer, run: list[ScannedSend]) -> list[bytes | Deferred[bytes]]: ...

The first form is comfortable: header decoded, one reply out, at once or as a Deferred; it may be a coroutine.
The second is for hot commands: a run of frames in, encoded answers out, in any order and any number, since
answers are matched by opaque; several may be joined in one `bytes`, and one-way requests get none. The
registry adapts the first form to the second, so there is one dispatch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Union

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rocketmq_tx.errors import InvariantBroken
from rocketmq_tx.protocol.codes import ResponseCode
from rocketmq_tx.protocol.commands import COMMANDS, Role, command_name
from rocketmq_tx.protocol.frame import Frame
from rocketmq_tx.protocol.frame_codec import encode_frame
from rocketmq_tx.protocol.header_fields import Header
from rocketmq_tx.remoting.mishaps import Mishaps, refusals

if TYPE_CHECKING:
    from rocketmq_tx.remoting.peer import Peer

Answer = Union[bytes, "Deferred[bytes]"]
RunHandler = Callable[["Peer", list[Any]], list[Answer]]
_Method = TypeVar("_Method", bound=Callable[..., Any])
T = TypeVar("T")

_SERVES = "_rocketmq_serves"
_SERVES_RUNS = "_rocketmq_serves_runs"


@attrs.define
class Reply:
    """What a handler answers; the registry adds the request's opaque and serialization."""

    code: int = ResponseCode.SUCCESS
    remark: str | None = None
    header: Header | None = None
    body: bytes = b""


def serves(*codes: int) -> Callable[[_Method], _Method]:
    """Marks `method(peer, frame, header) -> Reply | None | Deferred` as the handler of these requests.

    `header` is the command's request header, or None for commands without one. None as result answers
    nothing. Raising RequestRefused, HeaderError or BodyError answers with that error.
    """
    return _mark(_SERVES, codes)


def serves_runs(*codes: int) -> Callable[[_Method], _Method]:
    """Marks `method(peer, run) -> list[bytes | Deferred[bytes]]` as the handler of runs of these requests."""
    return _mark(_SERVES_RUNS, codes)


def _mark(attribute: str, codes: tuple[int, ...]) -> Callable[[_Method], _Method]:
    def mark(method: _Method) -> _Method:
        setattr(method, attribute, tuple(map(int, codes)))
        return method

    return mark


class Registry:
    """The handlers of one role, by request code."""

    def __init__(self, *objects: object, mishaps: Mishaps | None = None) -> None:
        self.mishaps = mishaps or Mishaps()
        self._handlers: dict[int, RunHandler] = {}
        self._names: dict[int, str] = {}
        for each in objects:
            self.add(each)

    @property
    def handlers(self) -> Mapping[int, RunHandler]:
        return self._handlers

    def add(self, handlers: object) -> None:
        """Takes in the marked methods of an object; two for one code are a mistake of ours."""
        kind = type(handlers)
        for name in dir(kind):
            declared = inspect.getattr_static(kind, name)  # a property is not to be asked
            for code in getattr(declared, _SERVES_RUNS, ()):
                self._set(code, getattr(handlers, name), f"{kind.__name__}.{name}")
            for code in getattr(declared, _SERVES, ()):
                self._set(code, self._adapted(code, getattr(handlers, name)), f"{kind.__name__}.{name}")

    def _set(self, code: int, handler: RunHandler, name: str) -> None:
        if code in self._names:
            raise InvariantBroken(f"{command_name(code)} is served by {self._names[code]} and by {name}")
        self._handlers[code] = handler
        self._names[code] = name

    def unserved(self, role: Role) -> list[int]:
        """Codes that Apache's `role` serves and nobody here does."""
        asked = (code for code, command in COMMANDS.items() if role in command.served_by)
        return sorted(code for code in asked if code not in self._names)

    def serve(self, peer: Peer, code: int, run: list[Any]) -> list[Answer]:
        """The answers to a run of requests of one code. Never raises: mishaps become answers."""
        handler = self._handlers.get(code)
        if handler is None:
            # the leading blank is Apache's, and some clients compare the text
            remark = f" request type {code} not supported"
            return list(refusals(run, ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark))
        try:
            return handler(peer, run)
        except Exception:  # noqa: BLE001  a mistake in one handler must reach this peer only, as an answer
            return list(self.mishaps.answers(peer, run, Failure()))

    def _adapted(self, code: int, method: Callable[..., Any]) -> RunHandler:
        """The run form of a comfortable handler."""
        command = COMMANDS.get(code)
        header_class = None if command is None else command.request_header
        read_header = None if header_class is None else header_class.from_ext_fields
        if inspect.iscoroutinefunction(method):
            method = _as_deferred(method)
        mishaps = self.mishaps

        def serve_run(peer: Peer, run: list[Frame]) -> list[Answer]:
            answers: list[Answer] = []
            for frame in run:
                try:
                    header = None if read_header is None else read_header(frame.ext_fields)
                    reply = method(peer, frame, header)
                    if isinstance(reply, Deferred):
                        answers.append(_encoded_later(peer, frame, reply, mishaps))
                    elif reply is not None and not frame.is_oneway:
                        answers.append(_encoded(frame, reply))
                except Exception:  # noqa: BLE001  as in `serve`, and other answers of the run are not lost
                    answers += mishaps.answers(peer, [frame], Failure())
            return answers

        return serve_run


def _encoded(frame: Frame, reply: Reply) -> bytes:
    return encode_frame(frame.answer(reply.code, reply.remark, reply.header, reply.body))


def _encoded_later(
    peer: Peer, frame: Frame, reply: Deferred[Reply | None], mishaps: Mishaps
) -> Deferred[bytes]:
    def encode(reply: Reply | None) -> bytes:
        return b"" if reply is None or frame.is_oneway else _encoded(frame, reply)

    def failed(failure: Failure) -> bytes:
        return b"".join(mishaps.answers(peer, [frame], failure))

    return reply.addCallback(encode).addErrback(failed)


def _as_deferred(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T | Deferred[T]]:
    """Calls a coroutine: most never wait, and what these return is there at once, without a Deferred."""

    def call(*arguments: Any) -> T | Deferred[T]:
        coroutine = method(*arguments)
        try:
            awaited = coroutine.send(None)
        except StopIteration as ended:
            result: T = ended.value
            return result
        return Deferred.fromCoroutine(_rest(coroutine, awaited))

    return call


def _rest(coroutine: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """A coroutine that has begun, from what it waits for now."""
    while True:
        try:
            try:
                result = yield awaited
            except BaseException as error:  # noqa: BLE001  it is the coroutine's to catch
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(result)
        except StopIteration as ended:
            end: T = ended.value
            return end
