"""Pickles of strangers: followed as text, before anything in them is built.

A pickle of a few hundred bytes can name the same part so often that walking it never ends, or ask for room without end.
"""

import math
import pickle
import pickletools
from typing import IO, Any

_DEEPEST = 500  # levels of a pickle; Python takes as many calls of its own to hash or to compare them
# What torch lets a pickle make of any size, and what no checkpoint holds.
_MAKES_ROOM = ("bytearray", "UntypedStorage", "TypedStorage")
_SHARED = 16  # a pickle that names each of its parts so often, on the average, is made to be endless
# Keys of dicts and sets can be made so that each is compared with all others: from larger numbers, and from tuples and
# fractions of any size, of which data sets have some thousands.
_COLLIDES = 1 << 60
_MOST_ODD_KEYS = 10_000
_OF_A_NUMBER = 8  # instructions
_HASHES = frozenset("set frozenset dict Counter OrderedDict defaultdict".split())  # what they are given
_LONGEST_NAME = 200  # letters of a class with its module
# Of what a checkpoint calls, these make tensors of numbers that are there; others copy them, or make any number.
_FROM_TYPE = "_rebuild_from_type_v2"
_REBUILDS = frozenset(
    f"_rebuild_tensor _rebuild_tensor_v2 _rebuild_parameter _rebuild_parameter_with_state {_FROM_TYPE}".split()
)
_CALLS = frozenset("REDUCE NEWOBJ NEWOBJ_EX".split())
_MOST_INSTRUCTIONS = 1_000_000  # of a pickle, each of which may make an object


class _Node:
    """An object that a pickle would build."""

    __slots__ = ("called", "depth", "parts", "weight")

    def __init__(self, parts: list["_Node"], called: str = ""):
        self.parts, self.weight, self.depth = parts, 0, 0  # weight 0: not weighed yet; -1: being weighed
        self.called = called  # of a class, and of a text that may name one


_LEAF, _FRACTION = _Node([]), _Node([])


def _leaf(argument: Any, plain: bool) -> _Node:
    """A value that is written out. It weighs what it is long: whoever names it again may make a copy."""
    number = isinstance(argument, int | float) and not isinstance(argument, bool)
    if plain and number and _COLLIDES <= abs(argument) < math.inf:
        raise pickle.UnpicklingError(f"it holds the number {argument:.3g}, which is no label")
    if not isinstance(argument, str | bytes | bytearray):
        return _FRACTION if isinstance(argument, float) else _LEAF
    is_short = isinstance(argument, str) and len(argument) <= _LONGEST_NAME
    node = _Node([], str(argument).rpartition(" ")[2] if is_short else "")
    node.weight = 1 + len(argument)
    return node


_FILLS = frozenset("APPEND APPENDS SETITEM SETITEMS ADDITEMS BUILD".split())
_PUTS = frozenset("PUT BINPUT LONG_BINPUT".split())
_GETS = frozenset("GET BINGET LONG_BINGET".split())


