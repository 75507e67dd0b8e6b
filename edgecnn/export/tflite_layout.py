"""A TFLite file written anew, in which values are moved only where an operator cannot take them as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from edgecnn.export.tflite_model import Array, TFLiteModel
from edgecnn.export.views import Order, Places, View, plain

#: What becomes of an operator of the old file; False where it has to stand as it is.
Rule = Callable[["Layout", Any], bool]

#: Kinds of activations that a layer may end in, as `ActivationFunctionType` numbers them.
ACTIVATIONS = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_LAYERS = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB")  # that may end in one
_MOST_SLICES = 8  # that are cut out and joined; more are gathered
_MOST_JOINED = 5  # of CONCATENATION in XNNPACK, which leaves larger ones to LiteRT's slower kernel


@dataclass
class Layout:
    """The operators written so far, and where the tensors of the old file lie in the new one."""

    model: TFLiteModel
    readers: Mapping[int, list[Any]]  # tensor of the old file → what reads it there
    views: dict[int, View] = field(default_factory=dict)
    written: list[Any] = field(default_factory=list)
    done: set[int] = field(default_factory=set)  # old operators that another's rule has taken with it, by `id`
    known: dict[Any, int] = field(default_factory=dict)  # what was made → its tensor
    unshaped: dict[int, int] = field(default_factory=dict)  # output of a RESHAPE → its input
    ends: set[int] = field(default_factory=set)  # the outputs so far
    orders: dict[Any, Places] = field(default_factory=dict)  # places of sources → in which order they were collected

    def write(self, rules: Mapping[str, Rule]) -> None:
        """Write the file anew, each operator by the rule for its kind, or as it is."""
        model = self.model
        for operator in model.operators:
            if id(operator) in self.done:
                continue
            rule = rules.get(model.kind(operator))
            moves = any(index >= 0 and model.constant(index) is None for index in operator.inputs)
            if rule is None or not moves or not rule(self, operator):
                self.stand(operator)
        ends = {int(index): self.end(int(index)) for index in model.graph.outputs}
        for signature in model.model.signatureDefs or ():
            if signature.subgraphIndex == 0:
                for entry in signature.outputs:
                    entry.tensorIndex = ends[entry.tensorIndex]
        model.graph.outputs = np.asarray([ends[int(index)] for index in model.graph.outputs], np.int32)
        model.graph.operators = self.written
        _end_in_activations(model)
        model.drop_unread()

    def view(self, tensor: int) -> View:
        """Return where a tensor of the old file lies."""
        return self.views.get(tensor) or View.of(tensor, self.model.shape(tensor))

    def stand(self, operator: Any) -> None:
        """Write *operator* as it is, its inputs brought into order."""
        inputs = [index if index < 0 else self.straight(self.view(int(index))) for index in operator.inputs]
        operator.inputs = np.asarray(inputs, np.int32)
        self.written.append(operator)

    def compute(self, operator: Any, inputs: Sequence[int], view: View) -> bool:
        """Write *operator* with other *inputs*; *view* says where its old output lies in the new one, the source -1."""
        old = int(operator.outputs[0])
        operator.inputs = np.asarray(inputs, np.int32)
        if view.stored_shape() != self.model.shape(old):
            new = self.model.add_tensor(self.model.name(old), view.stored_shape(), self.model.dtype(old))
            operator.outputs = np.asarray([new], np.int32)
        self.views[old] = replace(view, sources=(int(operator.outputs[0]),))
        self.written.append(operator)
        return True

    def again(self, operator: Any, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        """Return a copy of *operator* for other tensors."""
        made = copy(operator)
        made.inputs, made.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        return made

    def is_open(self, view: View) -> bool:
        """Return whether the sources of *view* are taken whole, and have not been joined yet."""
        whole = sorted(view.index) == list(range(sum(view.sizes)))
        return whole and (view.sources, view.order, view.axis, np.unique(view.places).tobytes()) not in self.orders

    def end(self, tensor: int) -> int:
        """Return the tensor of the new file that is the output *tensor* of the old one."""
        found = self.straight(self.view(tensor))
        if found == tensor or (found not in self.ends and any(found in operator.outputs for operator in self.written)):
            self.ends.add(found)
            return found
        self.written.append(self._reshape(found, tensor))  # an input or a constant, which is to be an output as well
        return tensor

    # Operators that move values.

    def _move(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: Any) -> int:
        """Write an operator, once for the same inputs."""
        key = (kind, tuple(inputs), tuple(shape), getattr(options, "axis", None))
        if key not in self.known:
            self.known[key] = self.model.add_tensor(self.model.name(inputs[0]), shape, self.model.dtype(inputs[0]))
            self.written.append(self.model.operator(kind, inputs, [self.known[key]], options))
        return self.known[key]

    def integers(self, values: Any) -> int:
        """Return a constant of integers."""
        array = np.asarray(values, np.int32)
        key = (array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = self.model.add_tensor("places", array.shape, "INT32", data=array)
        return self.known[key]

    def shaped(self, tensor: int, shape: Sequence[int]) -> int:
        """Return *tensor* in another shape."""
        tensor = self.unshaped.get(tensor, tensor)
        if self.model.shape(tensor) == tuple(shape):
            return tensor
        options = self.model.schema.ReshapeOptionsT()
        options.newShape = np.asarray(shape, np.int32)
        made = self._move("RESHAPE", [tensor, self.integers(shape)], shape, options)
        self.unshaped[made] = tensor
        return made

    def _reshape(self, tensor: int, output: int) -> Any:
        shape = self.model.shape(output)
        options = self.model.schema.ReshapeOptionsT()
        options.newShape = np.asarray(shape, np.int32)
        return self.model.operator("RESHAPE", [tensor, self.integers(shape)], [output], options)

    def transposed(self, tensor: int, axes: Sequence[int]) -> int:
        """Return *tensor* with its *axes* in another order."""
        shape = [self.model.shape(tensor)[axis] for axis in axes]
        return self._move("TRANSPOSE", [tensor, self.integers(axes)], shape, self.model.schema.TransposeOptionsT())

    def sliced(self, tensor: int, begins: Sequence[int], sizes: Sequence[int]) -> int:
        """Return a part of *tensor*."""
        if self.model.shape(tensor) == tuple(sizes):
            return tensor
        inputs = [tensor, self.integers(begins), self.integers(sizes)]
        return self._move("SLICE", inputs, sizes, self.model.schema.SliceOptionsT())

    def joined(self, tensors: Sequence[int], axis: int) -> int:
        """Return *tensors* side by side along *axis*; of many, the smallest neighbours are joined before."""
        tensors = list(tensors)
        while (excess := len(tensors) - _MOST_JOINED) > 0:
            count = min(excess + 1, _MOST_JOINED)
            sizes = [self.model.shape(tensor)[axis] for tensor in tensors]
            start = min(range(len(tensors) - count + 1), key=lambda place: sum(sizes[place : place + count]))
            tensors[start : start + count] = [self._joined(tensors[start : start + count], axis)]
        return tensors[0] if len(tensors) == 1 else self._joined(tensors, axis)

    def _joined(self, tensors: Sequence[int], axis: int) -> int:
        shape = list(self.model.shape(tensors[0]))
        shape[axis] = sum(self.model.shape(tensor)[axis] for tensor in tensors)
        options = self.model.schema.ConcatenationOptionsT()
        options.axis = axis
        return self._move("CONCATENATION", tensors, shape, options)

    def gathered(self, tensor: int, axis: int, places: Places) -> int:
        """Return the *places* of *tensor* along *axis*, moved in blocks as large as all of them allow.

        Single values that are dealt out in turn are transposed: XNNPACK does that in a tenth of the time.
        """
        shape = self.model.shape(tensor)
        before, size, after = shape[:axis], shape[axis], shape[axis + 1 :]
        ends = [end for run in _runs(places) for end in (int(run[0]), int(run[-1]) + 1)]
        block = int(np.gcd.reduce([size, *ends]))
        blocks = places[::block] // block
        if block > 1:
            tensor, after = self.shaped(tensor, (*before, size // block, block, *after)), (block, *after)
        step = int(places[1]) if len(places) == size > 1 else 0
        if block == prod(after) == 1 and step > 0 and size % step == 0 and _deals(places, size // step):
            wide = self.shaped(tensor, (prod(before), size // step, step))
            return self.shaped(self.transposed(wide, (0, 2, 1)), shape)
        options = self.model.schema.GatherOptionsT()
        options.axis = axis
        made = self._move("GATHER", [tensor, self.integers(blocks)], (*before, len(blocks), *after), options)
        return self.shaped(made, (*before, len(places), *shape[axis + 1 :]))

    # Views brought into an order.

    def collected(self, view: View, want: Places | None = None) -> View:
        """Return a view that has an index as one of a single source.

        Args:
            view: where the tensor lies.
            want: places of its sources that are to be stored, in this order; None: in any order.
        """
        places = view.places
        if want is None and len(set(view.index)) < len(places):
            want = places
        ascending = np.unique(places)
        key = (view.sources, view.order, view.axis, ascending.tobytes())
        if want is None:
            want = self.orders.get(key, ascending)
        if len(want) == len(ascending):
            self.orders.setdefault(key, want)
        back = {place: number for number, place in enumerate(want.tolist())}
        index = tuple(back[place] for place in view.index) if len(back) == len(want) else tuple(range(len(want)))
        return plain(replace(view, sources=(self._taken(view, want),), index=index, sizes=(len(want),)))

    def _taken(self, view: View, want: Places) -> int:
        """Return the values at the places *want* of the sources of *view*."""
        assert view.axis is not None
        axis = view.order.index(view.axis)
        starts = np.cumsum([0, *view.sizes])
        owners = np.searchsorted(starts, want, side="right") - 1
        runs = list(_runs(want, owners))
        if len(runs) > max(_MOST_SLICES, len(view.sources)):
            stored = [self.shaped(source, view.stored_shape(number)) for number, source in enumerate(view.sources)]
            return self.gathered(self.joined(stored, axis), axis, want)
        parts = []
        for run in runs:
            number = int(np.searchsorted(starts, run[0], side="right")) - 1
            shape = list(view.stored_shape(number))
            source = self.shaped(view.sources[number], shape)
            begins = [0] * len(shape)
            begins[axis], shape[axis] = int(run[0] - starts[number]), len(run)
            parts.append(self.sliced(source, begins, shape))
        return self.joined(parts, axis)

    def exact(self, view: View) -> View:
        """Return *view* without an index."""
        return view if view.axis is None else self.collected(view, view.places)

    def ordered(self, view: View, order: Order, shape: Sequence[int]) -> int:
        """Return a view without an index as a tensor of *shape*, its significant axes as they follow in *order*."""
        significant = view.significant
        want = [axis for axis in order if axis in significant]
        tensor = view.sources[0]
        if want != list(significant):
            ones = [place for place, axis in enumerate(view.order) if axis not in significant]
            places = [view.order.index(axis) if axis in significant else -1 for axis in order]
            if len(order) != len(view.order):
                places = [-1] * len(ones) + [view.order.index(axis) for axis in want]
            axes = [ones.pop(0) if place < 0 else place for place in places]
            tensor = self.transposed(self.shaped(tensor, view.stored_shape()), axes)
        return self.shaped(tensor, shape)

    def straight(self, view: View) -> int:
        """Return *view* as a tensor of its own shape, its values in order."""
        return self.ordered(self.exact(view), tuple(range(len(view.shape))), view.shape)

    def along(self, view: View, axis: int) -> View:
        """Return *view* stored in its order, but for an index along *axis* that says how those are mixed."""
        if view.axis is not None:
            view = self.collected(view, None if view.axis == axis else view.places)
        shape = tuple(view.sizes[0] if one == view.axis else size for one, size in enumerate(view.shape))
        order = tuple(range(len(shape)))
        stored = replace(view, shape=shape, axis=None, index=(), sizes=())
        return replace(view, sources=(self.ordered(stored, order, shape),), order=order)

    def changed(self, tensor: int, change: Callable[[Array], Array], key: Any) -> int:
        """Return a constant with what *change* makes of its values; *key* tells one change from another."""
        place = (tensor, key)
        if place not in self.known:
            values = self.model.constant(tensor)
            assert values is not None
            made = change(values)
            same = made.shape == values.shape and made.tobytes() == values.tobytes()
            self.known[place] = (
                tensor
                if same
                else self.model.add_tensor(self.model.name(tensor), made.shape, self.model.dtype(tensor), data=made)
            )
        return self.known[place]


def _deals(places: Places, parts: int) -> bool:
    """Return whether *places* take one from each of so many *parts* in turn."""
    return bool((places == np.arange(len(places)).reshape(parts, -1).T.reshape(-1)).all())


def _runs(places: Places, owners: Places | None = None) -> Iterator[Places]:
    """Yield the parts of *places* that follow each other one by one; where *owners* are given, each of one owner."""
    breaks = np.diff(places) != 1
    if owners is not None:
        breaks |= np.diff(owners) != 0
    yield from np.split(places, np.flatnonzero(breaks) + 1)


def _end_in_activations(model: TFLiteModel) -> None:
    """Let a layer end in the activation that alone reads it."""
    producers, readers, ends = model.producers(), model.readers(), set(map(int, model.graph.outputs))
    kept = []
    for operator in model.operators:
        function = ACTIVATIONS.get(model.kind(operator))
        source = int(operator.inputs[0]) if function else -1
        layer = producers.get(source)
        if layer is None or model.kind(layer) not in _LAYERS or len(readers[source]) > 1 or source in ends:
            kept.append(operator)
            continue
        if layer.builtinOptions.fusedActivationFunction:
            kept.append(operator)
            continue
        layer.builtinOptions = copy(layer.builtinOptions)
        layer.builtinOptions.fusedActivationFunction = function
        layer.outputs = operator.outputs
        producers[int(operator.outputs[0])] = layer
    model.graph.operators = kept
