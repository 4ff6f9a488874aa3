"""Calls a function on numpy arrays from a compiled JAX program.

`jax.pure_callback` writes an address of this process into the program, so such a program cannot be stored in the
persistent compilation cache. On the CPU this module uses XLA's foreign function interface instead (jaxlib's
`xla/ffi/api/c_api.h`, version 0): the program holds a name, so the second start of a run compiles nothing, and buffers
are read and written in place. On other platforms (a GPU whose worlds are on the host) it uses `jax.pure_callback`.
"""

import ctypes
import traceback
from collections.abc import Callable, Sequence

import jax
import numpy as np

_INSTANTIATE_TO_INITIALIZE, _EXECUTE = (0, 1, 2), 3  # XLA_FFI_ExecutionStage
_INTERNAL = 13  # XLA_FFI_Error_Code
_DTYPES = {1: np.bool_, 4: np.int32, 6: np.uint8, 8: np.uint32, 11: np.float32, 12: np.float64}  # XLA_FFI_DataType
_API_MAJOR, _API_MINOR = 0, 1  # versions of the layouts below; minor versions only append fields

_size, _pointer, _int = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int


def _layout(name: str, *fields: tuple) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": [("struct_size", _size), *fields]})


_Extension = _layout("Extension", ("type", _int), ("next", _pointer))
_Version = _layout("Version", ("extension", _pointer), ("major", _int), ("minor", _int))
_Metadata = _layout("Metadata", ("version", _Version))
_MetadataExtension = type(
    "MetadataExtension",
    (ctypes.Structure,),
    {"_fields_": [("base", _Extension), ("metadata", ctypes.POINTER(_Metadata))]},
)
_Buffer = _layout(
    "Buffer",
    ("extension", _pointer), ("dtype", _int), ("data", _pointer),
    ("rank", ctypes.c_int64), ("dims", ctypes.POINTER(ctypes.c_int64)),
)  # fmt: skip
_Buffers = _layout(
    "Buffers",
    ("extension", _pointer), ("size", ctypes.c_int64), ("types", _pointer),
    ("values", ctypes.POINTER(ctypes.POINTER(_Buffer))),
)  # fmt: skip
_ErrorArguments = _layout("ErrorArguments", ("extension", _pointer), ("message", ctypes.c_char_p), ("code", _int))
_ErrorCreate = ctypes.CFUNCTYPE(_pointer, ctypes.POINTER(_ErrorArguments))
_Api = _layout(
    "Api", ("extension", _pointer), ("version", _Version), ("internal", _pointer), ("error_create", _ErrorCreate)
)
_Frame = _layout(
    "Frame",
    ("extension", ctypes.POINTER(_Extension)), ("api", ctypes.POINTER(_Api)), ("context", _pointer),
    ("stage", _int), ("arguments", _Buffers), ("results", _Buffers),
)  # fmt: skip
_Handler = ctypes.CFUNCTYPE(_pointer, ctypes.POINTER(_Frame))

_registered: dict[str, object] = {}  # name -> its handler, referenced here so that it outlives every program


def _arrays(buffers: _Buffers) -> list[np.ndarray]:
    """Views of the buffers of a call as arrays."""
    return [_array(buffers.values[i].contents) for i in range(buffers.size)]


_views: dict[tuple, np.ndarray] = {}  # a loop passes the same buffers at every step, and creating a view is slow


def _array(buffer: _Buffer) -> np.ndarray:
    cache_key = (buffer.data, buffer.dtype, ctypes.string_at(buffer.dims, 8 * buffer.rank))
    view = _views.get(cache_key)
    if view is None:
        shape, dtype = tuple(buffer.dims[: buffer.rank]), np.dtype(_DTYPES[buffer.dtype])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(buffer.data) if size else bytearray()
        if len(_views) >= 4096:
            _views.clear()
        view = _views[cache_key] = np.frombuffer(memory, dtype).reshape(shape)
    return view


def _handler(function: Callable) -> object:
    """`function(arguments, results)` behind XLA's calling convention."""

    def handle(frame):
        frame = frame.contents
        if frame.extension and frame.extension.contents.type == 1:  # XLA queries the API version
            extension = ctypes.cast(frame.extension, ctypes.POINTER(_MetadataExtension)).contents
            version = extension.metadata.contents.version
            version.major, version.minor = _API_MAJOR, _API_MINOR
            return None
        if frame.stage != _EXECUTE:
            return None
        try:
            function(_arrays(frame.arguments), _arrays(frame.results))
            return None
        except BaseException:  # no exception may enter C code; XLA raises the message as its own error
            message = traceback.format_exc().encode()
            arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL)
            return frame.api.contents.error_create(ctypes.byref(arguments))

    return _Handler(handle)


def hosted(name: str, function: Callable, results: Sequence[jax.ShapeDtypeStruct]) -> Callable:
    """A traceable `(*arrays) -> list of arrays` that runs `function` on the host.

    `function(arguments, results)` gets numpy arrays with the same leading batch axes (those of the vmaps around the
    call) and fills `results` in place; it must be pure. `name` must identify everything that the function depends on,
    since a cached program refers to it by name. `results`: shapes and dtypes without batch axes.
    """
    if jax.default_backend() != "cpu":
        return _pure_callback(function, results)
    if name not in _registered:
        _registered[name] = _handler(function)
        address = ctypes.cast(_registered[name], ctypes.c_void_p)
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return jax.ffi.ffi_call(name, tuple(results), vmap_method="broadcast_all")


def _pure_callback(function: Callable, results: Sequence[jax.ShapeDtypeStruct]) -> Callable:
    def call(*arguments):
        arrays = [np.asarray(a) for a in arguments]
        batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
        out = [np.empty((*batch, *r.shape), r.dtype) for r in results]
        function(arrays, out)
        return tuple(out)

    ranks: list[int] = []

    def traced(*arguments):
        ranks[:] = [a.ndim for a in arguments]
        return jax.pure_callback(call, tuple(results), *arguments, vmap_method="broadcast_all")

    return traced
