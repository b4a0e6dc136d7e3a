"""Protobuf messages declared in Python, with those of their fields that are used."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
BYTES, STRING = _FIELD.TYPE_BYTES, _FIELD.TYPE_STRING
INT32, INT64 = _FIELD.TYPE_INT32, _FIELD.TYPE_INT64


def message_class(messages, name):
    """The class of a message, in a pool of its own beside the real package's, if that is there.

    Args:
      messages: dict message name -> its fields as `(name, number, type)`. A type is one of the
        constants here, the name of another of the messages, or a list of one such type for a
        repeated field; repeated numbers are packed. Fields that are not named stay unread. On
        the wire a map is a list of entries, and a message or a packed list the bytes that it
        serialises to.
      name: of the message.
    """
    package = name.lower()
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for field in fields:
            _add_field(message, package, *field)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


def _add_field(message, package, name, number, kind):
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if isinstance(kind, list):
        (kind,), field.label = kind, _FIELD.LABEL_REPEATED
        if kind in (INT32, INT64):
            field.options.packed = True
    if isinstance(kind, str):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{package}.{kind}"
    else:
        field.type = kind
