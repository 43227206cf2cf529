"""What all values are made of: NamedTuple, Protocol, Unread. And SHA-1: like NamedTuple, the standard library's takes too long to import."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import cached_property as cached_property
    from hashlib import sha1 as _sha1
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    try:
        # Without OpenSSL, which hashlib loads: 2 ms at every start of the hookscript, and 3 MB in the daemon. The standard library's
        # random does the same.
        from _sha1 import sha1 as _sha1
    except ImportError:
        from hashlib import sha1 as _sha1

    Protocol = object

    class _CachedProperty:
        """The same as functools.cached_property of Python 3.12, without the lock of 3.11: a guest has ten facts, each asked for once."""

        def __init__(self, work_out):
            self._work_out = work_out
            self._name = work_out.__name__
            self.__doc__ = work_out.__doc__

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            found = instance.__dict__[self._name] = self._work_out(instance)
            return found

    cached_property = _CachedProperty

    # typing's NamedTuple takes 4 ms to import and compiles a constructor for each class: for fifty classes that is the whole time
    # that the hookscript may take. This one has the same fields, defaults and methods, in a tenth of the time.
    from _collections import _tuplegetter

    _new = tuple.__new__

    class _Type(type):
        def __new__(cls, name, bases, namespace):
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = {field: namespace[field] for field in fields if field in namespace}
            for at, field in enumerate(fields):
                namespace[field] = _tuplegetter(at, "")
            namespace["__slots__"] = ()
            namespace["_fields"] = namespace["__match_args__"] = fields
            namespace["_size"] = len(fields)
            namespace["_field_defaults"] = defaults
            return super().__new__(cls, name, bases, namespace)

    class NamedTuple(tuple, metaclass=_Type):
        """The same as typing.NamedTuple: a frozen value whose fields are the annotations of its class."""

        def __new__(cls, *values, **named):
            # A guest takes a dozen of them, nearly all with each field in its place.
            if named or len(values) != cls._size:
                fields = cls._fields
                left = fields[len(values) :]
                defaults = cls._field_defaults
                try:
                    values += tuple([named.pop(field) if field in named else defaults[field] for field in left])
                except KeyError as missing:
                    raise TypeError(f"{cls.__name__} lacks {missing}") from None
                if named or len(values) > len(fields):
                    raise TypeError(f"{cls.__name__} has the fields {', '.join(fields)}")
            return _new(cls, values)

        @classmethod
        def _make(cls, values):
            return cls(*values)

        def _replace(self, **changed):
            values = tuple([changed.pop(name, value) for name, value in zip(self._fields, self, strict=True)])
            if changed:
                raise TypeError(f"{type(self).__name__} has the fields {', '.join(self._fields)}")
            return tuple.__new__(type(self), values)

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

        def __getnewargs__(self):
            return tuple(self)


class Unread(NamedTuple):
    """A fact that could not be read, and why, as a phrase for messages."""

    why: str


def fact_names(kind: type) -> tuple[str, ...]:
    """The names of all public properties of a class of values, in the order in which its bases and it define them."""
    known = (property, cached_property)
    names = (name for each in reversed(kind.__mro__) for name, member in vars(each).items() if isinstance(member, known))
    return tuple(name for name in dict.fromkeys(names) if not name.startswith("_"))


def sha1(content: bytes) -> bytes:
    """The digest that PVE identifies a config by (20 bytes); `qm set --digest` takes it in hexadecimal."""
    return _sha1(content, usedforsecurity=False).digest()