def check_pickle(file: IO[bytes], size: int, largest: int | None = None, plain: bool = True) -> None:
    """Follows a pickle's instructions from where the file stands, without building anything.

    Args:
        file: left behind the pickle.
        size: of all the bytes it may come from.
        largest: no whole number in it may be larger; None: any may.
        plain: whether its numbers are labels, which are never so large that a dict of them takes for ever; if not, it
            is a number and nothing else.

    Raises:
        pickle.UnpicklingError: what it describes is far larger than itself, or numbers its parts beyond its length.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, _Node] = {}
    odd_keys, start = 0, file.tell()
    whole = _Node([])  # the object, and what is built and thrown away on the way
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if number > (_MOST_INSTRUCTIONS if plain else _OF_A_NUMBER):
            raise pickle.UnpicklingError(f"it has more than {number - 1:,} parts")
        name, at_place = opcode.name, int(str(argument)) if opcode.name in _PUTS | _GETS else 0
        if name in _PUTS or name == "MEMOIZE":
            place = len(memo) if name == "MEMOIZE" else at_place
            if place > number:  # the reader makes room for the highest number, whatever it is
                raise pickle.UnpicklingError("it numbers its parts beyond its own length")
            memo[place] = stack[-1]
        elif name in _GETS:
            stack.append(memo.get(at_place, _LEAF))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            if marks and marks[-1] == len(stack):
                marks.pop()
            else:
                whole.parts.append(stack.pop())
        else:
            if isinstance(argument, str) and any(name in argument for name in _MAKES_ROOM):
                raise pickle.UnpicklingError(f"it names {argument:.40}, which no checkpoint or label holds")
            if (
                largest is not None
                and isinstance(argument, int)
                and not isinstance(argument, bool)
                and argument > largest
            ):
                raise pickle.UnpicklingError(f"it holds the number {argument}, more than it has bytes")
            before = opcode.stack_before
            if pickletools.markobject in before:
                at = marks.pop()
                taken = stack[at:]
                del stack[at:]
                count = before.index(pickletools.markobject)
            else:
                taken, count = [], len(before)
            held = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            if name in _CALLS:
                _refuse_call(held[0].called, held[1])
            odd_keys += sum(one.parts != [] or one is _FRACTION for one in _keys(name, argument, held, taken))
            if odd_keys > _MOST_ODD_KEYS:
                raise pickle.UnpicklingError(f"more than {_MOST_ODD_KEYS} of its keys are neither words nor numbers")
            if name in _FILLS and held:
                held[0].parts.extend([*held[1:], *taken])
                stack.append(held[0])
            elif name == "STOP":
                whole.parts.extend([*stack, *held])
            elif before or name.startswith("EMPTY"):
                if opcode.stack_after:
                    stack.append(_Node([*held, *taken], held[-1].called if name == "STACK_GLOBAL" else ""))
            elif opcode.stack_after:
                stack.append(_leaf(argument, plain))
    size = min(size, file.tell() - start)  # zeros behind it buy nothing
    if _weight(whole) > _SHARED * size:
        raise pickle.UnpicklingError("it names the same parts again and again, without end")


def _refuse_call(called: str, arguments: _Node) -> None:
    """What takes memory or time beyond what it is given.

    Raises:
        pickle.UnpicklingError: this does.
    """
    named = [one.called for one in arguments.parts]
    odd = called in ("Tensor", "Parameter") or (called.startswith("_rebuild_") and called not in _REBUILDS)
    odd |= called == _FROM_TYPE and not (named and named[0] in _REBUILDS - {_FROM_TYPE})  # which it calls
    odd |= called == "encode" and named[1:] != ["latin1"]
    if odd:
        raise pickle.UnpicklingError(f"it calls {called}, as no checkpoint does")


def _keys(opcode: str, argument: Any, held: list[_Node], taken: list[_Node]) -> list[_Node]:
    """What an instruction hashes."""
    if opcode == "SETITEM":
        return held[1:2]
    if opcode in ("SETITEMS", "DICT"):
        return taken[::2]
    if opcode in _CALLS and held[0].called in _HASHES:
        return [part for arguments in held[1:] for one in arguments.parts for part in one.parts]
    called = taken[0].called if opcode == "OBJ" and taken else ""
    called = argument.rpartition(" ")[2] if opcode == "INST" else called
    if called in _HASHES:
        return [part for one in taken for part in one.parts]
    return taken if opcode in ("ADDITEMS", "FROZENSET") else []


def _weight(node: _Node) -> int:
    """How many objects it comes to when each is counted wherever it is named; without recursion."""
    todo = [node]
    while todo:
        one = todo[-1]
        if one.weight > 0:
            todo.pop()
            continue
        if one.weight == 0:
            one.weight = -1
            for part in one.parts:
                if part.weight == -1:
                    raise pickle.UnpicklingError("a part of it holds itself")
                if part.weight == 0:
                    todo.append(part)
            if todo[-1] is not one:
                continue
        one.weight = 1 + sum(part.weight for part in one.parts)
        one.depth = 1 + max((part.depth for part in one.parts), default=0)
        if one.depth > _DEEPEST:
            raise pickle.UnpicklingError(f"its parts lie more than {_DEEPEST} deep in each other")
        todo.pop()
    return node.weight
