"""TFLite files of random operators that move values, and of those that stand between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import Builder

_UNARY = ("RELU", "LOGISTIC", "TANH", "HARD_SWISH")


@dataclass
class RandomGraph:
    """A float file under way, each operator with an input that is there already."""

    random: np.random.Generator
    builder: Builder = field(default_factory=lambda: Builder("float32"))
    tensors: list[int] = field(default_factory=list)

    def content(self, operators: int) -> tuple[bytes, list[tuple[int, ...]]]:
        """Return a file of so many *operators*, and the shapes of its inputs."""
        b, random = self.builder, self.random
        inputs = [b.tensor(shape) for shape in ((1, 4, 4, 6), (1, 6, 4, 4))[: random.integers(1, 3)]]
        self.tensors += inputs
        kinds = (
            self._transpose, self._transpose, self._reshape, self._shuffle, self._unary, self._binary, self._constant,
            self._concatenation, self._cut, self._split, self._pad, self._mean, self._softmax, self._convolution,
            self._depthwise, self._pool, self._gather, self._linear,
        )  # fmt: skip
        while len(b.operators) < operators:
            kinds[random.integers(len(kinds))]()
        read = {int(index) for operator in b.operators for index in operator.inputs}
        ends = [tensor for tensor in self.tensors if tensor not in read or random.random() < 0.1]
        return b.file(inputs, ends or self.tensors[-1:]), [b.shapes[index] for index in inputs]

    def any(self) -> int:
        """Return a tensor."""
        return self._one_of([one for one in self.tensors if self.shape(one)])

    def of(self, rank: int) -> int | None:
        """Return a tensor of a *rank*, if there is one."""
        found = [one for one in self.tensors if len(self.shape(one)) == rank]
        return self._one_of(found) if found else None

    def _one_of(self, found: list[int]) -> int:
        return int(self.random.choice(found[-6:] if self.random.random() < 0.7 else found))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return its shape."""
        return tuple(self.builder.shapes[tensor])

    def add(self, kind: str, inputs: list[int], shape: tuple[int, ...], options: object = None) -> None:
        """Add an operator of one output."""
        if prod(shape) <= 4000 and len(shape) <= 5:
            self.tensors.append(self.builder.operator(kind, inputs, shape, options))

    def _transpose(self) -> None:
        x = self.any()
        axes = self.random.permutation(len(self.shape(x)))
        shape = tuple(self.shape(x)[axis] for axis in axes)
        self.add("TRANSPOSE", [x, self.builder.integers(axes)], shape, schema.TransposeOptionsT())

    def _shuffle(self) -> None:
        x = self.any()
        shape = self.shape(x)
        axis = int(self.random.integers(len(shape)))
        groups = [g for g in (2, 3) if shape[axis] % g == 0]
        if not groups or len(shape) > 4:
            return
        wide = (*shape[:axis], groups[0], shape[axis] // groups[0], *shape[axis + 1 :])
        axes = [*range(axis), axis + 1, axis, *range(axis + 2, len(wide))]
        y = self.builder.reshape(x, wide)
        y = self.builder.operator(
            "TRANSPOSE", (y, self.builder.integers(axes)), tuple(wide[one] for one in axes), schema.TransposeOptionsT()
        )
        self.tensors.append(self.builder.reshape(y, shape))

    def _reshape(self) -> None:
        x = self.any()
        shape = list(self.shape(x))
        for _ in range(self.random.integers(1, 3)):
            axis = int(self.random.integers(len(shape)))
            choice = self.random.integers(4)
            if choice == 0 and len(shape) > 1 and axis + 1 < len(shape):
                shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
            elif choice == 1 and len(shape) < 5 and shape[axis] % 2 == 0:
                shape[axis : axis + 1] = [[2, shape[axis] // 2], [shape[axis] // 2, 2]][self.random.integers(2)]
            elif choice == 2 and len(shape) < 5:
                shape.insert(axis, 1)
            elif choice == 3 and shape[axis] == 1 and len(shape) > 1:
                shape.pop(axis)
        self.tensors.append(self.builder.reshape(x, tuple(shape)))

    def _unary(self) -> None:
        x = self.any()
        self.add(str(self.random.choice(_UNARY)), [x], self.shape(x))

    def _binary(self) -> None:
        x = self.any()
        shape = self.shape(x)
        partners = [one for one in self.tensors if _broadcasts(self.shape(one), shape)]
        pair = [x, int(self.random.choice(partners))]
        kind = str(self.random.choice(["ADD", "MUL", "SUB"]))
        if self.random.random() < 0.5:
            pair.reverse()
        self.add(kind, pair, shape, getattr(schema, f"{kind.title()}OptionsT")())

    def _constant(self) -> None:
        x = self.any()
        shape = tuple(size if self.random.random() < 0.6 else 1 for size in self.shape(x))
        shape = shape[self.random.integers(len(shape)) :] if self.random.random() < 0.3 else shape
        values = self.random.normal(size=shape).astype(np.float32)
        self.add("MUL", [x, self.builder.tensor(shape, data=values)], self.shape(x), schema.MulOptionsT())

    def _concatenation(self) -> None:
        x = self.any()
        axis = int(self.random.integers(len(self.shape(x))))
        rest = [size for one, size in enumerate(self.shape(x)) if one != axis]
        alike = [
            one
            for one in self.tensors
            if len(self.shape(one)) == len(self.shape(x))
            and [size for place, size in enumerate(self.shape(one)) if place != axis] == rest
        ]
        parts = [x, *map(int, self.random.choice(alike, self.random.integers(1, 3)))]
        options = schema.ConcatenationOptionsT()
        options.axis = axis if self.random.random() < 0.5 else axis - len(self.shape(x))
        shape = list(self.shape(x))
        shape[axis] = sum(self.shape(part)[axis] for part in parts)
        self.add("CONCATENATION", parts, tuple(shape), options)

    def _cut(self) -> None:
        x = self.any()
        begins = [int(self.random.integers(size)) if self.random.random() < 0.4 else 0 for size in self.shape(x)]
        ends = [int(self.random.integers(b, size)) + 1 for b, size in zip(begins, self.shape(x), strict=True)]
        ends = [end if self.random.random() < 0.4 else size for end, size in zip(ends, self.shape(x), strict=True)]
        integers = self.builder.integers
        if self.random.random() < 0.5:
            shape = tuple(end - begin for begin, end in zip(begins, ends, strict=True))
            self.add("SLICE", [x, integers(begins), integers(shape)], shape, schema.SliceOptionsT())
            return
        steps = [int(self.random.integers(1, 3)) for _ in begins]
        shape = tuple(len(range(*part)) for part in zip(begins, ends, steps, strict=True))
        self.add(
            "STRIDED_SLICE",
            [x, integers(begins), integers(ends), integers(steps)],
            shape,
            schema.StridedSliceOptionsT(),
        )

    def _split(self) -> None:
        x = self.any()
        shape = list(self.shape(x))
        axis = int(self.random.integers(len(shape)))
        if shape[axis] % 2:
            return
        shape[axis] //= 2
        options = schema.SplitOptionsT()
        options.numSplits = 2
        self.tensors += self.builder.operator_many(
            "SPLIT", (self.builder.integers(axis), x), [tuple(shape)] * 2, options
        )

    def _pad(self) -> None:
        x = self.any()
        pads = self.random.integers(0, 2, (len(self.shape(x)), 2))
        shape = tuple(size + int(pair.sum()) for size, pair in zip(self.shape(x), pads, strict=True))
        if len(shape) <= 4:
            self.add("PAD", [x, self.builder.integers(pads)], shape, schema.PadOptionsT())

    def _mean(self) -> None:
        x = self.any()
        axes = sorted(set(self.random.integers(len(self.shape(x)), size=self.random.integers(1, 3)).tolist()))
        options = schema.ReducerOptionsT()
        options.keepDims = bool(self.random.random() < 0.5)
        shape = tuple(
            1 if axis in axes else size
            for axis, size in enumerate(self.shape(x))
            if options.keepDims or axis not in axes
        )
        self.add("MEAN", [x, self.builder.integers(axes)], shape, options)

    def _softmax(self) -> None:
        x = self.any()
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        if len(self.shape(x)) <= 4:
            self.add("SOFTMAX", [x], self.shape(x), options)

    def _convolution(self) -> None:
        x = self.of(4)
        if x is None:
            return
        *_, channels = self.shape(x)
        groups = 2 if channels % 2 == 0 and self.random.random() < 0.5 else 1
        filters = int(self.random.choice([4, 6]))
        weights = self._weights((filters, 1, 1, channels // groups))
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = 1
        self.add("CONV_2D", [x, weights, self._weights((filters,))], (*self.shape(x)[:3], filters), options)

    def _depthwise(self) -> None:
        x = self.of(4)
        if x is None:
            return
        channels = self.shape(x)[3] * (times := int(self.random.integers(1, 3)))
        options = schema.DepthwiseConv2DOptionsT()
        options.strideH = options.strideW = 1
        options.depthMultiplier = times
        inputs = [x, self._weights((1, 3, 3, channels)), self._weights((channels,))]
        self.add("DEPTHWISE_CONV_2D", inputs, (*self.shape(x)[:3], channels), options)

    def _weights(self, shape: tuple[int, ...]) -> int:
        return self.builder.tensor(shape, data=self.random.normal(size=shape).astype(np.float32))

    def _pool(self) -> None:
        x = self.of(4)
        if x is not None and min(self.shape(x)[1:3]) >= 2:
            self.tensors.append(self.builder.pool(x, kind=str(self.random.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))))

    def _gather(self) -> None:
        x = self.any()
        shape = list(self.shape(x))
        options = schema.GatherOptionsT()
        options.axis = int(self.random.integers(len(shape)))
        places = self.random.integers(shape[options.axis], size=self.random.integers(1, 7))
        shape[options.axis] = len(places)
        self.add("GATHER", [x, self.builder.integers(places)], tuple(shape), options)

    def _linear(self) -> None:
        x = self.of(2)
        if x is None:
            return
        options = schema.FullyConnectedOptionsT()
        inputs = [x, self._weights((4, self.shape(x)[1])), self._weights((4,))]
        self.add("FULLY_CONNECTED", inputs, (self.shape(x)[0], 4), options)


def _broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    pairs = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(a in (1, b) for a, b in pairs)
